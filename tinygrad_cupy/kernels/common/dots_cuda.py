"""Sums of products on a GPU, in float64 and rounded once: the kernels in dots.cu."""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s, int64s
from ...backend.block_counter import ticket_of
from ...backend.cuda_source import dtype_macros
from .headers import COLUMNS, LAST_BLOCK
from .layout import contiguous

TILE = 32  # columns of a block
BLOCKS = 512  # that keep a GPU busy
LEAST = 1 << 11  # products of a block
ROWS_EACH = 64  # that a block adds up at least
MOST_PARTIALS = 8192  # that the last block adds up

_kernels = CudaSource(__file__, LAST_BLOCK, COLUMNS, "dots.cu", defines=(f"TILE={TILE}",))


def dots(u: Array, v: Array) -> Array:
    """Σ u · v over the last axis; both have one shape."""
    cupy, outer = import_cupy(), u.shape[:-1]
    rows, length = math.prod(outer), u.shape[-1]
    y: Array = cupy.empty(outer, u.dtype)
    if not y.size:
        return y
    u, v = (contiguous(x, x.itemsize) for x in (u, v))
    parts = max(1, min(-(-length // LEAST), BLOCKS // rows))
    partials = cupy.empty((rows, parts), np.float64)
    sizes = (*int64s(rows, length), *int32s(parts))
    arguments = (u, v, y, partials, ticket_of(partials), *sizes)
    _kernels.launch("dots", rows * parts, arguments, defines=dtype_macros(u.dtype))
    return y


def weighted_sums(x: Array, w: Array) -> Array:
    """Σ w · x over the rows: of x (R, C), contiguous, and w (R,), an array (C,)."""
    (rows, columns), cupy = x.shape, import_cupy()
    parts = max(1, min(-(-rows // ROWS_EACH), MOST_PARTIALS // columns))
    y: Array = cupy.empty(columns, x.dtype)
    partials = cupy.empty((parts, columns), np.float64)
    sizes = (*int64s(rows), *int32s(columns))
    arguments = (x, contiguous(w, w.itemsize), y, partials, ticket_of(partials), *sizes)
    blocks = (-(-columns // TILE), parts)
    _kernels.launch("weighted_sums", blocks, arguments, defines=dtype_macros(x.dtype))
    return y
