"""Attention in float64, and what the kernels may differ by."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cupy.kernels.attention import reference
from tinygrad_cupy.kernels.attention.plan import Rule

BOUNDS = {"float32": 1e-3, "bfloat16": 1e-2, "float16": 2e-3}  # TF32's, and those of 16 bits


def mask_of(kind: str, rng: np.random.Generator, sizes: tuple[int, ...]) -> Any:
    """A mask for B, H, K, L, S, E: a part of its axes, with a row that sees no key."""
    batches, heads, _, queries, keys, _ = sizes
    if kind == "seen":
        seen = rng.random((batches, 1, queries, keys)) < 0.3
        seen[0, 0, queries // 2] = False
        return seen
    if kind == "added":
        added = rng.standard_normal((heads, 1, keys)).astype(np.float32)
        return np.where(rng.random((heads, 1, keys)) < 0.7, added, np.float32(-np.inf))
    return None


def exact(g: Any, q: Any, k: Any, v: Any, mask: Any, rule: Rule) -> tuple[Any, ...]:
    """y, dq, dk and dv of NumPy's arrays, in float64."""
    g, q, k, v = (np.asarray(x).astype(np.float64) for x in (g, q, k, v))
    y, logs = reference.forward(q, k, v, mask, rule, False)
    return (y, *reference.backward(g, q, k, v, mask, y, logs, rule, (True, True, True)))


def distance(found: Any, expected: Any, terms: int = 0) -> float:
    """‖found - expected‖ / ‖expected‖ of NumPy's arrays; NaN where one is.

    Of one key all gradients but its value's are 0, where sums of ``terms`` about 1 each cancel: the
    error of such a one is counted in the root of their number.
    """
    assert found.shape == expected.shape
    apart = float(np.linalg.norm(np.asarray(found).astype(np.float64) - expected))
    length = float(np.linalg.norm(expected))
    cancelled = terms > 0 and length < 1e-9
    return apart / ((terms * expected.size) ** 0.5 if cancelled else max(length, 1e-30))


def terms_of(sizes: Any) -> int:
    """Of `distance`, for sizes B, H, K, L, S, E: the queries of a key where it is the only one."""
    _, heads, shared, queries, keys, _ = sizes
    return heads // shared * queries if keys == 1 else 0
