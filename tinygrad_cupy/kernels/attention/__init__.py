"""Attention on arrays, without the scores in memory. B batches, H heads, L queries, S keys.

Queries are (B, H, L, E), keys and values (B, K, S, E), of which H / K neighbouring heads of queries
share one. A mask broadcasts to (B, H, L, S): booleans that say what is seen, or float32 to add.
"""

from __future__ import annotations

from typing import Any

from ...backend import Array, kernel
from ...backend.gpu import device_properties
from . import cuda, reference
from .plan import Rule
from .plan import suits as _suits

__all__ = ["Rule", "backward", "forward", "suits"]


def suits(
    device: str, dtype: Any, q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]
) -> bool:
    """Whether the kernels are for operands of these last axes: see `plan.suits`."""
    return device != "cpu" and _suits(dtype, q, k, v) and device_properties(device).tensor_cores


@kernel(cpu=reference.forward, cuda=cuda.forward)
def forward(
    q: Array, k: Array, v: Array, mask: Array | None, rule: Rule, recording: bool
) -> tuple[Array, Array]:
    """y (B, H, L, E) and log₂ Σ 2^score (B, H, L), ∞ where no key is seen.

    recording: whether a backward may follow, whose kernels are then compiled meanwhile.
    """


@kernel(cpu=reference.backward, cuda=cuda.backward)
def backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    y: Array,
    logs: Array,
    rule: Rule,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """The gradients by q, k and v, from that by y; needs: which are wanted."""
