"""Orders of rows on the CPU through ``sort.c``, where the machine has a C compiler."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import parts_of

LONG = 1 << 16  # elements of a row that all threads sort together
EACH = 1 << 15  # elements of a thread, at least
MOST = 1 << 31  # elements of a row, which 32 bits count
BUCKETS = 1 << 8  # as in sort.c
KINDS = {"f": 0, "i": 1, "u": 2}

_files = {
    size: CSource(
        __file__,
        "sort.c",
        defines=(f"KEY=uint{8 * size}_t", f"NUMBER={number}", f"BITS={8 * size}"),
    )
    for size, number in ((4, "float"), (8, "double"))
}


class _Sort(ctypes.Structure):
    """As ``Sort`` in sort.c."""

    _fields_ = [(name, ctypes.c_int64) for name in ("length", "kind", "shift")]


def suits(x: Array) -> bool:
    """Whether rows of x (R, n) can be ordered here."""
    if x.dtype.itemsize not in _files or x.dtype.kind not in KINDS or x.shape[-1] >= MOST:
        return False
    return _files[x.dtype.itemsize].library is not None


def order_of_rows(x: Array, with_values: bool) -> tuple[Array, Array | None]:
    """Where in each row (R, n) the elements in ascending order stand, and these if wanted."""
    rows, length = x.shape
    x = plain(x)
    order = aligned_empty(x.shape, np.int64)
    values = aligned_empty(x.shape, x.dtype) if with_values else None
    if length < LONG:
        source, sizes = _files[x.dtype.itemsize], _Sort(length, KINDS[x.dtype.kind], 0)
        scratch = math.ceil(2 * length * 2 * x.dtype.itemsize / 4)
        least = max(1, EACH // max(length, 1))
        if x.size:
            source.run("sort_rows", sizes, rows, (x, values, order), scratch, least)
        return order, values
    for row in range(rows):
        _sort_long(x[row], None if values is None else values[row], order[row])
    return order, values


def _sort_long(x: Array, values: Any, order: Array) -> None:
    """One row; the threads deal out their parts of it, digit after digit."""
    source, count = _files[x.dtype.itemsize], x.size
    sizes = _Sort(count, KINDS[x.dtype.kind], 0)
    entries, other = (aligned_empty((count, 2 * x.dtype.itemsize), np.uint8) for _ in range(2))
    counts = aligned_empty((len(parts_of(count, EACH)), BUCKETS), np.int64)
    source.run("sort_pack", sizes, count, (x, entries), least=EACH)
    for shift in range(0, 8 * x.dtype.itemsize, 8):
        sizes.shift = shift
        source.run("sort_count", sizes, count, (entries, counts), least=EACH)
        by_digit = counts.T.reshape(-1)  # of a digit, part after part
        if count in counts.sum(0):  # all have one
            continue
        following = (by_digit.cumsum() - by_digit).reshape(BUCKETS, -1).T.copy()
        source.run("sort_deal", sizes, count, (entries, following, other), least=EACH)
        entries, other = other, entries
    source.run("sort_unpack", sizes, count, (entries, x, values, order), least=EACH)
