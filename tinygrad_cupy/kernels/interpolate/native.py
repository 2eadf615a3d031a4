"""Resizing on the CPU through ``interpolate.c``, where the machine has a C compiler."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from .plan import Line
from .tables import by_tap

files = {
    np.dtype(dtype): CSource(__file__, "interpolate.c", defines=(f"TYPE={name}",))
    for dtype, name in ((np.float32, "float"), (np.float64, "double"))
}
LEAST = 1 << 15  # elements for a thread: below this, handing work over costs more


class _Resize(ctypes.Structure):
    """As ``Resize`` in interpolate.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("rows_in", "rows", "row_taps", "cols_in", "cols", "col_taps")
    ]


def suits(x: Array) -> bool:
    """Whether x can be resized here."""
    return bool(x.size and x.dtype in files and files[x.dtype].library is not None)


def resize(x: Array, lines: tuple[Line | None, ...]) -> Array:
    """x with its last axes resized, in C order: the last two at once, and a third by itself."""
    x = plain(x)
    for step in _steps(x.shape, x.dtype, lines):
        y = aligned_empty(step.shape, x.dtype)
        given = (x, *step.tables, y)
        files[x.dtype].run("resize", step.sizes, step.items, given, step.scratch, step.least)
        x = y
    return x


class _Step(NamedTuple):
    """A call of the C function: the shape of what it gives, and its arguments."""

    shape: tuple[int, ...]
    sizes: _Resize
    tables: tuple[Any, ...]
    items: int
    scratch: int
    least: int


@functools.lru_cache(1024)
def _steps(shape: tuple[int, ...], dtype: Any, lines: tuple[Line | None, ...]) -> list[_Step]:
    two = (None, None, *lines)[-2:]
    front = lines[0] if len(lines) == 3 else None
    steps: list[_Step] = []

    def add(axis: int, rows: Line | None, columns: Line | None) -> None:
        steps.append(_step(steps[-1].shape if steps else shape, dtype, axis, rows, columns))

    if front is not None and front.ends[0] >= front.ends[1]:  # it makes the others' work less
        add(-3, front, None)
    if any(two):
        add(-2, *two)
    if front is not None and front.ends[0] < front.ends[1]:
        add(-3, front, None)
    return steps


def _step(
    shape: tuple[int, ...], dtype: Any, axis: int, rows: Line | None, columns: Line | None
) -> _Step:
    """Rows along ``axis``; columns are what is behind it, which is one axis if they change."""
    shape = shape if len(shape) + axis >= 0 else (1, *shape)
    lead, height, inner = shape[:axis], shape[axis], shape[axis + 1 :]
    out = (*lead, rows.ends[1] if rows else height, *((columns.ends[1],) if columns else inner))
    row_start, row_weight = by_tap(rows or Line("nearest", height, height), dtype)
    col_start, col_weight = by_tap(columns, dtype) if columns else (None, None)
    taps = 0 if col_weight is None else len(col_weight)
    width, items = math.prod(out[axis + 1 :]), math.prod(out[: axis + 1 or None])
    sizes = _Resize(height, out[axis], len(row_weight), math.prod(inner), width, taps)
    scratch = files[dtype].size("resize_scratch", sizes)
    tables = (row_start, row_weight, col_start, col_weight)
    return _Step(out, sizes, tables, items, scratch, -(-LEAST // max(width, 1)))
