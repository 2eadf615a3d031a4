"""Sums of columns on a GPU, the kernel in sums.cu: over whatever axes are the outer ones in memory.

The gradient of a convolution's bias is one: images lie N, H, W, C, and all axes but C are summed.
CuPy's own reduction takes such an array a hundred times as long.
"""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s, int64s, null, strides_of
from ...backend.block_counter import ticket_of
from ...backend.cuda_source import dtype_macros
from .headers import COLUMNS, LAST_BLOCK
from .layout import contiguous

ROWS_EACH = 64  # that a block of the kernel adds up at least
TILE = 32  # columns of a block
MOST_PARTIALS = 8192  # that its last block adds up


_kernels = CudaSource(__file__, LAST_BLOCK, COLUMNS, "sums.cu", defines=(f"TILE={TILE}",))


def suits(x: Array) -> bool:
    """Whether the kernel is for x."""
    return bool(x.dtype.kind == "f" and x.dtype.itemsize >= 4 and x.size)


def relu_backward_and_sum(grad: Array, y: Array | None) -> tuple[Array, Array]:
    """``grad`` (N, O) where y, ReLU's output, is positive, and the sums (O,) of that over N."""
    grad = contiguous(grad)
    masked = grad if y is None else import_cupy().empty_like(grad)
    return masked, _sums(grad, None if y is None else contiguous(y), masked, *grad.shape)


def outer_sum(x: Array, axes: tuple[int, ...]) -> Array | None:
    """Sum of x over ``axes``, if these are the outer ones in memory and there are no gaps."""
    if len(axes) in (0, x.ndim) or not suits(x):
        return None
    order = sorted(range(x.ndim), key=lambda i: _depth(x, i, i in axes), reverse=True)
    rows = math.prod(x.shape[i] for i in axes)
    inner = order[len(axes) :]
    if rows < ROWS_EACH or not set(axes).isdisjoint(inner):
        return None
    if not x.transpose(order).flags.c_contiguous:
        return None
    total = _sums(x, None, x, rows, x.size // rows)
    if len(inner) == 1:
        return total
    kept = sorted(inner)
    return total.reshape([x.shape[i] for i in inner]).transpose([inner.index(i) for i in kept])


def _depth(x: Array, axis: int, summed: bool) -> float:
    """A stride, the larger the further out; one element has none, and is out if it is summed."""
    return float(strides_of(x)[axis]) if x.shape[axis] > 1 else math.inf if summed else 0.0


def _sums(grad: Array, y: Array | None, masked: Array, rows: int, columns: int) -> Array:
    cupy = import_cupy()
    tiles = -(-columns // TILE)
    parts = max(1, min(-(-rows // ROWS_EACH), MOST_PARTIALS // columns))
    total, partials = cupy.empty(columns, grad.dtype), cupy.empty((parts, columns), np.float64)
    _kernels.launch(
        "column_sums",
        (tiles, parts),
        (
            *(grad, null() if y is None else y, masked, total),
            *(partials, ticket_of(partials), *int64s(rows), *int32s(columns)),
        ),
        defines=dtype_macros(grad.dtype),
    )
    return total
