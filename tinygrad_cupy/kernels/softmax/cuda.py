"""Softmax on a GPU through ``softmax.cu``: rows that lie without gaps, one kernel each way.

`reference` says what is computed.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from ...backend import Array, CudaSource, int32s, int64s
from ...backend.cuda_source import dtype_macros
from ..common import row_cuda
from ..common.headers import ROW, VECTOR
from ..common.layout import arranged, empty, is_stored_last

_files = [CudaSource(__file__, VECTOR, ROW, "softmax.cu", threads=n) for n in (256, 512)]


def suits(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether x can be dealt with here: its last axes, or its channels where they lie last."""
    if x.dtype.kind != "f" or not x.size:
        return False
    columns = math.prod([x.shape[axis] for axis in axes])
    if not row_cuda.suits(x.size // columns, columns):
        return False
    return axes == tuple(range(x.ndim - len(axes), x.ndim)) or _of_channels(x, axes)


def _of_channels(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether the rows of x (N, C, …) are its channels, which lie last in memory."""
    if axes != (1,) or x.ndim < 3:
        return False
    return is_stored_last(x)


def forward(x: Array, axes: tuple[int, ...], log: bool) -> Array:
    """As `kernels.softmax.forward`."""
    channels = _of_channels(x, axes)
    y = empty(x.shape, x.dtype, channels)
    _launch("softmax_forward", axes, log, arranged(x, channels, x.itemsize), y)
    return y


def backward(grad: Array, y: Array, axes: tuple[int, ...], log: bool) -> Array:
    """As `kernels.softmax.backward`."""
    channels = _of_channels(y, axes)
    dx = empty(y.shape, y.dtype, channels)
    given = (arranged(each, channels, each.itemsize) for each in (grad, y))
    _launch("softmax_backward", axes, log, *given, dx)
    return dx


def _launch(name: str, axes: tuple[int, ...], log: bool, *arrays: Array) -> None:
    x = arrays[0]
    columns = math.prod([x.shape[axis] for axis in axes])
    width = row_cuda.width_of(columns, *arrays)
    sizes = (x.size // columns, columns)
    file, blocks, numbers, defines = _plan(*sizes, x.dtype, width, log, len(arrays))
    file.launch(name, blocks, (*arrays, *numbers), defines=defines)


@functools.lru_cache(4096)
def _plan(
    rows: int, columns: int, dtype: Any, width: int, log: bool, arrays: int
) -> tuple[CudaSource, int, tuple[Any, ...], tuple[str, ...]]:
    """The file, the blocks, the sizes and the macros of a launch."""
    short, long = _files
    halves = (dtype.itemsize == 8) + (arrays > 2)  # two rows are kept backward
    each, most = row_cuda.EACH >> halves, row_cuda.KEPT >> halves
    threads = (short.threads, long.threads)
    packs = -(-columns // width)
    lanes, kept = row_cuda.lanes_of(rows, packs, width, each, most, threads, long.threads)
    file = short if lanes <= short.threads else long
    blocks = min(-(-rows // (file.threads // lanes)), row_cuda.MOST_BLOCKS)
    how = (*row_cuda.macros(columns, width, lanes, kept), f"LOG={log:d}")
    return file, blocks, (*int64s(rows), *int32s(columns)), (*dtype_macros(dtype), *how)
