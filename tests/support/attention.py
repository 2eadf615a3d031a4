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


def distance(found: Any, expected: Any, keys: int = 2) -> float:
    """‖found - expected‖ / ‖expected‖ of NumPy's arrays; NaN where one is.

    Of one key all gradients but its value's are 0: errors are counted in ones then.
    """
    assert found.shape == expected.shape
    apart = float(np.linalg.norm(np.asarray(found).astype(np.float64) - expected))
    return apart / max(float(np.linalg.norm(expected)), 1e-30 if keys > 1 else expected.size**0.5)
