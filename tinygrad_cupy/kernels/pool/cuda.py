"""Pooling on a GPU (kernels in pool.cu): one launch for any geometry, in the input's layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, CudaSource
from ...backend.cuda_source import dtype_macros
from ..common.headers import VECTOR
from ..common.layout import arranged, empty, lies_last
from ..common.sums import FEW
from ..common.windows import Shape, Windows
from . import reference

_TAPS = {np.dtype(np.uint8): "TAP=u8", np.dtype(np.int32): "TAP=int"}  # of an argmax
_SHAPE = np.dtype([("numbers", np.int32, 13)])
_kernels = CudaSource(__file__, VECTOR, "pool.cu", defines=(f"SHAPE_BYTES={_SHAPE.itemsize}",))


def _launch(
    name: str,
    arrays: list[Array],
    windows: Windows,
    size: Shape,
    out: Shape,
    last: bool,
    argmax: Any,
) -> None:
    """Run a kernel that writes all of ``arrays[-1]``, or the last two for ``max_pool``.

    What it reads is `arranged`, what it writes (N, C, …); ``last``: the channels are, in memory.
    """
    written = arrays[-1]
    if written.size == 0:
        return
    channels = written.shape[1] if last else 1
    whole = channels % 4 == 0 and all(array.data.ptr % 16 == 0 for array in arrays)
    width = 4 if whole else 1
    index = "u32" if max(array.size for array in arrays) < 2**31 else "u64"
    types = (*dtype_macros(arrays[0].dtype), _TAPS[argmax])
    if windows.taps > FEW and name != "max_pool":  # of so many a float's sum is not exact enough
        types = tuple(["ACC=double" if macro == "ACC=float" else macro for macro in types])
    steps = (*windows.kernel, *windows.stride, *windows.padding, *windows.dilation)
    shape = np.array((channels, *size, *out, *steps), np.int32).view(_SHAPE)
    count = np.uint32(written.size) if index == "u32" else np.uint64(written.size)
    blocks = _kernels.blocks(written.size // width)
    _kernels.launch(
        name, blocks, (*arrays, count, shape), defines=(*types, f"WIDTH={width}", f"INDEX={index}")
    )


def max_pool(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The largest element of each window of x, and the number of the first tap that had it."""
    if not dtype_macros(x.dtype):
        return reference.max_pool(x, windows)
    n, c, h, w = x.shape
    out, last = windows.output_size("max_pool2d", (h, w)), lies_last(x)
    y = empty((n, c, *out), x.dtype, last)
    taps = np.dtype(np.uint8 if windows.taps <= 256 else np.int32)
    argmax = empty((n, c, *out), taps, last)
    _launch("max_pool", [arranged(x, last, 1), y, argmax], windows, (h, w), out, last, taps)
    return y, argmax


def max_scatter(grad: Array, argmax: Array, windows: Windows, size: Shape) -> Array:
    """Each window's gradient put where its maximum was, (N, C, *size)."""
    if not dtype_macros(grad.dtype) or argmax.dtype not in _TAPS:
        return reference.max_scatter(grad, argmax, windows, size)
    n, c, *out = grad.shape
    last = lies_last(argmax)
    dx = empty((n, c, *size), grad.dtype, last)
    arrays = [arranged(grad, last, 1), arranged(argmax, last, 1), dx]
    _launch("max_scatter", arrays, windows, size, (out[0], out[1]), last, argmax.dtype)
    return dx


def max_gather(x: Array, argmax: Array, windows: Windows) -> Array:
    """The element of each window at its argmax; 0 where that lies in the padding."""
    if not dtype_macros(x.dtype) or argmax.dtype not in _TAPS:
        return reference.max_gather(x, argmax, windows)
    n, c, *out = argmax.shape
    last = lies_last(argmax)
    y = empty((n, c, *out), x.dtype, last)
    arrays = [arranged(x, last, 1), arranged(argmax, last, 1), y]
    size = (x.shape[2], x.shape[3])
    _launch("max_gather", arrays, windows, size, (out[0], out[1]), last, argmax.dtype)
    return y


def sum_pool(x: Array, windows: Windows) -> Array:
    """The sum of each window, the padding counting as zeros."""
    if not dtype_macros(x.dtype):
        return reference.sum_pool(x, windows)
    n, c, h, w = x.shape
    out, last = windows.output_size("avg_pool2d", (h, w)), lies_last(x)
    y = empty((n, c, *out), x.dtype, last)
    _launch("sum_pool", [arranged(x, last, 1), y], windows, (h, w), out, last, np.dtype(np.uint8))
    return y


def spread(grad: Array, windows: Windows, size: Shape) -> Array:
    """Each window's gradient added to every pixel that it holds, (N, C, *size)."""
    if not dtype_macros(grad.dtype):
        return reference.spread(grad, windows, size)
    n, c, *out = grad.shape
    last = lies_last(grad)
    dx = empty((n, c, *size), grad.dtype, last)
    arrays = [arranged(grad, last, 1), dx]
    _launch("sum_pool_backward", arrays, windows, size, (out[0], out[1]), last, np.dtype(np.uint8))
    return dx
