"""Pooling on NumPy arrays; with CuPy arrays too, where `pool_cuda` has no kernel for a dtype.

Every function walks over the KH · KW taps of a window, never over pixels or images: one tap is a
strided slice of the whole (padded) input. Letters are explained in `windows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, array_module
from ...backend.cpu_threads import by_parts
from ...backend.dtypes import is_float, through_single
from ..common.layout import empty_beside
from ..common.select import keep_where
from ..common.sums import FEW
from ..common.windows import Shape, Windows


def _pad(x: Array, windows: Windows, value: float) -> Array:
    """x (N, C, H, W) with ``value`` around, in the memory layout of x."""
    if not windows.is_padded:
        return x
    return array_module(x).pad(x, windows.around, constant_values=value)


def _least(dtype: Any) -> float:
    """What no element of ``dtype`` is smaller than."""
    if is_float(dtype):
        return -np.inf
    return False if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _first_taps(xp: Any, windows: Windows, out: Shape) -> Array:
    """(OH, OW): the first tap of each window that lies in the image; 0 where it has none there."""
    places = []
    for size, stride, padding, dilation, kernel in zip(
        out, windows.stride, windows.padding, windows.dilation, windows.kernel, strict=True
    ):
        above = padding - xp.arange(size) * stride  # rows of padding that the window begins with
        first = -(-above.clip(0) // dilation)
        places.append(xp.where(first < kernel, first, 0))
    return places[0][:, None] * windows.kernel[1] + places[1]


@through_single
def max_pool(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The largest element of each window of x, and the number of the first tap that had it.

    NaN is larger than all. The tap lies in the image, even where all of the window is -∞.
    """
    xp = array_module(x)
    out = windows.output_size("max_pool2d", x.shape[2:])
    padded = _pad(x, windows, _least(x.dtype))
    best = empty_beside(x, out, x.dtype)
    # One byte an element, unless windows are huge.
    argmax = xp.empty_like(best, np.uint8 if windows.taps <= 256 else np.int32)
    first = _first_taps(xp, windows, out) if any(windows.padding) else 0

    def task(part: slice) -> None:
        top, places = best[part], argmax[part]
        for k, place in windows.each_tap(out):
            tap = padded[part, :, *place]
            if k == 0:
                top[...] = tap
                places[...] = first
                continue
            better = tap > top
            xp.maximum(places, better * places.dtype.type(k), out=places)
            xp.maximum(top, tap, out=top)
        if is_float(x.dtype):
            _find_nan(padded[part], windows, top, places)

    by_parts(xp, task, x.shape[0])
    return best, argmax


def _find_nan(padded: Array, windows: Windows, top: Array, argmax: Array) -> None:
    """Of each window whose maximum is NaN, let the first NaN be the argmax."""
    nan = top != top
    if not nan.any():
        return
    for k, place in reversed(list(windows.each_tap(top.shape[2:]))):
        tap = padded[:, :, *place]
        argmax[nan & (tap != tap)] = k


def max_scatter(grad: Array, argmax: Array, windows: Windows, size: Shape) -> Array:
    """Each window's gradient put where its maximum was, (N, C, *size)."""
    xp = array_module(grad)
    disjoint = windows.are_disjoint
    dtype = grad.dtype if disjoint else _wide(grad.dtype, windows)
    padded = empty_beside(argmax, windows.padded_size(size), dtype)

    def task(part: slice) -> None:
        padded[part] = 0
        values = xp.empty_like(argmax[part], grad.dtype)
        values[...] = grad[part]  # one layout for all: a mixed one costs more at every tap
        for k, tap in windows.each_tap(grad.shape[2:]):
            target = padded[part, :, *tap]
            hit = argmax[part] == k
            if disjoint:
                keep_where(values, hit, target)
            else:
                target += keep_where(values, hit)

    by_parts(xp, task, grad.shape[0])
    return padded[:, :, *windows.inside(size)].astype(grad.dtype, copy=False)


def max_gather(x: Array, argmax: Array, windows: Windows) -> Array:
    """The element of each window at its argmax; 0 where that lies in the padding."""
    padded = _pad(x, windows, 0)
    y = array_module(x).zeros(argmax.shape, x.dtype)
    for k, tap in windows.each_tap(y.shape[2:]):
        y += keep_where(padded[:, :, *tap], argmax == k)
    return y


def sum_pool(x: Array, windows: Windows) -> Array:
    """The sum of each window, the padding counting as zeros."""
    out = windows.output_size("avg_pool2d", x.shape[2:])
    padded = _pad(x, windows, 0)
    y = empty_beside(x, out, _wide(x.dtype, windows))
    y[...] = 0
    for _, tap in windows.each_tap(out):
        y += padded[:, :, *tap]
    return y.astype(x.dtype, copy=False)


def _wide(dtype: Any, windows: Windows) -> Any:
    """What the elements of a window, or of windows that overlap, are added up in."""
    return np.float64 if is_float(dtype) and (dtype.itemsize < 4 or windows.taps > FEW) else dtype


def spread(grad: Array, windows: Windows, size: Shape) -> Array:
    """Each window's gradient added to every pixel that it holds, (N, C, *size)."""
    padded = empty_beside(grad, windows.padded_size(size), _wide(grad.dtype, windows))
    padded[...] = 0
    for _, tap in windows.each_tap(grad.shape[2:]):
        padded[:, :, *tap] += grad
    return padded[:, :, *windows.inside(size)].astype(grad.dtype, copy=False)
