"""Scans on a GPU: the kernels in scan.cu."""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s, int64s, null
from ...backend.cuda_source import THREADS, dtype_macros
from ...backend.dtypes import by_parts_of_complex, is_float
from ..common.layout import contiguous
from . import reference
from .reference import MACROS, OPERATORS

ITEMS = 8  # that a thread joins by itself
TILE = THREADS * ITEMS
BLOCKS = 1024  # into which a few long lines are cut
SHORT = 64  # a line that one thread takes
FAR = 1 << 18  # elements whose lines across the rows are better laid side by side
MANY = BLOCKS * THREADS // 16  # lines across the rows that a thread each takes
STATE = 2  # doubles that a state has at most

_kernels = CudaSource(__file__, "scan.cu", defines=(f"ITEMS={ITEMS}", *MACROS))


def cumulative(x: Array, op: str, axis: int, reverse: bool = False) -> Array:
    """See `kernels.scan.cumulative`."""
    if is_float(x.dtype):
        return _scan(op, x, axis, reverse)
    cupy = import_cupy()
    wide, made = (np.complex128, x.dtype) if x.dtype.kind == "c" else (np.int64, np.int64)
    if op in ("maximum", "minimum"):
        return reference.cumulative(x, getattr(cupy, op), axis, reverse)
    accumulate = cupy.cumsum if op == "sum" else cupy.cumprod
    if not reverse:
        return accumulate(x, axis, wide).astype(made, copy=False)
    return cupy.flip(accumulate(cupy.flip(x, axis), axis, wide), axis).astype(made, copy=False)


def recurrence(a: Array, b: Array, axis: int, reverse: bool) -> Array:
    """See `kernels.scan.recurrence`."""
    if b.dtype.kind == "c":
        factors, wide = (v.astype(np.complex128, copy=False) for v in (a, b))
        return reference.recurrence(factors, wide, axis, reverse).astype(b.dtype, copy=False)
    return _scan("recurrence", b, axis, reverse, factors=a)


@by_parts_of_complex
def segmented_sum(x: Array, starts: Array, axis: int, reverse: bool) -> Array:
    """See `kernels.scan.segmented_sum`."""
    return _scan("segmented", x, axis, reverse, starts=starts)


def _scan(
    op: str,
    x: Array,
    axis: int,
    reverse: bool,
    factors: Array | None = None,
    starts: Array | None = None,
) -> Array:
    """x scanned by one of `OPERATORS` along ``axis``."""
    outer, n, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    if not x.size:
        return import_cupy().empty(x.shape, x.dtype)
    few = outer * inner < MANY
    if inner > 1 and n > SHORT and few and x.size >= FAR:
        moved = [
            None if v is None else import_cupy().moveaxis(v, axis, -1) for v in (factors, starts)
        ]
        rows = _scan(op, import_cupy().moveaxis(x, axis, -1), x.ndim - 1, reverse, *moved)
        return import_cupy().moveaxis(rows, -1, axis)
    x = contiguous(x)
    y = import_cupy().empty(x.shape, x.dtype)
    given = (x, *[null() if v is None else contiguous(v) for v in (factors, starts)], y)
    strided = inner > 1 and few
    defines = (*dtype_macros(x.dtype), f"OP={OPERATORS.index(op)}", f"STRIDED={int(strided)}")
    if n <= SHORT or (inner > 1 and not few):
        sizes = (*int64s(outer, n, inner), *int32s(reverse))
        blocks = _kernels.blocks(outer * inner)
        _kernels.launch("scan_columns", blocks, (*given, *sizes), defines=defines)
        return y
    lines, tiles = outer * inner, -(-n // TILE)
    each = -(-tiles // max(1, min(tiles, BLOCKS // lines))) * TILE
    chunks = -(-n // each)
    sizes = (*int64s(n, each, chunks, inner), *int32s(reverse))
    partials = import_cupy().empty((lines, chunks, STATE), np.float64)
    if chunks > 1:
        arguments = (*given[:-1], partials, *sizes)
        _kernels.launch("scan_totals", lines * chunks, arguments, defines=defines)
    _kernels.launch("scan_rows", lines * chunks, (*given, partials, *sizes), defines=defines)
    return y
