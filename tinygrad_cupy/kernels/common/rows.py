"""Rows taken by index, and values added where an index says: each the adjoint of the other.

Letters: P blocks of R rows of K elements, of which M places say a row each: (P, M, K). Where the
same row is said more than once its values are added up in float64, always in one order, and rounded
once. Nothing is added atomically.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ...backend import Array, kernel
from ...backend.c_source import CSource, address_of, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import PARTS, parts_of
from ...backend.dtypes import by_parts_of_complex, is_float, is_narrow
from . import rows_cuda

Shape = tuple[int, ...]

MANY = 1 << 19  # bytes that several threads take
FEW = 1 << 11  # elements that NumPy adds in less time than it takes to call C
SOME = 1 << 16  # bytes that it pays to add in C
EACH = 1 << 15  # places of a thread, at least
IN_CACHE = 1 << 17  # sums in float64 that stay in a core's cache
BUCKET = 1 << 15  # sums of a bucket
BUCKETS = 1 << 11  # at most: each is written to at another place
MOST = 1 << 31  # places and rows that 32 bits count

_take = CSource(__file__, "rows.h", "take_rows.c")
_add = {
    4: CSource(__file__, "rows.h", "add_rows.c", defines=("NUMBER=float", "ENTRY=uint32_t")),
    8: CSource(__file__, "rows.h", "add_rows.c", defines=("NUMBER=double", "ENTRY=uint64_t")),
}


class _Rows(ctypes.Structure):
    """As ``Rows`` in rows.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("rows", "places", "columns", "shift", "buckets", "total")
    ]


