"""Rows normalized by their own statistics on a GPU: one kernel forward, one for all gradients.

A row is read once, into registers, where they are enough for it (`row_cuda`). The gradients by
weight and bias are added up while that by x is made, and a second, small kernel adds up what blocks
have.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ...backend import (
    Array,
    CudaSource,
    float64s,
    import_cupy,
    int32s,
    int64s,
    null,
)
from ...backend.cuda_source import dtype_macros
from ..common import row_cuda
from ..common.headers import ROW, VECTOR
from ..common.layout import arranged, contiguous, empties, empty, is_stored_last
from .reference import Gradients

EACH_SUMMED = 12  # elements for a thread that keeps two sums of each as well, and the most
EACH_ROWS = 8  # that a block adds up at least, or its sums are as much as they
PARTIALS = 1 << 18  # sums that are worth it all the same
TILE = 16  # columns of a block that adds up
COLUMN_BLOCKS = 528  # that keep a GPU busy
SECTOR = 32  # bytes that memory gives at once

_SUMMED = f"TILE={TILE}"
_HEADERS = (VECTOR, ROW)
_forward = [CudaSource(__file__, *_HEADERS, "layer_norm.cu", threads=n) for n in (256, 512)]
_backward = [
    CudaSource(__file__, *_HEADERS, "layer_norm_backward.cu", threads=n, defines=(_SUMMED,))
    for n in (256, 512)
]


class _Rows(NamedTuple):
    """R rows of C elements; with a segment they are groups of channels, see row.cuh."""

    rows: int
    columns: int
    segment: int = 0
    groups: int = 1


class _Plan(NamedTuple):
    """How threads lie on the rows of one shape, and what the kernels are told of it."""

    file: CudaSource
    defines: tuple[str, ...]
    blocks: int
    summed: bool  # the kernel adds up columns along with it
    numbers: tuple[Any, ...]  # R, C and groups


@functools.lru_cache(4096)
def _plan(files: str, shape: _Rows, dtype: Any, width: int, sums: bool = False) -> _Plan:
    """For the kernels in ``files``; with ``sums`` those of columns are wanted, too."""
    short, long = _forward if files == "forward" else _backward
    rows, columns, segment, groups = shape
    each, most = (EACH_SUMMED,) * 2 if sums else (row_cuda.EACH, row_cuda.KEPT)
    if dtype.itemsize == 8:
        each, most = each // 2, most // 2
    limit = long.threads
    if segment:  # a block reads whole sectors
        beside = min(groups, -(-SECTOR // (segment * dtype.itemsize)))
        limit = short.threads >> (beside - 1).bit_length() if beside > 1 else limit
    threads = (short.threads, long.threads)
    lanes, kept = row_cuda.lanes_of(rows, -(-columns // width), width, each, most, threads, limit)
    if sums and not kept:
        return _plan(files, shape, dtype, width)
    file = short if lanes <= short.threads else long
    blocks = min(-(-rows // (file.threads // lanes)), row_cuda.MOST_BLOCKS)
    if sums:
        worth = max(rows // EACH_ROWS, PARTIALS // (2 * columns), 1)
        blocks = min(blocks, row_cuda.BUSY // file.threads, worth)
    how = row_cuda.macros(columns, width, lanes, kept, segment)
    of_sums = (f"SUMS={sums:d}",) if files == "backward" else ()
    numbers = (*int64s(rows), *int32s(columns, groups))
    return _Plan(file, (*dtype_macros(dtype), *how, *of_sums), blocks, sums, numbers)


@functools.lru_cache(4096)
def _means(centred: bool, columns: int, *eps: float) -> tuple[Any, ...]:
    return (*int32s(int(centred)), *float64s(1 / columns, *eps))


def _or_null(x: Array | None) -> Any:
    return null() if x is None else x


def forward(
    x: Array, weight: Array | None, bias: Array | None, centred: bool, eps: float
) -> tuple[Array, Array]:
    """As `kernels.layer_norm.forward`."""
    x, weight, bias = _plain(x), _plain(weight), _plain(bias)
    y = import_cupy().empty(x.shape, x.dtype)
    return y, _normalize(_Rows(*x.shape), x, weight, bias, y, centred, eps)


def _normalize(
    shape: _Rows,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    y: Array,
    centred: bool,
    eps: float,
) -> Array:
    """Writes y, and gives the statistics."""
    stats: Array = import_cupy().empty((shape.rows, 2), np.float64)
    width = row_cuda.width_of(shape.segment or shape.columns, x, weight, bias)
    plan = _plan("forward", shape, x.dtype, width)
    arrays = (x, _or_null(weight), _or_null(bias), y, stats)
    numbers = (*plan.numbers, *_means(centred, shape.columns, eps))
    plan.file.launch("layer_norm_forward", plan.blocks, (*arrays, *numbers), defines=plan.defines)
    return stats


def of_groups(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    """As `kernels.layer_norm.of_groups`."""
    x, shape, stored_last = _as_groups(x, groups)
    y = empty(x.shape, x.dtype, stored_last)
    return y, _normalize(shape, x, None, None, y, True, eps)


def of_groups_backward(grad: Array, x: Array, groups: int, stats: Array) -> Array:
    """As `kernels.layer_norm.of_groups_backward`."""
    x, shape, stored_last = _as_groups(x, groups)
    grad = arranged(grad, stored_last, grad.itemsize)
    dx = empty(x.shape, x.dtype, stored_last)
    width = row_cuda.width_of(shape.segment or shape.columns, grad, x)
    plan = _plan("backward", shape, x.dtype, width)
    numbers = (*plan.numbers, *_means(True, shape.columns))
    arguments = (grad, x, null(), stats, dx, null(), *numbers)
    plan.file.launch("layer_norm_backward", plan.blocks, arguments, defines=plan.defines)
    return dx


def _as_groups(x: Array, groups: int) -> tuple[Array, _Rows, bool]:
    """x (N, C, …), copied only if it has gaps, its rows, and whether channels are last in it."""
    rows = len(x) * groups
    if x.flags.c_contiguous:
        return x, _Rows(rows, x.size // rows), False
    stored_last = is_stored_last(x)
    segment = x.shape[1] // groups if stored_last and groups > 1 else 0
    x = x if stored_last else contiguous(x, x.itemsize)
    return x, _Rows(rows, x.size // rows, segment, groups), stored_last


def backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: Array,
    centred: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    """As `kernels.layer_norm.backward`."""
    xp, (rows, columns), dtype = import_cupy(), x.shape, x.dtype
    grad, x, weight = _plain(grad), _plain(x), _plain(weight)
    shape, summing = _Rows(rows, columns), needs[1] or needs[2]
    width = row_cuda.width_of(columns, grad, x, weight)
    plan = _plan("backward", shape, dtype, width, summing and needs[0])
    dx = partials = None
    if needs[0]:
        dx = xp.empty((rows, columns), dtype)
        if plan.summed:
            partials = xp.empty((plan.blocks, 2, columns), np.float64)
        arrays = (grad, x, _or_null(weight), stats, dx, _or_null(partials))
        numbers = (*plan.numbers, *_means(centred, columns))
        launched = (*arrays, *numbers)
        plan.file.launch("layer_norm_backward", plan.blocks, launched, defines=plan.defines)
    if not summing:
        return dx, None, None
    if partials is None:
        tiles = -(-columns // TILE)
        down = plan.file.threads // TILE
        parts = max(1, min(-(-rows // (EACH_ROWS * down)), COLUMN_BLOCKS // tiles))
        partials = xp.empty((parts, 2, columns), np.float64)
        launched = (grad, x, stats, partials, *plan.numbers[:2])
        plan.file.launch("layer_norm_columns", (tiles, parts), launched, defines=plan.defines)
    vector = ((columns,), dtype)
    by = empties(vector, vector)
    given = [_or_null(each if need else None) for each, need in zip(by, needs[1:], strict=True)]
    launched = (partials, *given, *int32s(len(partials), columns))
    blocks = -(-2 * columns // TILE)
    plan.file.launch("layer_norm_add_up", blocks, launched, defines=plan.defines)
    return dx, by[0] if needs[1] else None, by[1] if needs[2] else None


def _plain(x: Array | None) -> Any:
    return None if x is None else contiguous(x, x.itemsize)
