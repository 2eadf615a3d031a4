"""The order of elements on a GPU: NaN last, whatever its sign; -0 and 0 are equal.

CuPy sorts one axis of integers by their digits, and all else, several rows among it, by comparing.
So elements become integers in their order, and rows and places are put in front of and behind them,
in one number of 64 bits where they fit.
"""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, Elementwise, import_cupy
from ...backend.dtypes import is_narrow

_PREAMBLE = """
__device__ unsigned int in_order(float x) {
    if (x != x) return 0xffffffffu;
    const unsigned int bits = __float_as_uint(x == 0 ? 0.0f : x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ unsigned long long in_order(double x) {
    if (x != x) return 0xffffffffffffffffull;
    const unsigned long long bits = __double_as_longlong(x == 0 ? 0.0 : x);
    return bits >> 63 ? ~bits : bits | 0x8000000000000000ull;
}
__device__ unsigned int in_order(int x) { return (unsigned int)x ^ 0x80000000u; }
__device__ unsigned int in_order(unsigned int x) { return x; }
__device__ unsigned long long in_order(long long x) {
    return (unsigned long long)x ^ 0x8000000000000000ull;
}
__device__ unsigned long long in_order(unsigned long long x) { return x; }
"""
_keys32 = Elementwise("T x", "uint32 key", "key = in_order(x)", "keys32", _PREAMBLE)
_keys64 = Elementwise("T x", "uint64 key", "key = in_order(x)", "keys64", _PREAMBLE)
_packed = Elementwise(
    "T x, int64 length, int32 bits",
    "uint64 key",
    """
    const unsigned long long row = i / length, place = i % length;
    key = (row << 32 | in_order(x)) << bits | place;
    """,
    "rows_keys_and_places",
    _PREAMBLE,
)
"""Row, key and place of each element in one number."""


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
            return cupy.argsort(_keys32(x.ravel())).reshape(1, -1)
        bits = (length - 1).bit_length()
        if bits + (count - 1).bit_length() <= 32:
            packed = _packed(x, length, bits).ravel()
            packed.sort()
            places = (packed & np.uint64((1 << bits) - 1)).astype(np.int64)
            return places.reshape(x.shape)
    keys = (_keys32 if x.dtype.itemsize == 4 else _keys64)(x.ravel())
    order = cupy.argsort(keys)
    if count == 1:
        return order.reshape(1, -1)
    by_row = cupy.argsort(order // length)  # stable: within a row the order of keys
    return (order[by_row] % length).reshape(x.shape)
