"""Sorting on the CPU: chooses C or NumPy.

NumPy's sort of values alone is the fastest there is; of places, in a stable order, it is not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.dtypes import is_bfloat16, is_narrow
from . import native

FEW = 512  # elements of which C does not pay

Places = tuple[int, ...]


def _known(x: Array) -> Array:
    """x in a type that NumPy orders: bfloat16 as float32, which holds it exactly."""
    return x.astype(np.float32) if is_bfloat16(x.dtype) else x


def sort(x: Array, axis: int) -> Array:
    """By NumPy."""
    return np.sort(_known(x), axis).astype(x.dtype, copy=False)


def argsort(x: Array, axis: int) -> Array:
    """Of long rows in C."""
    return _ordered(x, axis, False)[0]


def sort_and_order(x: Array, axis: int) -> tuple[Array, Array]:
    """Both, of long rows by one call in C."""
    order, values = _ordered(x, axis, True)
    if values is None:
        values = sort(x, axis) if x.size <= FEW else np.take_along_axis(x, order, axis)
    return values, order


def _ordered(x: Array, axis: int, with_values: bool) -> tuple[Array, Array | None]:
    wide = x.astype(np.float32) if is_narrow(x.dtype) else x
    length = x.shape[axis]
    if x.size <= FEW or length <= 1:
        return np.argsort(wide, axis, kind="stable"), None
    last = x.ndim - 1
    others = [i for i in range(x.ndim) if i != axis]
    moved = wide if axis == last else wide.transpose(*others, axis)
    rows = moved.reshape(math.prod(moved.shape[:-1]), length)
    if not native.suits(rows):
        return np.argsort(wide, axis, kind="stable"), None
    order, values = native.order_of_rows(rows, with_values and wide is x)
    return _back(order, moved.shape, axis), _back(values, moved.shape, axis)


def _back(rows: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Rows (R, n) as an array whose axis they lie along."""
    if rows is None:
        return None
    found, last = rows.reshape(shape), len(shape) - 1
    return found if axis == last else found.transpose(*range(axis), last, *range(axis, last))


def partition(x: Array, places: Places, axis: int) -> Array:
    """By NumPy."""
    return np.partition(_known(x), np.asarray(places, np.int64), axis).astype(x.dtype, copy=False)


def argpartition(x: Array, places: Places, axis: int) -> Array:
    """By NumPy."""
    return np.argpartition(_known(x), np.asarray(places, np.int64), axis)


def argtopk(x: Array, k: int, axis: int, largest: bool) -> Array:
    """The k at one end of a partition, put in order."""
    x, length = _known(x), x.shape[axis]
    before = (slice(None),) * axis
    if 0 < k < length:
        place = length - k if largest else k - 1
        found = np.argpartition(x, place, axis)
        found = found[(*before, slice(length - k, None) if largest else slice(k))]
        order = np.argsort(np.take_along_axis(x, found, axis), axis)
        found = np.take_along_axis(found, order, axis)
    else:
        found = np.argsort(x, axis)[(*before, slice(k))]
    return found[(*before, slice(None, None, -1))] if largest else found


def search(a: Array, v: Array, right: bool, rows: int) -> Array:
    """By NumPy, row after row."""
    side: Any = "right" if right else "left"
    a, v = _known(a), _known(v)
    if not rows:
        return np.asarray(np.searchsorted(a, v, side))
    found = np.empty(v.shape, np.int64)
    for row in np.ndindex(v.shape[:rows]):
        found[row] = np.searchsorted(a[row], v[row], side)
    return found
