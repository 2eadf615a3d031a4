"""Sorting on a GPU: by `common.order`."""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, Elementwise, import_cupy
from ...backend.dtypes import is_narrow
from ..common.order import as_rows, from_rows, order_of_rows, sorted_rows

Places = tuple[int, ...]


def sort(x: Array, axis: int) -> Array:
    """By keys alone."""
    return from_rows(sorted_rows(as_rows(x, axis)), x.shape, axis)


def argsort(x: Array, axis: int) -> Array:
    """By keys and places."""
    return from_rows(order_of_rows(as_rows(x, axis)), x.shape, axis)


def sort_and_order(x: Array, axis: int) -> tuple[Array, Array]:
    """The order, and what it takes."""
    rows = as_rows(x, axis)
    order = order_of_rows(rows)
    starts = import_cupy().arange(len(rows))[:, None] * x.shape[axis]
    values = rows.ravel().take(order + starts if len(rows) > 1 else order)
    return from_rows(values, x.shape, axis), from_rows(order, x.shape, axis)


def partition(x: Array, places: Places, axis: int) -> Array:
    """Sorted."""
    return sort(x, axis)


def argpartition(x: Array, places: Places, axis: int) -> Array:
    """Sorted."""
    return argsort(x, axis)


def argtopk(x: Array, k: int, axis: int, largest: bool) -> Array:
    """The first or the last of all, sorted."""
    found = argsort(x, axis)
    before = (slice(None),) * axis
    if largest:
        return found[(*before, slice(None, None, -1))][(*before, slice(k))]
    return found[(*before, slice(k))]


def search(a: Array, v: Array, right: bool, rows: int) -> Array:
    """By halves."""
    cupy = import_cupy()
    a, v = (x.astype(np.float32) if is_narrow(x.dtype) else x for x in (a, v))
    a, v = cupy.ascontiguousarray(a), v if not v.ndim else cupy.ascontiguousarray(v)
    found = cupy.zeros(v.shape, np.int64)
    if v.size and a.size:
        each = v.size // math.prod(v.shape[:rows])
        _search(a.ravel(), v.ravel(), a.shape[-1], each, right, found.ravel(), size=v.size)
    return found


_search = Elementwise(
    "raw T a, raw T v, int64 length, int64 each, bool right",
    "raw int64 found",
    """
    const long long start = i / each * length;
    const T value = v[i];
    long long low = 0, high = length;
    while (low < high) {
        const long long middle = low + (high - low) / 2;
        const T there = a[start + middle];
        const bool before = there < value || (value != value && there == there);
        const bool behind = value < there || (there != there && value == value);
        if (right ? !behind : before) low = middle + 1;
        else high = middle;
    }
    found[i] = low;
    """,
    "search_sorted",
)
