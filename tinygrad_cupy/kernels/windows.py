"""Windows along an axis and views by strides, and the sums that are their adjoints."""

from __future__ import annotations

import math

import numpy as np

from ..backend import Array, Elementwise, array_module, import_cupy, kernel, strides_of
from ..backend.dtypes import by_parts_of_complex, is_float, is_narrow
from .common import rows


def slide(x: Array, width: int, axis: int) -> Array:
    """(…, n - w + 1, …, w): the windows of x (…, n, …) along an axis, as a view."""
    shape = list(x.shape)
    shape[axis] += 1 - width
    strides = strides_of(x)
    strided = array_module(x).lib.stride_tricks.as_strided
    found: Array = strided(x, (*shape, width), (*strides, strides[axis]))
    if isinstance(found, np.ndarray):
        found.flags.writeable = False  # its elements share their memory
    return found


@by_parts_of_complex
def _overlap_cpu(windows: Array, axis: int) -> Array:
    """One addition for each place in a window, or for each window where these are fewer."""
    *shape, width = windows.shape
    count = shape[axis]
    shape[axis] = max(count + width - 1, 0)
    dtype = windows.dtype
    total = np.zeros(shape, np.float64 if is_float(dtype) else dtype)
    before = (slice(None),) * axis
    if width <= count:
        for j in range(width):
            total[(*before, slice(j, j + count))] += windows[..., j]
    else:
        moved = np.moveaxis(windows, -1, axis + 1)
        for i in range(count):
            total[(*before, slice(i, i + width))] += moved[(*before, i)]
    with np.errstate(over="ignore"):
        return total.astype(dtype, copy=False)


@by_parts_of_complex
def _overlap_cuda(windows: Array, axis: int) -> Array:
    cupy = import_cupy()
    *shape, width = windows.shape
    count = shape[axis]
    shape[axis] = max(count + width - 1, 0)
    dtype = windows.dtype
    wide = windows.astype(np.float32) if is_narrow(dtype) else windows
    total = cupy.zeros(shape, wide.dtype)
    if total.size and windows.size:
        inner = math.prod(shape[axis + 1 :])
        flat = cupy.ascontiguousarray(wide).ravel()
        _add_windows(flat, count, width, inner, total.ravel(), size=total.size)
    return total.astype(dtype, copy=False)


_add_windows = Elementwise(
    "raw T windows, int64 count, int64 width, int64 inner",
    "raw T total",
    """
    const long long length = count + width - 1, column = i % inner;
    const long long place = i / inner % length, outer = i / inner / length;
    const long long first = place >= width ? place - width + 1 : 0;
    const long long last = place < count ? place : count - 1;
    double sum = 0;
    for (long long n = first; n <= last; ++n)
        sum += (double)windows[((outer * count + n) * inner + column) * width + place - n];
    total[i] = (T)sum;
    """,
    "add_windows",
)


@kernel(cpu=_overlap_cpu, cuda=_overlap_cuda)
def overlap(windows: Array, axis: int) -> Array:
    """Σ of the windows (…, n, …, w), each one step behind the last: (…, n + w - 1, …)."""


def strided(x: Array, shape: tuple[int, ...], steps: tuple[int, ...], lead: int) -> Array:
    """The view of x, each of the first ``lead`` axes by itself, that steps of elements make."""
    xp = array_module(x)
    flat = xp.ascontiguousarray(x) if x.ndim else x
    strides = [n * x.dtype.itemsize for n in steps]
    outer = strides_of(flat)[:lead]
    full = (*x.shape[:lead], *shape)
    if 0 in full:
        return xp.empty(full, x.dtype)
    found: Array = xp.lib.stride_tricks.as_strided(flat, full, (*outer, *strides))
    if xp is np:
        found.flags.writeable = False  # elements may share their memory
    return found


def strided_added(
    values: Array, shape: tuple[int, ...], steps: tuple[int, ...], lead: int
) -> Array:
    """Zeros of ``shape`` with values added where `strided` reads them from."""
    xp = array_module(values)
    outer, count = math.prod(shape[:lead]), math.prod(shape[lead:])
    places = xp.zeros((), np.int64)
    for n, step in zip(values.shape[lead:], steps, strict=True):
        places = places[..., None] + xp.arange(n) * step
    places = xp.arange(outer)[:, None] * count + places.reshape(1, -1)
    found: Array = rows.add(values.reshape(1, places.size, 1), places.reshape(-1), outer * count)
    return found.reshape(shape)