def _blocks(shape: Shape, axis: int) -> Shape:
    """P, R and K of an array of this shape whose rows lie along ``axis``."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _signed(places: np.ndarray) -> np.ndarray:
    """The places in int64."""
    return places.astype(np.int64, copy=False)


def _expect_right(wrong: np.ndarray, places: np.ndarray, rows: int, axis: int = 0) -> None:
    if wrong.any():
        outside = places[(places < -rows) | (places >= rows)]
        raise IndexError(f"index {outside[0]} is out of bounds for axis {axis} with size {rows}")


# --- taking -------------------------------------------------------------------------------------


def _take_cpu(x: Array, places: Array, axis: int) -> Array:
    rows = x.shape[axis]
    few = places.size * x.nbytes <= MANY * rows
    if few or not x.flags.c_contiguous or _take.library is None:
        return x.take(_signed(places), axis)
    shape = (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])
    blocks, _, columns = _blocks(x.shape, axis)
    flat = plain(_signed(places))
    y, wrong = aligned_empty(shape, x.dtype), np.zeros(PARTS, bool)
    sizes = _Rows(rows, flat.size, columns * x.itemsize)
    least = max(1, EACH * 4 // (columns * x.itemsize))
    _take.run("rows_take", sizes, blocks * flat.size, (plain(x), flat, y, wrong), least=least)
    _expect_right(wrong, flat, rows, axis)
    return y


@kernel(cpu=_take_cpu, cuda=rows_cuda.take)
def take(x: Array, places: Array, axis: int) -> Array:
    """x at ``places`` along ``axis``; the axes of the places stand in its place."""


# --- the last that says a row -------------------------------------------------------------------


def last(places: np.ndarray, rows: int) -> np.ndarray | None:
    """Which of the places (M,) are the last that say their row, bool; None where all are."""
    flat, found = plain(_signed(places)), aligned_empty(places.size, bool)
    if _take.library is None:
        flat = _from_start(flat, rows)
        owner, order = aligned_empty(rows, np.int64), np.arange(flat.size)
        owner[flat] = order  # one after the other
        found[...] = owner[flat] == order
        return None if found.all() else found
    function = _take.library.rows_last
    if function.argtypes is None:
        function.restype = ctypes.c_int64
        function.argtypes = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 3
    seen = np.zeros(rows, bool)
    repeats = function(rows, flat.size, *map(address_of, (flat, seen, found)))
    if repeats < 0:
        _expect_right(np.ones(1), flat, rows)
    return found if repeats else None


# --- adding -------------------------------------------------------------------------------------


@by_parts_of_complex
def _add_cpu(values: Array, places: Array, rows: int) -> Array:
    dtype = values.dtype
    if not is_float(dtype):
        return _add_integers(values, places, rows)
    if is_narrow(dtype):  # through float32 they would be rounded twice
        return _rounded(_add_cpu(values.astype(np.float64), places, rows), dtype)
    blocks, count, columns = values.shape
    if not values.size:
        return np.zeros((blocks, rows, columns), dtype)
    if blocks == columns == 1 and count <= FEW and rows <= FEW:
        sums = _counted(values, places, rows)
        if sums is not None:
            return _rounded(sums, dtype).reshape(1, rows, 1)
    if max(blocks * max(count, rows), rows * columns) < MOST:
        source = _add[dtype.itemsize]
        if source.library is not None:
            few = values.nbytes <= SOME and rows * columns <= IN_CACHE
            return (_add_few if few else _add_many)(source, values, places, rows)
    sums = np.bincount(
        _flat(values.shape, places, rows), values.reshape(-1), blocks * rows * columns
    )
    return _rounded(sums, dtype).reshape(blocks, rows, columns)


def _counted(values: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray | None:
    """Sums (R,) in float64; None where a place is negative or too large."""
    try:
        sums = np.bincount(places.reshape(-1), values.reshape(-1), rows)
    except (TypeError, ValueError):
        return None
    return sums if len(sums) == rows else None


def _flat(shape: Shape, places: np.ndarray, rows: int) -> np.ndarray:
    """Where each element of values (P, M, K) goes in (P, R, K), counted in C order."""
    blocks, count, columns = shape
    flat = _from_start(_signed(places), rows)
    if columns != 1:
        flat = (flat * columns)[:, None] + np.arange(columns)
    if blocks != 1:
        flat = (np.arange(blocks) * (rows * columns))[:, None, None] + flat.reshape(count, columns)
    return flat.reshape(-1)


def _rounded(sums: np.ndarray, dtype: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return sums.astype(dtype, copy=False)


def _from_start(places: np.ndarray, rows: int) -> np.ndarray:
    """The places without negative ones, which count from the end."""
    least, most = _extremes(places)
    if least >= 0 and most < rows:
        return places
    _expect_right((places < -rows) | (places >= rows), places, rows)
    return np.where(places < 0, places + rows, places)


def _extremes(places: np.ndarray) -> tuple[int, int]:
    if not places.size:
        return 0, -1
    return np.minimum.reduce(places), np.maximum.reduce(places)


def _add_integers(values: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray:
    blocks, _, columns = values.shape
    y = np.zeros(blocks * rows * columns, values.dtype)
    np.add.at(y, _flat(values.shape, places, rows), values.reshape(-1))
    return y.reshape(blocks, rows, columns)


def _add_few(source: CSource, values: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray:
    blocks, count, columns = values.shape
    flat, values = plain(_signed(places)), plain(values)
    y, sums = aligned_empty((blocks, rows, columns), values.dtype), aligned_empty(rows * columns)
    add = source.library.rows_add_few  # type: ignore[union-attr]
    if add.argtypes is None:
        add.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_void_p] * 4
    arrays = [address_of(x) for x in (flat, values, y, sums)]
    if not add(blocks, rows, count, columns, *arrays):
        _expect_right(np.ones(1), flat, rows)
    return y


def _add_many(source: CSource, values: np.ndarray, places: np.ndarray, rows: int) -> np.ndarray:
    blocks, count, columns = values.shape
    size = rows * columns
    flat, values = plain(_signed(places)), plain(values)
    wrong = np.zeros(PARTS, bool)
    if size > IN_CACHE:
        y = _by_buckets(source, values, flat, rows, wrong)
    elif blocks > 1 or count < max(2 * EACH, 8 * rows):
        y = aligned_empty((blocks, rows, columns), values.dtype)
        given, least = (flat, values, y, wrong), -(-EACH // (count * columns))
        sizes = _Rows(rows, count, columns)
        source.run("rows_add_blocks", sizes, blocks, given, 2 * size, least)
    else:
        parts = aligned_empty((len(parts_of(count, EACH)), rows, columns))
        sizes = _Rows(rows, count, columns)
        source.run("rows_add_parts", sizes, count, (flat, values, parts, wrong), least=EACH)
        y = _rounded(parts.sum(0)[None], values.dtype)
    _expect_right(wrong, flat, rows)
    return y


def _by_buckets(
    source: CSource, values: np.ndarray, places: np.ndarray, rows: int, wrong: np.ndarray
) -> np.ndarray:
    blocks, count, columns = values.shape
    total, items = blocks * rows, blocks * count
    shift = max(BUCKET // columns, -(-total // BUCKETS), 1).bit_length() - 1
    buckets = -(-total >> shift)
    sizes = _Rows(rows, count, columns, shift, buckets, total)
    counts = aligned_empty((len(parts_of(items, EACH)), buckets), np.int64)
    source.run("rows_count", sizes, items, (places, counts, wrong), least=EACH)
    _expect_right(wrong, places, rows)
    by_bucket = counts.T.reshape(-1)  # of a bucket, part after part
    ends = by_bucket.cumsum()
    following = (ends - by_bucket).reshape(buckets, -1).T.copy()
    entries = aligned_empty((items, 2 * values.itemsize), np.uint8)
    source.run("rows_deal", sizes, items, (places, values, following, entries), least=EACH)
    y = aligned_empty((blocks, rows, columns), values.dtype)
    ends = ends[len(counts) - 1 :: len(counts)].copy()
    scratch = 2 * columns << shift
    source.run("rows_add_buckets", sizes, buckets, (entries, ends, values, y), scratch)
    return y


@kernel(cpu=_add_cpu, cuda=rows_cuda.add)
def add(values: Array, places: Array, rows: int) -> Array:
    """y (P, R, K): the values (P, M, K) at each of the places (M,) added up, 0 where none is."""
