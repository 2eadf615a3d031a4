"""Sampling on the CPU through ``grid_sample.c``, where the machine has a C compiler."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import PARTS
from .plan import RULES, Points

AXES, EACH = 3, 4  # as in grid_sample.c
WIDTH = 64  # points whose neighbours are found at a time
MOST = 1 << 31  # elements of a grid that 32 bits count
LEAST = 1 << 14  # sums for a thread: below this, handing work over costs more
_MACROS = (f"WIDTH={WIDTH}", *[f"{rule.upper()}={i}" for i, rule in enumerate(RULES)])
files = {
    np.dtype(dtype): CSource(__file__, "grid_sample.c", defines=(f"TYPE={name}", *_MACROS))
    for dtype, name in ((np.float32, "float"), (np.float64, "double"))
}


class _Grid(ctypes.Structure):
    """As ``Grid`` in grid_sample.c."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("channels", "points", "columns")],
        *[(name, ctypes.c_int64 * AXES) for name in ("sizes", "taps", "column")],
        *[(name, ctypes.c_int64) for name in ("lead", "rule", "round", "block")],
        *[(name, ctypes.c_double * AXES) for name in ("scale", "shift")],
        ("factor", ctypes.c_double),
        ("weights", ctypes.c_double * EACH * EACH * AXES),
    ]


def suits(values: Array, sizes: tuple[int, ...], how: Points) -> bool:
    """Whether grids of these sizes can be sampled here."""
    few = len(sizes) <= AXES and how.taps <= EACH
    if not values.size or values.dtype not in files or not few:
        return False
    return 0 < math.prod(sizes) < MOST and files[values.dtype].library is not None


@functools.lru_cache(1024)
def _grid(how: Points, sizes: tuple[int, ...], n: int, channels: int, points: int) -> _Grid:
    axes = len(sizes)
    missing, grid = AXES - axes, _Grid(channels, points, axes)
    for place in range(AXES):
        axis = place - missing
        if axis < 0:
            grid.sizes[place], grid.taps[place], grid.column[place] = 1, 1, -1
            continue
        weights = how.weights(axis)
        grid.sizes[place], grid.taps[place] = sizes[axis], len(weights)
        grid.column[place] = axes - 1 - axis if how.backwards else axis
        grid.scale[place], grid.shift[place] = how.scale[axis], how.shift[axis]
        for k, polynomial in enumerate(weights):
            for i, c in enumerate(polynomial):
                grid.weights[place][k][i] = c
    grid.lead, grid.rule, grid.round = how.lead, RULES.index(how.rule), how.round
    grid.factor = how.factor
    grid.block = max(1, -(-channels * n // PARTS))
    return grid


def sample(x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    (n, c, *sizes), count = x.shape, points.shape[1]
    grid, file = _grid(how, tuple(sizes), n, c, count), files[x.dtype]
    y = aligned_empty((n, c, count), x.dtype)
    pieces, scratch = n * -(-count // WIDTH), file.size("grid_scratch")
    least = max(1, LEAST // (WIDTH * max(c, 1)))
    file.run("grid_sample", grid, pieces, (plain(x), plain(points), y), scratch, least)
    return y


def splat(values: Array, points: Array, how: Points, sizes: tuple[int, ...]) -> Array:
    """See the declaration."""
    n, c, count = values.shape
    grid, file = _grid(how, sizes, n, c, count), files[values.dtype]
    y = aligned_empty((n, c, *sizes))
    items, scratch = n * -(-c // grid.block), file.size("grid_scratch")
    least = max(1, LEAST // max(count * grid.block, 1))
    file.run("grid_splat", grid, items, (plain(values), plain(points), y), scratch, least)
    return y.astype(values.dtype, copy=False)


def slopes(values: Array, x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    (n, c, *sizes), count = x.shape, points.shape[1]
    file, found = files[x.dtype], aligned_empty(points.shape, x.dtype)
    grids = _grids(how, tuple(sizes), n, c, count)
    pieces, scratch = n * -(-count // WIDTH), file.size("grid_scratch")
    least = max(1, LEAST // (WIDTH * max(c, 1)))
    given = (plain(values), plain(x), plain(points), found)
    file.run("grid_slopes", grids, pieces, given, scratch, least)
    return found


@functools.lru_cache(1024)
def _grids(how: Points, sizes: tuple[int, ...], n: int, channels: int, points: int) -> Any:
    """One `_Grid` for each column of the points, with a factor of 0 where the slope is 0."""
    grids = (_Grid * len(sizes))()
    for column in range(len(sizes)):
        by = how.by(column)
        grids[column] = _grid(by or how, sizes, n, channels, points)
        if by is None:
            grids[column].factor = 0
    return grids
