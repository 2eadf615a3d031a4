"""Sampling on a GPU: one launch; the adjoint finds the neighbours, and adds up without atomics."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy
from ...backend.cuda_source import dtype_macros
from ..common import rows
from ..common.layout import contiguous
from . import reference
from .plan import RULES, Points

AXES, EACH = 3, 4  # as in grid_sample.cu
_GRID = np.dtype(
    [
        *[(name, np.int32) for name in ("channels", "points", "columns", "lead", "rule", "round")],
        *[(name, np.int32, (AXES,)) for name in ("sizes", "taps", "column")],
        ("count", np.int32),
        *[(name, np.float64, (AXES,)) for name in ("scale", "shift")],
        ("factor", np.float64),
        ("weights", np.float64, (AXES, EACH, EACH)),
    ],
    align=True,
)
_kernels = CudaSource(
    __file__,
    "grid_sample.cu",
    defines=(
        f"GRID_BYTES={_GRID.itemsize}",
        *[f"{rule.upper()}={i}" for i, rule in enumerate(RULES)],
    ),
)
MOST = 1 << 31


def _suits(values: Array, sizes: tuple[int, ...], how: Points) -> bool:
    known = dtype_macros(values.dtype) and len(sizes) <= AXES and how.taps <= EACH
    return bool(known and 0 < math.prod(sizes) < MOST)


@functools.lru_cache(1024)
def _grid(how: Points, sizes: tuple[int, ...], channels: int, points: int) -> np.ndarray:
    axes = len(sizes)
    found = np.zeros(1, _GRID)
    grid = found[0]
    grid["channels"], grid["points"], grid["columns"] = channels, points, axes
    grid["sizes"], grid["taps"], grid["column"] = 1, 1, -1
    for axis in range(axes):
        weights, place = how.weights(axis), AXES - axes + axis
        grid["sizes"][place], grid["taps"][place] = sizes[axis], len(weights)
        grid["column"][place] = axes - 1 - axis if how.backwards else axis
        grid["scale"][place], grid["shift"][place] = how.scale[axis], how.shift[axis]
        for k, polynomial in enumerate(weights):
            grid["weights"][place, k, : len(polynomial)] = polynomial
    grid["lead"], grid["rule"], grid["round"] = how.lead, RULES.index(how.rule), how.round
    grid["factor"] = how.factor
    grid["count"] = math.prod(grid["taps"].tolist())
    return found


def _launch(name: str, arrays: tuple[Array, ...], count: int, most: int, grid: np.ndarray) -> None:
    index = "u32" if most < MOST else "u64"
    total: Any = np.uint32(count) if index == "u32" else np.uint64(count)
    macros = (*dtype_macros(arrays[0].dtype), f"INDEX={index}")
    _kernels.launch(name, _kernels.blocks(count), (*arrays, total, grid), defines=macros)


def sample(x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    (n, c, *sizes), count = x.shape, points.shape[1]
    if not _suits(x, tuple(sizes), how):
        return reference.sample(x, points, how)
    y: Array = import_cupy().empty((n, c, count), x.dtype)
    if y.size:
        given = (contiguous(x, x.itemsize), contiguous(points, points.itemsize), y)
        most = max(x.size, y.size, points.size)
        _launch("grid_sample", given, y.size, most, _grid(how, tuple(sizes), c, count))
    return y


def splat(values: Array, points: Array, how: Points, sizes: tuple[int, ...]) -> Array:
    """See the declaration."""
    if not _suits(values, sizes, how) or not values.size:
        return reference.splat(values, points, how, sizes)
    cupy, (n, c, count) = import_cupy(), values.shape
    grid, size = _grid(how, sizes, c, count), math.prod(sizes)
    taps = int(grid[0]["count"])
    places = cupy.empty(n * count * taps, np.int64)
    weights = cupy.empty((n, count, taps, 1), values.dtype)
    given = (contiguous(points, points.itemsize), places, weights)
    _launch("grid_neighbours", given, n * count, max(places.size, points.size), grid)
    last = values.transpose(0, 2, 1)[:, :, None]  # (N, P, 1, C)
    parts = cupy.where(weights != 0, last * weights, values.dtype.type(0))
    found = rows.add(parts.reshape(1, -1, c), places, n * size)
    return found.reshape(n, size, c).transpose(0, 2, 1).reshape(n, c, *sizes)


def slopes(values: Array, x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    return reference.by_columns(sample, values, x, points, how)
