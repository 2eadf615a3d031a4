"""Sorting on a GPU: lines of some elements by the kernel in rank.cu, others by `common.order`.

Complex numbers are sorted by their parts, as NumPy does.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, Elementwise, import_cupy, int32s, int64s, null
from ...backend.cuda_source import number_macros
from ...backend.dtypes import is_float, is_narrow
from ..common import rows_cuda
from ..common.headers import ORDER
from ..common.layout import contiguous
from ..common.order import as_rows, from_rows, order_of_rows, sorted_rows

Places = tuple[int, ...]


LINE = 1 << 12  # elements of a line that are ranked: each looks at all of its line
RANKED = 1 << 29  # such looks, at most
SHORT = 128  # a line that every element sees in memory
SMALL = 1 << 14  # elements that keep a GPU busy only if several threads rank each
LANES = 4  # those

_kernels = CudaSource(__file__, ORDER, "rank.cu")


def sort(x: Array, axis: int) -> Array:
    """By ranks, or by keys alone."""
    if x.dtype.kind == "c":
        return sort_and_order(x, axis)[0]
    if _are_short(x, axis):
        return _ranked(x, axis, values=True, order=False)[0]
    return from_rows(sorted_rows(as_rows(x, axis)), x.shape, axis)


def argsort(x: Array, axis: int) -> Array:
    """By ranks, or by keys and places."""
    if x.dtype.kind == "c":
        return sort_and_order(x, axis)[1]
    if _are_short(x, axis):
        return _ranked(x, axis, values=False, order=True)[1]
    return from_rows(order_of_rows(as_rows(x, axis)), x.shape, axis)


def sort_and_order(x: Array, axis: int) -> tuple[Array, Array]:
    """The order, and what it takes."""
    if x.dtype.kind != "c" and _are_short(x, axis):
        return _ranked(x, axis, values=True, order=True)
    rows = as_rows(x, axis)
    order = _order_of_complex(rows) if x.dtype.kind == "c" else order_of_rows(rows)
    values = rows_cuda.take_along(rows, order, 1)
    return from_rows(values, x.shape, axis), from_rows(order, x.shape, axis)


def _order_of_complex(rows: Array) -> Array:
    """By real parts, then by imaginary ones; what has NaN in a part comes last."""
    cupy = import_cupy()
    real, imaginary = rows.real, rows.imag
    missing = cupy.isnan(real).astype(np.int32) * 2 + cupy.isnan(imaginary)
    order = argsort(imaginary, 1)
    for key in (real, missing):
        order = rows_cuda.take_along(order, argsort(rows_cuda.take_along(key, order, 1), 1), 1)
    return order


def _are_short(x: Array, axis: int) -> bool:
    return 0 < x.size * x.shape[axis] <= RANKED and bool(x.shape[axis] <= LINE)


def _ranked(x: Array, axis: int, values: bool, order: bool) -> tuple[Any, Any]:
    """What is wanted of the values in order and of where they stood; see rank.cu."""
    cupy, x = import_cupy(), contiguous(x, x.itemsize)
    length, columns = x.shape[axis], math.prod(x.shape[axis + 1 :])
    found = cupy.empty(x.shape, x.dtype) if values else None
    places = cupy.empty(x.shape, np.int64) if order else None
    given = (x, *[null() if y is None else y for y in (found, places)])
    if length <= SHORT:
        arguments = (*given, *int64s(x.size), *int32s(length, columns))
        blocks, defines = _kernels.blocks(x.size), _macros(x.dtype, 1)
        _kernels.launch("rank_short", blocks, arguments, defines=defines)
    else:
        lanes = LANES if x.size < SMALL else 1
        parts = _kernels.blocks(length * lanes)
        arguments, defines = (*given, *int32s(length, columns, parts)), _macros(x.dtype, lanes)
        _kernels.launch("rank_long", x.size // length * parts, arguments, defines=defines)
    return found, places


@functools.cache
def _macros(dtype: Any, lanes: int) -> tuple[str, ...]:
    if is_float(dtype):
        wide = "double" if dtype.itemsize == 8 else "float"
    elif dtype.itemsize < 4:
        wide = "int"
    else:
        wide = number_macros(dtype)[0].removeprefix("TYPE=")
    key = "u64" if dtype.itemsize == 8 else "u32"
    return (*number_macros(dtype), f"WIDE={wide}", f"KEY={key}", f"LANES={lanes}")


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
