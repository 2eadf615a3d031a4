"""Rows taken, written and added up by index on a GPU: the kernels in rows.cu and add_rows.cu.

Letters as in rows.py. A place out of bounds is taken modulo the number of rows.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s, int64s, null
from ...backend.cuda_source import number, number_macros
from ...backend.dtypes import is_float
from .layout import contiguous
from .places_cuda import MOST, in_order

CHUNK = 128  # places of a row that are added up one after the other

_copy = CudaSource(__file__, "rows.cu")
_sums = CudaSource(__file__, "add_rows.cu", defines=(f"CHUNK={CHUNK}",))
_UNITS = {1: "u8", 2: "unsigned short", 4: "u32", 8: "u64", 16: "uint4"}
_INDEX = {False: "u32", True: "u64"}
_WIDEST = 16  # bytes that are copied at once


@functools.cache
def _macros(unit: int, wide: bool) -> tuple[str, ...]:
    return f"UNIT={_UNITS[unit]}", f"INDEX={_INDEX[wide]}"


def _counts(wide: bool, *sizes: int) -> Any:
    """Sizes as arguments of type INDEX."""
    return int64s(*sizes) if wide else int32s(*sizes)


def _launch(name: str, arrays: Any, unit: int, sizes: tuple[int, ...], *more: int) -> None:
    """A thread for each of as many elements as the first of the sizes says."""
    wide = sizes[0] >= MOST
    arguments = (*arrays, *_counts(wide, *sizes), *int64s(*more))
    _copy.launch(name, _copy.blocks(sizes[0]), arguments, defines=_macros(unit, wide))


def _places(places: Array, rows: int) -> Array:
    """Places as the kernels take them: int64, contiguous; there is a row for them."""
    if not rows and places.size:
        raise IndexError("a place is out of bounds for axis 0 with size 0")
    return contiguous(places.astype(np.int64, copy=False), 8)


# --- taking and writing ---------------------------------------------------------------------------


def take(x: Array, places: Array, axis: int) -> Array:
    """See `kernels.common.rows.take`."""
    if not x.flags.c_contiguous and places.size and x.size:
        return x.take(_places(places, x.shape[axis]), axis)  # by strides
    return _take(x, places, axis, last=False)


def take_last(x: Array, places: Array) -> Array:
    """x (P, R, K), contiguous, at places (M,), but 0 where a later place says the same row."""
    return _take(x, places, 1, last=True)


def _take(x: Array, places: Array, axis: int, last: bool) -> Array:
    rows, columns = x.shape[axis], math.prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])
    y: Array = import_cupy().empty(shape, x.dtype)
    if not y.size:
        return y
    places, unit = _places(places, rows), x.itemsize
    owner = owners(places, rows) if last else null()
    if columns * unit % _WIDEST == 0 and x.data.ptr % _WIDEST == 0:
        columns, unit = columns * unit // _WIDEST, _WIDEST
    sizes = (y.nbytes // unit, places.size, columns)
    _launch("rows_take", (x, places, owner, y), unit, sizes, rows)
    return y


def put(out: Array, places: Array, values: Any, repeats: bool) -> None:
    """Write values, which broadcast to (P, M, K), or a number, into rows of out (P, R, K).

    ``out`` is contiguous. With ``repeats`` places may say a row twice: the last one is written.
    """
    blocks, rows, columns = out.shape
    region = (blocks, places.size, columns)
    if not math.prod(region):
        return
    places = _places(places, rows)
    owner = owners(places, rows) if repeats else null()
    steps: Any = (0, 0, 0)
    if hasattr(values, "dtype"):
        values = import_cupy().broadcast_to(values.astype(out.dtype, copy=False), region)
        steps = [step // out.itemsize for step in values.strides]
        fill = number(0, out.dtype)
    else:
        fill, values = number(values, out.dtype), null()
    sizes = (math.prod(region), places.size, columns)
    _launch("rows_put", (out, places, values, fill, owner), out.itemsize, sizes, rows, *steps)


def owners(places: Array, rows: int) -> Array:
    """Of each row the number, from 1 on, of the last of the places (M,) that say it, or 0."""
    if places.size >= MOST:
        raise ValueError(f"[index] expected fewer than {MOST} places, got {places.size}")
    found: Array = import_cupy().zeros(rows, np.uint32)
    _launch("rows_claim", (places, found), 4, (places.size,), rows)
    return found


def take_along(x: Array, indices: Array, axis: int) -> Array:
    """y (…, M, …) of x (…, R, …), each line by indices (…, M, …) of its own."""
    y: Array = import_cupy().empty(indices.shape, x.dtype)
    if y.size:
        size, columns = x.shape[axis], math.prod(x.shape[axis + 1 :])
        x, sizes = contiguous(x, x.itemsize), (y.size, indices.shape[axis], columns)
        _launch("lines_take", (x, _places(indices, size), y), x.itemsize, sizes, size)
    return y


def put_along(values: Array, indices: Array, axis: int, size: int) -> Array:
    """Zeros (…, R, …) with the values (…, M, …) of each line at indices of it, no two alike."""
    shape = (*values.shape[:axis], size, *values.shape[axis + 1 :])
    xp = import_cupy()
    out: Array = (xp.empty if values.shape == shape else xp.zeros)(shape, values.dtype)
    if values.size:
        sizes = (values.size, indices.shape[axis], math.prod(shape[axis + 1 :]))
        given = (contiguous(values, values.itemsize), _places(indices, size), out)
        _launch("lines_put", given, values.itemsize, sizes, size)
    return out


# --- adding ---------------------------------------------------------------------------------------


def add(values: Array, places: Array, rows: int) -> Array:
    """See `kernels.common.rows.add`."""
    blocks, count, columns = values.shape
    cupy, dtype = import_cupy(), values.dtype
    y: Array = cupy.zeros((blocks, rows, columns), dtype)
    if not values.size:
        return y
    found, order = in_order(_places(places, rows), rows)
    total, chunks, wide = values.size, -(-count // CHUNK), values.size >= MOST
    sums = np.float64 if is_float(dtype) else np.int64
    parts = cupy.empty((blocks, chunks, 2, columns), sums) if chunks > 1 else null()
    defines = _macros_of_sums(dtype, found.itemsize == 4, wide)
    more = (*_counts(wide, count, columns), *int64s(rows), *_counts(wide, chunks))
    given = (contiguous(values, values.itemsize), found, order, y, parts)
    arguments = (*given, *_counts(wide, total), *more)
    _sums.launch("sums_of_parts", _sums.blocks(total), arguments, defines=defines)
    if chunks > 1:
        total = blocks * chunks * columns
        arguments = (found, parts, y, *_counts(wide, total), *more)
        _sums.launch("sums_of_runs", _sums.blocks(total), arguments, defines=defines)
    return y


@functools.cache
def _macros_of_sums(dtype: Any, narrow: bool, wide: bool) -> tuple[str, ...]:
    sums, place = "double" if is_float(dtype) else "i64", "u32" if narrow else "i64"
    return (*number_macros(dtype), f"SUM={sums}", f"PLACE={place}", f"INDEX={_INDEX[wide]}")
