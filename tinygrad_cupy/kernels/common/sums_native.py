"""Sums on the CPU through ``sums.c``, where there is a C compiler; for float32 in C order."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource
from ...backend.cpu_threads import parts_of

LEAST = 1 << 14  # elements for a thread: below this, handing work over costs more
MOST_COLUMNS = 1 << 16  # of which every part of the rows has a line of sums
FEW = 64  # elements of a row that NumPy adds up as fast

_file = CSource(__file__, "row_sums.h", "sums.c")


class _Rows(ctypes.Structure):
    """As ``Rows`` in sums.c."""

    _fields_ = [("columns", ctypes.c_int64)]


def total(x: Array, axes: tuple[int, ...]) -> Array | None:
    """The sum of x over the first or the last axes as float64; None where it is not for this.

    Runs of 16 terms are added in float32, and may overflow where the sum does not.
    """
    flags, count = x.flags, len(axes)
    if x.dtype != np.float32 or not x.size or not (flags.c_contiguous and flags.aligned):
        return None
    if axes == tuple(range(count)):
        if _file.library is None:
            return None
        shape = x.shape[count:]
        columns = math.prod(shape)
        if columns > MOST_COLUMNS:
            return None
        return _of_columns(x, x.size // columns, columns).reshape(shape)
    if axes == tuple(range(x.ndim - count, x.ndim)):
        shape = x.shape[: x.ndim - count]
        rows = math.prod(shape)
        if x.size // rows < FEW or _file.library is None:
            return None
        sums = np.empty(shape)
        columns = x.size // rows
        _file.run("sums_of_rows", _Rows(columns), rows, (x, sums), least=-(-LEAST // columns))
        return sums
    return None


def _of_columns(x: Array, rows: int, columns: int) -> Array:
    least = -(-LEAST // columns)
    sums = np.empty((len(parts_of(rows, least)), columns))
    sizes = _Rows(columns)
    _file.run("sums_of_columns", sizes, rows, (x, sums), _file.size("sums_scratch", sizes), least)
    with np.errstate(invalid="ignore"):  # of what left the range
        total: Array = sums[0] if len(sums) == 1 else sums.sum(0)
    return total
