"""Pooling on the CPU through ``pool.c``, where the machine has a C compiler.

For float32 images with their channels last in memory and windows of few taps; what does not `suit`
goes through NumPy, in `reference`, with the same bits. Letters are explained in `windows`.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource
from ...backend.cpu_memory import aligned_empty
from ..common.images import contiguous_last
from ..common.layout import lies_last, seen_second
from ..common.sums import FEW
from ..common.windows import Shape, Windows
from . import reference

LEAST = 4  # channels: of fewer, vectors run along nothing
WORK = 1 << 15  # elements of a part, which take longer than to have a thread do it

_file = CSource(__file__, "../common/taps.h", "pool.c")


class _Pool(ctypes.Structure):
    """As ``Pool`` in pool.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("n", "c", "h", "w", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw"),
            "disjoint",
        )
    ]


def _suits(beside: Array, windows: Windows, *others: Array) -> bool:
    """Whether C is for windows of images that lie as ``beside`` (N, C, …) does."""
    if beside.ndim != 4 or windows.taps > FEW or any(x.dtype != np.float32 for x in others):
        return False
    if beside.shape[1] < LEAST or not beside.size:
        return False
    last = beside.shape[2:] == (1, 1) or lies_last(beside)
    return last and _file.library is not None


@functools.lru_cache(1024)
def _sizes(n: int, c: int, size: Shape, out: Shape, windows: Windows) -> _Pool:
    kernel, stride, padding, dilation, _ = windows
    return _Pool(n, c, *size, *out, *kernel, *stride, *padding, *dilation, windows.are_disjoint)


def _run(name: str, sizes: _Pool, by_rows: bool, arrays: tuple[Array, ...], scratch: int) -> None:
    """A function of pool.c, items of which are rows of the output, or images."""
    count = sizes.n * sizes.oh if by_rows else sizes.n
    work = sizes.n * sizes.c * sizes.oh * sizes.ow * sizes.kh * sizes.kw
    _file.run(name, sizes, count, arrays, scratch, max(1, WORK * count // work))


def _pooled(name: str, x: Array, windows: Windows, *also: Any) -> list[Array]:
    """What a function of pool.c makes of each window: y, and arrays of the dtypes in ``also``."""
    n, c, *size = x.shape
    out = windows.output_size(f"{name}2d", tuple(size))
    found = [aligned_empty((n, *out, c), dtype) for dtype in (np.float32, *also)]
    sizes = _sizes(n, c, tuple(size), out, windows)
    _run(name, sizes, True, (contiguous_last(x), *found), c)
    return [seen_second(array) for array in found]


def _spread(name: str, windows: Windows, size: Shape, *given: Array) -> Array:
    """The gradient (N, C, *size) that a function of pool.c makes of arrays (N, C, OH, OW)."""
    n, c, *out = given[0].shape
    dx = aligned_empty((n, *size, c), np.float32)
    sizes = _sizes(n, c, tuple(size), tuple(out), windows)
    _run(name, sizes, False, (*map(contiguous_last, given), dx), 0)
    return seen_second(dx)


def max_pool(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The largest element of each window of x, and the number of the first tap that had it."""
    if not _suits(x, windows, x):
        return reference.max_pool(x, windows)
    y, argmax = _pooled("max_pool", x, windows, np.uint8)
    return y, argmax


def max_scatter(grad: Array, argmax: Array, windows: Windows, size: Shape) -> Array:
    """Each window's gradient put where its maximum was, (N, C, *size)."""
    if argmax.dtype != np.uint8 or not _suits(argmax, windows, grad):
        return reference.max_scatter(grad, argmax, windows, size)
    return _spread("max_scatter", windows, size, grad, argmax)


def sum_pool(x: Array, windows: Windows) -> Array:
    """The sum of each window, the padding counting as zeros."""
    if not _suits(x, windows, x):
        return reference.sum_pool(x, windows)
    return _pooled("sum_pool", x, windows)[0]


def spread(grad: Array, windows: Windows, size: Shape) -> Array:
    """Each window's gradient added to every pixel that it holds, (N, C, *size)."""
    if not _suits(grad, windows, grad):
        return reference.spread(grad, windows, size)
    return _spread("spread", windows, size, grad)
