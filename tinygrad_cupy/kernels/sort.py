"""Orders of elements: NaN last, whatever its sign; -0 and 0 are equal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import Array, Elementwise, import_cupy, kernel
from ..backend.dtypes import is_bfloat16, is_narrow
from .common.order import as_rows, from_rows, order_of_rows, sorted_rows

Places = tuple[int, ...]


def _known(x: Array) -> Array:
    """x in a type that NumPy orders: bfloat16 as float32, which holds it exactly."""
    return x.astype(np.float32) if is_bfloat16(x.dtype) else x


# --- on the CPU -----------------------------------------------------------------------------------


def _sort_cpu(x: Array, axis: int) -> Array:
    return np.sort(_known(x), axis).astype(x.dtype, copy=False)


def _argsort_cpu(x: Array, axis: int, stable: bool) -> Array:
    return np.argsort(_known(x), axis, kind="stable" if stable else None)


def _partition_cpu(x: Array, places: Places, axis: int) -> Array:
    return np.partition(_known(x), np.asarray(places, np.int64), axis).astype(x.dtype, copy=False)


def _argpartition_cpu(x: Array, places: Places, axis: int) -> Array:
    return np.argpartition(_known(x), np.asarray(places, np.int64), axis)


def _argtopk_cpu(x: Array, k: int, axis: int, largest: bool) -> Array:
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


def _search_cpu(a: Array, v: Array, right: bool, rows: int) -> Array:
    side: Any = "right" if right else "left"
    a, v = _known(a), _known(v)
    if not rows:
        return np.asarray(np.searchsorted(a, v, side))
    found = np.empty(v.shape, np.int64)
    for row in np.ndindex(v.shape[:rows]):
        found[row] = np.searchsorted(a[row], v[row], side)
    return found


# --- on a GPU -------------------------------------------------------------------------------------


def _argsort_cuda(x: Array, axis: int, stable: bool) -> Array:
    return from_rows(order_of_rows(as_rows(x, axis)), x.shape, axis)


def _sort_cuda(x: Array, axis: int) -> Array:
    return from_rows(sorted_rows(as_rows(x, axis)), x.shape, axis)


def _partition_cuda(x: Array, places: Places, axis: int) -> Array:
    return _sort_cuda(x, axis)


def _argpartition_cuda(x: Array, places: Places, axis: int) -> Array:
    return _argsort_cuda(x, axis, True)


def _argtopk_cuda(x: Array, k: int, axis: int, largest: bool) -> Array:
    found = _argsort_cuda(x, axis, True)
    before = (slice(None),) * axis
    if largest:
        return found[(*before, slice(None, None, -1))][(*before, slice(k))]
    return found[(*before, slice(k))]


def _search_cuda(a: Array, v: Array, right: bool, rows: int) -> Array:
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


# --- declarations ---------------------------------------------------------------------------------


@kernel(cpu=_sort_cpu, cuda=_sort_cuda)
def sort(x: Array, axis: int) -> Array:
    """x in ascending order along ``axis``."""


@kernel(cpu=_argsort_cpu, cuda=_argsort_cuda)
def argsort(x: Array, axis: int, stable: bool) -> Array:
    """Where the elements in ascending order stand; on a GPU always stable."""


@kernel(cpu=_partition_cpu, cuda=_partition_cuda)
def partition(x: Array, places: Places, axis: int) -> Array:
    """x with each of ``places`` along ``axis`` as if sorted, less in front; on a GPU sorted."""


@kernel(cpu=_argpartition_cpu, cuda=_argpartition_cuda)
def argpartition(x: Array, places: Places, axis: int) -> Array:
    """Where the elements of `partition` stand."""


@kernel(cpu=_argtopk_cpu, cuda=_argtopk_cuda)
def argtopk(x: Array, k: int, axis: int, largest: bool) -> Array:
    """Where the k largest or smallest elements along ``axis`` stand, the most extreme first."""


@kernel(cpu=_search_cpu, cuda=_search_cuda)
def search(a: Array, v: Array, right: bool, rows: int) -> Array:
    """Where in each ascending a (rows, n) those of v (rows, …) belong, behind equal ones if right.

    a and v are of one dtype.
    """
