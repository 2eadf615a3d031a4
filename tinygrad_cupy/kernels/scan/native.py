"""Scans on the CPU through ``scan.c``, where the machine has a C compiler; for float32 and float64.

What does not `suit` goes through NumPy, in `cpu`, which says what is computed.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import parts_of
from .reference import MACROS, OPERATORS

WIDTH = 512  # columns that are walked down side by side
files = {
    np.dtype(dtype): CSource(
        __file__, "scan.c", defines=(f"TYPE={name}", f"WIDTH={WIDTH}", *MACROS[:-1])
    )
    for dtype, name in ((np.float32, "float"), (np.float64, "double"))
}
LEAST = 1 << 15  # elements for a thread: below this, handing work over costs more
FEW_ROWS = 16  # of which long ones are cut into parts


class _Scan(ctypes.Structure):
    """As ``Scan`` in scan.c."""

    _fields_ = [(name, ctypes.c_int64) for name in ("n", "inner", "op", "reverse")]


def suits(x: Array, least: int) -> bool:
    """Whether x, of at least ``least`` elements, can be scanned here."""
    return x.size >= least and x.dtype in files and files[x.dtype].library is not None


def scan(
    op: str,
    x: Array,
    axis: int,
    reverse: bool,
    factors: Array | None = None,
    starts: Array | None = None,
) -> Array:
    """x scanned by one of `OPERATORS` (no logaddexp) along ``axis``, in C order."""
    x = plain(x)
    y = aligned_empty(x.shape, x.dtype)
    outer, n, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    sizes = _Scan(n, inner, OPERATORS.index(op), reverse)
    if op == "sum" and inner == 1 and outer < FEW_ROWS and n >= 2 * LEAST:
        for row, out in zip(x.reshape(outer, n), y.reshape(outer, n), strict=True):
            _scan_one(row, out, sizes)
        return y
    given = (
        x,
        None if factors is None else plain(factors),
        None if starts is None else plain(starts),
        y,
    )
    if inner == 1:
        files[x.dtype].run("scan_rows", sizes, outer, given, least=-(-LEAST // n))
    else:
        blocks = -(-inner // WIDTH)
        least = -(-LEAST // (n * min(inner, WIDTH)))
        files[x.dtype].run("scan_columns", sizes, outer * blocks, given, least=least)
    return y


def _scan_one(x: Array, y: Array, sizes: _Scan) -> None:
    """y, the sums of a long row: those of its parts come first, then all of them side by side."""
    file, n = files[x.dtype], len(x)
    totals = aligned_empty(len(parts_of(n, LEAST)), np.float64)
    file.run("scan_totals", sizes, n, (x, totals), least=LEAST)
    file.run("scan_parts", sizes, n, (x, totals, y), least=LEAST)
