"""Rows taken, written and added up by index on a GPU: the kernels in rows.cu and add_rows.cu.

Letters as in rows.py. A place out of bounds is taken modulo the number of rows.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s, int64s, null, strides_of
from ...backend.cuda_source import number, number_macros
from ...backend.dtypes import by_parts_of_complex, is_float
from .headers import ROWS
from .layout import contiguous
from .places_cuda import MOST, in_order

Shape = tuple[int, ...]
Blocks = tuple[int, int, int]  # P, R and K

FEW, LOOKS = 10_000, 3 << 27  # places at which every row looks, and all of these looks
LISTED, LONGEST = 8, 1 << 12  # values of a row that a thread and a block sort
LONGER = 264  # blocks for rows of more values
CHUNK = 128  # places of a row that are added up one after the other
SEEN, LOOKED = 1 << 11, 1 << 27  # later places at which each of a few looks, and all of these looks

_copy = CudaSource(__file__, ROWS, "rows.cu")
_sums = CudaSource(
    __file__,
    ROWS,
    "add_rows.cu",
    defines=(f"CHUNK={CHUNK}", f"LISTED={LISTED}", f"LONGEST={LONGEST}"),
)
_UNITS = {1: "u8", 2: "u16", 4: "u32", 8: "u64", 16: "uint4"}
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
    blocks = (math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :]))
    region = (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])
    return _take(x, blocks, places, region, last=False)


def take_last(x: Array, blocks: Blocks, places: Array, region: Shape, owner: Any) -> Array:
    """``region`` of x, contiguous, at places, but 0 where a later place says the same row.

    ``owner``: what `put` at the same places gave, or None.
    """
    return _take(x, blocks, places, region, last=True, owner=owner)


def _take(
    x: Array, blocks: Blocks, places: Array, region: Shape, last: bool, owner: Any = None
) -> Array:
    y: Array = import_cupy().empty(region, x.dtype)
    if not y.size:
        return y
    _, rows, columns = blocks
    places = _places(places, rows)
    count, looks = places.size, False
    if last and owner is None:
        looks = count <= SEEN and y.size * count <= LOOKED
        owner = None if looks else owners(places, rows)
    owner = null() if owner is None else owner
    columns, unit = _units(columns, x)
    sizes = (y.nbytes // unit, count, columns)
    _launch("rows_take", (x, places, owner, y), unit, sizes, rows, looks)
    return y


def _units(columns: int, x: Array) -> tuple[int, int]:
    """Columns of x in the widest units that it can be copied by, and their size in bytes."""
    if columns * x.itemsize % _WIDEST == 0 and x.data.ptr % _WIDEST == 0:
        return columns * x.itemsize // _WIDEST, _WIDEST
    return columns, x.itemsize


def without(x: Array, blocks: Blocks, places: Array, owner: Array | None) -> Array:
    """A copy of x, contiguous, with 0 in the rows at places; ``owner`` as in `take_last`."""
    outer, rows, columns = blocks
    if not places.size or not x.size:
        return x.copy()
    if owner is None and (places.size > SEEN or x.size * places.size > LOOKED):
        y = x.copy()
        put(y, blocks, places.reshape(-1), 0, (outer, places.size, columns), False)
        return y
    y = import_cupy().empty(x.shape, x.dtype)
    columns, unit = _units(columns, x)
    sizes = (x.nbytes // unit, places.size, columns)
    given = (x, _places(places, rows), null() if owner is None else owner, y)
    _launch("rows_without", given, unit, sizes, rows)
    return y


def put(
    out: Array, blocks: Blocks, places: Array, values: Any, region: Shape, repeats: bool
) -> Array | None:
    """Write values, which broadcast to ``region``, or a number, into rows of out, contiguous.

    With ``repeats`` places may say a row twice: the last one is written. Gives the `owners`, if
    they were asked for.
    """
    (outer, rows, columns), count = blocks, places.size
    size = outer * count * columns
    if not size:
        return None
    places = _places(places, rows)
    looks = repeats and count <= SEEN and size * count <= LOOKED
    owner = owners(places, rows) if repeats and not looks else None
    steps: Any = (0, 0, 0)
    if not hasattr(values, "dtype"):
        fill, values = number(values, out.dtype), null()
    else:
        fill = _zero(out.dtype)
        values = values if values.dtype == out.dtype else values.astype(out.dtype)
        if values.shape == region and values.flags.c_contiguous:
            steps = (count * columns, columns, 1)
        else:
            values = import_cupy().broadcast_to(values, region).reshape(outer, count, columns)
            steps = [step // out.itemsize for step in strides_of(values)]
    given = (out, places, values, fill, null() if owner is None else owner)
    sizes, more = (size, count, columns), (rows, looks, *steps)
    _launch("rows_put", given, out.itemsize, sizes, *more)
    return owner


@functools.cache
def _zero(dtype: Any) -> Any:
    return number(0, dtype)


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


@by_parts_of_complex
def add(values: Array, places: Array, rows: int) -> Array:
    """See `kernels.common.rows.add`."""
    blocks, count, columns = values.shape
    shape = (blocks, rows, columns)
    if not values.size:
        return import_cupy().zeros(shape, values.dtype)
    places, values = _places(places, rows), contiguous(values, values.itemsize)
    looks = math.prod(shape) * count
    if count <= FEW and looks <= LOOKS:
        return _add_few(values, places, shape)
    if count <= rows and max(rows, count) < MOST:
        return _add_lists(values, places, shape)
    return _add_sorted(values, places, shape)


def _add_few(values: Array, places: Array, shape: Blocks) -> Array:
    y: Array = import_cupy().empty(shape, values.dtype)
    wide, total = max(y.size, values.size) >= MOST, y.size
    sizes = _counts(wide, total, places.size, shape[2], shape[1])
    defines = _macros_of_sums(values.dtype, True, wide)
    _sums.launch("sums_of_few", _sums.blocks(total), (values, places, y, *sizes), defines=defines)
    return y


def _add_lists(values: Array, places: Array, shape: Blocks) -> Array:
    cupy, (blocks, rows, columns), count = import_cupy(), shape, places.size
    y: Array = cupy.empty(shape, values.dtype)
    wide, total = max(y.size, values.size) >= MOST, y.size
    heads = cupy.zeros(rows + 1, np.uint32)  # and the number of longer lists
    ends = cupy.empty(count + count // LISTED, np.uint32)
    number, longer = heads.data + 4 * rows, ends.data + 4 * count
    defines = _macros_of_sums(values.dtype, True, wide)
    launch = functools.partial(_sums.launch, defines=defines)
    given = (places, heads, ends, *int32s(count), *int64s(rows))
    launch("link_places", _sums.blocks(count), given)
    sizes = _counts(wide, total, count, columns, rows)
    given = (values, heads, ends, y, longer, number, *sizes)
    launch("sums_of_lists", _sums.blocks(total), given)
    sizes = _counts(wide, blocks * columns, count, columns, rows)
    given = (values, places, heads, ends, y, longer, number, *sizes)
    launch("sums_of_longer_lists", min(LONGER, count // LISTED + 1), given)
    return y


def _add_sorted(values: Array, places: Array, shape: Blocks) -> Array:
    cupy, (blocks, rows, columns), count = import_cupy(), shape, places.size
    y: Array = cupy.zeros(shape, values.dtype)
    found, order = in_order(places, rows)
    total, chunks, wide = values.size, -(-count // CHUNK), values.size >= MOST
    sums = np.float64 if is_float(values.dtype) else np.int64
    parts = cupy.empty((blocks, chunks, 2, columns), sums) if chunks > 1 else null()
    defines = _macros_of_sums(values.dtype, found.itemsize == 4, wide)
    more = (*_counts(wide, count, columns), *int64s(rows), *_counts(wide, chunks))
    given = (values, found, order, y, parts)
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
