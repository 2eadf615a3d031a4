"""Places of rows in ascending order on a GPU: the kernels in places.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s, int64s, null
from ...backend.cuda_source import THREADS
from .headers import ROWS

FEW = 1 << 12  # places that are ranked: each looks at all
SOME = 1 << 14  # keys of which each block counts all
LANES = 8  # threads that rank a place
ITEMS = 16  # keys of a thread
TILE = THREADS * ITEMS
DIGITS = THREADS  # of which a thread counts one
BITS = 8  # of a digit
CHUNKS = 640  # at most, a block each: what runs on a GPU at a time
MOST = 1 << 31  # places and rows that 32 bits count

_kernels = CudaSource(
    __file__, ROWS, "places.cu", defines=(f"ITEMS={ITEMS}", f"DIGITS={DIGITS}", f"LANES={LANES}")
)


def in_order(places: Array, rows: int) -> tuple[Array, Array]:
    """The places (M,), one at least, in ascending order, and where each stood, in a stable order.

    ``places``: contiguous int64, taken modulo ``rows``. Both are of 32 bits without a sign, or of
    int64 where there are too many.
    """
    if max(places.size, rows) >= MOST:
        found = places % rows
        order = import_cupy().argsort(found, kind="stable")
        return found[order], order
    if places.size > FEW:
        return _sorted(places, rows)
    found, order = _pair(places.size)
    arguments = (places, found, order, *int32s(places.size), *int64s(rows))
    _kernels.launch("rank_places", _kernels.blocks(places.size * LANES), arguments)
    return found, order


def _pair(count: int) -> tuple[Array, Array]:
    cupy = import_cupy()
    return cupy.empty(count, np.uint32), cupy.empty(count, np.uint32)


def _sorted(places: Array, rows: int) -> tuple[Array, Array]:
    """By digits, the lowest first."""
    bits = max((rows - 1).bit_length(), 1)
    return _by_digits("places", (places, *int64s(rows)), places.size, bits)


def order_of_keys(keys: Array) -> Array:
    """Where each of the keys (M,) in ascending order stood, in a stable order: uint32, as they."""
    return _by_digits("keys", (keys, null()), keys.size, 32)[1]


def _by_digits(kind: str, given: Any, count: int, bits: int) -> tuple[Array, Array]:
    """Keys, in the lowest ``bits``, and their order; ``given`` says what they are."""
    tiles = -(-count // TILE)
    each = -(-tiles // CHUNKS) * TILE
    chunks = -(-count // each)
    counts = None if count <= SOME else import_cupy().empty((chunks, DIGITS), np.uint32)
    made, spare = _pair(count), _pair(count if bits > BITS else 0)
    for shift in range(0, bits, BITS):
        sizes = int32s(count, each, shift)
        if counts is not None:
            keys = given if kind == "places" else given[:1]
            _kernels.launch(f"count_of_{kind}", chunks, (*keys, counts, *sizes))
        counted = null() if counts is None else counts
        _kernels.launch(f"deal_{kind}", chunks, (*given, *made, counted, *sizes))
        given, kind, made, spare = made, "keys", spare, made
    return given  # type: ignore[no-any-return]
