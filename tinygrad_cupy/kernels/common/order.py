"""The order of elements on a GPU: NaN last, whatever its sign; -0 and 0 are equal.

CuPy sorts one axis of integers by their digits, and all else, several rows among it, by comparing.
So elements become integers in their order, and rows and places are put in front of and behind them,
in one number of 64 bits where they fit.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ...backend import Array, Elementwise, import_cupy
from ...backend.dtypes import is_narrow
from . import places_cuda
from .headers import ORDER

SOME = 1 << 18  # keys that are sorted by our own kernels

_FUNCTIONS = Path(ORDER).read_text()
_keys32 = Elementwise("T x", "uint32 key", "key = in_order(x)", "keys32", _FUNCTIONS)
_keys64 = Elementwise("T x", "uint64 key", "key = in_order(x)", "keys64", _FUNCTIONS)
_equal_keys32 = Elementwise(
    "T x", "uint32 key", "key = in_order(one_zero(x))", "equal_keys32", _FUNCTIONS
)
_equal_keys64 = Elementwise(
    "T x", "uint64 key", "key = in_order(one_zero(x))", "equal_keys64", _FUNCTIONS
)
_values32 = Elementwise("uint32 key", "T x", "get_back(key, x)", "values32", _FUNCTIONS)
_values64 = Elementwise("uint64 key", "T x", "get_back(key, x)", "values64", _FUNCTIONS)
_rows_and_keys = Elementwise(
    "T x, int64 length",
    "uint64 packed",
    "packed = (unsigned long long)(i / length) << 32 | in_order(x)",
    "rows_and_keys",
    _FUNCTIONS,
)
_values_of_rows = Elementwise(
    "uint64 packed", "T x", "get_back((unsigned int)packed, x)", "values_of_rows", _FUNCTIONS
)
_rows_keys_and_places = Elementwise(
    "T x, int64 length, int32 bits",
    "uint64 packed",
    """
    const unsigned long long row = i / length, place = i % length;
    packed = (row << 32 | in_order(one_zero(x))) << bits | place;
    """,
    "rows_keys_and_places",
    _FUNCTIONS,
)


def _ordered(x: Array) -> Array:
    """x in one of the six types that have an order above, the same order."""
    if is_narrow(x.dtype):
        return x.astype(np.float32)
    if x.dtype == bool or x.dtype.itemsize < 4:
        return x.astype(np.int32)
    return x


def as_rows(x: Array, axis: int) -> Array:
    """x (R, n) in C order, with the axis last."""
    moved = import_cupy().moveaxis(x, axis, -1)
    count = math.prod(moved.shape[:-1])
    return import_cupy().ascontiguousarray(moved).reshape(count, x.shape[axis])


def from_rows(rows: Array, shape: tuple[int, ...], axis: int) -> Array:
    """The reverse of `as_rows`."""
    others = shape[:axis] + shape[axis + 1 :]
    found: Array = import_cupy().moveaxis(rows.reshape(*others, rows.shape[-1]), -1, axis)
    return found


def order_of_rows(rows: Array) -> Array:
    """Where in each row (R, n) the elements in ascending order stand, equal ones in their order."""
    cupy = import_cupy()
    x = _ordered(rows)
    count, length = x.shape
    if x.size == 0 or length == 1:
        return cupy.zeros(x.shape, np.int64)
    if x.dtype.itemsize == 4:
        if count == 1:
            keys = _equal_keys32(x.ravel())
            some = length <= SOME
            order = places_cuda.order_of_keys(keys) if some else cupy.argsort(keys)
            return order.astype(np.int64, copy=False).reshape(1, -1)
        bits = (length - 1).bit_length()
        if bits + (count - 1).bit_length() <= 32:
            packed = _rows_keys_and_places(x, length, bits).ravel()
            packed.sort()
            places = (packed & np.uint64((1 << bits) - 1)).astype(np.int64)
            return places.reshape(x.shape)
    keys = (_equal_keys32 if x.dtype.itemsize == 4 else _equal_keys64)(x.ravel())
    order = cupy.argsort(keys)
    if count == 1:
        return order.reshape(1, -1)
    by_row = cupy.argsort(order // length)  # stable: within a row the order of keys
    return (order[by_row] % length).reshape(x.shape)


def sorted_rows(rows: Array) -> Array:
    """The elements of each row (R, n) in ascending order."""
    x = _ordered(rows)
    if x.dtype != rows.dtype:
        return sorted_rows(x).astype(rows.dtype)
    count, length = x.shape
    if x.size == 0 or length == 1:
        return x.copy()
    found = import_cupy().empty(x.shape, x.dtype)
    if x.dtype.itemsize == 4:
        keys = (_keys32(x) if count == 1 else _rows_and_keys(x, length)).ravel()
        keys.sort()
        values = _values32 if count == 1 else _values_of_rows
        values(keys.reshape(x.shape), found)
    elif count == 1:
        keys = _keys64(x).ravel()
        keys.sort()
        _values64(keys.reshape(x.shape), found)
    else:
        starts = import_cupy().arange(count)[:, None] * length
        found = x.ravel().take(order_of_rows(x) + starts)
    return found
