"""Arrays (N, C, …) with the channels last in memory, and those on a GPU as kernels take them.

A kernel gets a pointer and knows the layout, so an array that lies as it should is passed as it is,
without a view of it in another order of axes: a view costs the host as much as half a launch.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from ...backend import Array, array_module, import_cupy, is_cuda, strides_of
from ...backend.cpu_threads import workspace

ALIGNED = 16  # bytes, the widest load of a kernel
APART = 512  # bytes, as what the memory pool gives


def seen_last(x: Array) -> Array:
    """x (N, C, …) as a view (N, …, C)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def seen_second(x: Array) -> Array:
    """x (N, …, C) as a view (N, C, …): the inverse of `seen_last`."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def lies_last(x: Array) -> bool:
    """Whether the channels of x (N, C, H, W) lie closer together in memory than its pixels do."""
    _, by_channel, *by_pixel = map(abs, strides_of(x))
    return 0 < by_channel <= min(filter(None, by_pixel), default=0)


def is_stored_last(x: Array) -> bool:
    """Whether x (N, C, …), of three axes at least, is stored as (N, …, C), without gaps."""
    return bool(x.ndim > 2 and seen_last(x).flags.c_contiguous)


def empty_beside(x: Array, size: tuple[int, ...], dtype: np.dtype) -> Array:
    """A new (N, C, *size), with the channels last in memory where those of x (N, C, H, W) are."""
    xp, (n, c) = array_module(x), x.shape[:2]
    if lies_last(x):
        return seen_second(xp.empty((n, *size, c), dtype))
    return xp.empty((n, c, *size), dtype)


def scratch_last(x: Array, name: str) -> Array:
    """x (N, C, …) as a contiguous (N, …, C), copied only if needed: on the CPU to scratch memory.

    ``name`` is that of the scratch.
    """
    y = seen_last(x)
    if y.flags.c_contiguous:
        return y
    if is_cuda(y):
        return y.copy(order="C")
    copy = workspace(name, y.shape, y.dtype)
    copy[...] = y
    return copy


# --- on a GPU -----------------------------------------------------------------------------------


@functools.lru_cache(4096)
def strides_last(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides of (N, C, …) in bytes when it is stored as (N, …, C)."""
    _, channels, *rest = shape
    steps = np.cumprod([itemsize, channels, *rest[::-1]])  # of C, then from the last axis on
    return (int(steps[-1]), itemsize, *steps[-2:0:-1].tolist())


def empty_last(shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """A new (N, C, …) stored as (N, …, C)."""
    cupy = import_cupy()
    memory = cupy.cuda.alloc(math.prod(shape) * dtype.itemsize)
    return cupy.ndarray(shape, dtype, memory, strides_last(shape, dtype.itemsize))


def empties(*wanted: tuple[tuple[int, ...], np.dtype]) -> list[Array]:
    """New arrays of these shapes and dtypes in one piece of memory: small ones that live alike."""
    cupy = import_cupy()
    *starts, size = _starts(wanted)
    memory = cupy.cuda.alloc(size)
    return [
        cupy.ndarray(shape, dtype, memory + start)
        for (shape, dtype), start in zip(wanted, starts, strict=True)
    ]


@functools.lru_cache(4096)
def _starts(wanted: tuple[tuple[tuple[int, ...], np.dtype], ...]) -> list[int]:
    """Where each array begins in their memory, and the size of that, in bytes."""
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in wanted]
    return [0, *itertools.accumulate(-(-size // APART) * APART for size in sizes)]


def empty(shape: tuple[int, ...], dtype: np.dtype, channels_last: bool) -> Array:
    """A new (N, C, …) stored as (N, …, C), or in C order."""
    return empty_last(shape, dtype) if channels_last else import_cupy().empty(shape, dtype)


def last(x: Array, alignment: int = ALIGNED) -> Array:
    """x (N, C, …) for a kernel that reads (N, …, C): itself where it lies so, else a copy."""
    if x.strides == strides_last(x.shape, x.itemsize) and x.data.ptr % alignment == 0:
        return x
    return contiguous(seen_last(x), alignment)


def contiguous(x: Array, alignment: int = ALIGNED) -> Array:
    """x for a kernel that reads it in C order: itself where it lies so, else a copy."""
    if x.flags.c_contiguous and x.data.ptr % alignment == 0:
        return x
    y: Array = import_cupy().empty(x.shape, x.dtype)
    copy_rows(x, y)
    return y


def copy_rows(source: Array, target: Array) -> None:
    """Copy to an array of the same shape and dtype, 16 bytes a thread where rows of both allow."""
    wide = _in_pieces(source), _in_pieces(target)
    if wide[0] is None or wide[1] is None:
        target[...] = source
    else:
        wide[1][...] = wide[0]


def _in_pieces(x: Array) -> Array | None:
    """x as elements of 16 bytes; None where its last axis has gaps, or is none of whole ones."""
    if not x.size or not x.ndim or x.shape[-1] * x.itemsize % ALIGNED or x.data.ptr % ALIGNED:
        return None
    *outer, inner = strides_of(x)
    if inner != x.itemsize or any(stride % ALIGNED for stride in outer):
        return None
    shape = (*x.shape[:-1], x.shape[-1] * x.itemsize // ALIGNED)
    return import_cupy().ndarray(shape, np.complex128, x.data, (*outer, ALIGNED))


def arranged(x: Array, channels_last: bool, alignment: int = ALIGNED) -> Array:
    """x (N, C, …) for a kernel that reads (N, …, C), or C order: itself where it lies so."""
    return last(x, alignment) if channels_last else contiguous(x, alignment)
