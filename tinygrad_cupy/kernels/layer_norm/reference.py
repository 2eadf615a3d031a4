"""Rows normalized by their own statistics, on NumPy arrays: what `native` and `cuda` are held to.

Statistics are float64, (R, 2): each row's mean, or 0 where it is not taken off, and 1 / √(mean
square of the rest + eps).
"""

from __future__ import annotations

import numpy as np

from ...backend import Array
from ..common import sums

Gradients = tuple[Array | None, Array | None, Array | None]


def forward(
    x: Array, weight: Array | None, bias: Array | None, centred: bool, eps: float
) -> tuple[Array, Array]:
    """As `kernels.layer_norm.forward`."""
    stats = np.zeros((len(x), 2))
    if centred:
        stats[:, 0] = x.mean(1, np.float64)
    rest = x - stats[:, :1]
    stats[:, 1] = 1 / np.sqrt(np.square(rest).mean(1) + eps)
    rest *= stats[:, 1:]
    y = rest.astype(x.dtype, copy=False)
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y, stats


def backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: Array,
    centred: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    """As `kernels.layer_norm.backward`."""
    mean, scale = stats[:, :1], stats[:, 1:]
    normal = (x - mean) * scale
    dx = by_weight = None
    if needs[0]:
        inner = (grad if weight is None else grad * weight).astype(np.float64)
        dx = inner - normal * (inner * normal).mean(1, keepdims=True)
        if centred:
            dx -= inner.mean(1, keepdims=True)
        dx = (dx * scale).astype(x.dtype)
    if needs[1]:
        by_weight = sums.total(grad * normal.astype(x.dtype), (0,))
    return dx, by_weight, sums.total(grad, (0,)) if needs[2] else None
