"""Records of ops/spline.py."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import Case, Draw, Error, Sample, normal
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import spline


def bump(torch: Any, t: Any, order: int) -> Any:
    """The central B-spline at t, as a sum of truncated powers."""
    found = torch.zeros_like(t)
    for k in range(order + 2):
        sign = (-1) ** k * math.comb(order + 1, k)
        found = found + sign * torch.relu(t + (order + 1) / 2 - k) ** order
    return found / math.factorial(order)


def their_filter(torch: Any, x: Any, order: int, mode: str, cval: float = 0.0) -> Any:
    """By the definition: the equations that the spline's values at the elements are theirs."""
    for axis, n in enumerate(x.shape):
        matrix = torch.zeros(n, n, dtype=x.dtype)
        for i in range(n):
            for j in range(i - order // 2, i + order // 2 + 1):
                share = bump(torch, torch.tensor(float(i - j), dtype=x.dtype), order)
                matrix[i, place(j, n, mode)] += share
        moved = x.movedim(axis, 0)
        found = torch.linalg.solve(matrix, moved.reshape(n, -1)).reshape(moved.shape)
        x = found.movedim(0, axis)
    return x


def place(j: int, n: int, mode: str) -> int:
    """Which element of an axis stands for j."""
    if mode == "grid-wrap":
        return j % n
    if mode in ("nearest", "reflect", "grid-mirror"):
        j %= 2 * n
        return min(j, 2 * n - 1 - j)
    j %= max(2 * n - 2, 1)
    return min(j, 2 * n - 2 - j)


def _case(draw: Draw) -> Case:
    sizes = tuple(draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 3))))
    options = {
        "order": draw(st.integers(2, 5)),
        "mode": draw(st.sampled_from(list(spline.BEYOND))),
    }
    return Case((normal(draw, sizes),), options)


SAMPLES = [
    Sample(
        "ndimage.spline_filter",
        lambda x, **options: tg.ndimage.spline_filter(x, **options),
        _case,
        their_filter,
        (spline.SplineFilter,),
        (),
        errors=(
            Error(
                lambda: tg.ndimage.spline_filter(Tensor.ones(2), 1),
                ValueError,
                "[spline_filter] expected an order from 2 to 5, got 1",
            ),
            Error(
                lambda: tg.ndimage.spline_filter1d(Tensor.ones(2), 3, mode="edge"),
                ValueError,
                "[spline_filter1d] expected mode to be one of ('constant', 'grid-constant', "
                "'grid-mirror', 'grid-wrap', 'mirror', 'nearest', 'reflect', 'wrap'), got 'edge'",
            ),
        ),
    ),
]
