"""Batch norm on a GPU (kernels in batch_norm.cu): two launches forward, two backward.

Arrays of 16 bits are read and written as such; weights, statistics and their gradients beside them
are float32.

Where ranks have a share of the batch each, what a rank has found is exchanged in between, and a
launch of few threads (ranks.cu) goes on with it: three launches and an exchange, each way.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, CudaSource, float64s, import_cupy, int32s, int64s, null
from ...backend.block_counter import ticket_of
from ...backend.cuda_source import dtype_macros
from ...backend.ranks import Share, ranks
from ..common.headers import LAST_BLOCK, VECTOR
from ..common.layout import empties, empty_last, last
from ..common.pool2x2 import MASKED
from .cpu import GRADIENT_SUMS, STATISTICS, Result, Running, move, values_of_channel

REDUCE_THREADS = 512  # of a block of the kernels that sum
MOST_PARTIALS = 128  # blocks that sum: nearly one on each multiprocessor of the largest GPUs
FULL = 528  # blocks that keep such a GPU busy: beyond, a thread takes up to ROWS_EACH rows
ROWS_EACH = 4
WIDTHS = {2: (8, 4, 1), 4: (4, 1), 8: (4, 1)}  # channels of a thread, by size of an element
CODE, COUNT, SUM = np.dtype(np.uint8), np.dtype(np.int64), np.dtype(np.float64)

_kernels = CudaSource(
    *(__file__, VECTOR, LAST_BLOCK, "statistics.cuh", "batch_norm.cu"),
    defines=(f"REDUCE_THREADS={REDUCE_THREADS}", f"MASKED={MASKED}"),
)
_of_ranks = CudaSource(__file__, "statistics.cuh", "ranks.cu")

Grid = tuple[int, int]


class _Plan(NamedTuple):
    """How threads lie on the rows (P, C) of one shape, and what the kernels are told of it.

    With a pool, rows of the normalization and of the backward are windows.
    """

    defines: tuple[str, ...]
    pooled: tuple[int, ...]  # shape of the result
    stats: Grid
    backward_reduce: Grid
    apply: Grid
    backward_apply: Grid
    rows: tuple[Any, ...]  # P
    results: tuple[Any, ...]  # rows of the result
    steps: tuple[Any, ...]  # of the gradient by x
    across: tuple[Any, ...]  # C and the threads that lie across it
    image: tuple[Any, ...]  # H and W, or 0


@functools.lru_cache(1024)
def _plan(
    shape: tuple[int, ...], dtype: Any, aligned: bool, relu: bool, pool: bool, cap: float | None
) -> _Plan:
    n, channels, *size = shape
    width = next(w for w in WIDTHS[dtype.itemsize] if w == 1 or (aligned and channels % w == 0))
    pieces = channels // width
    lanes = min(32, 1 << (pieces - 1).bit_length())
    tiles = -(-pieces // lanes)

    def summing(rows: int, each: int) -> Grid:
        wanted = -(-rows * lanes // (each * REDUCE_THREADS))
        return max(1, min(MOST_PARTIALS // tiles, wanted)), tiles

    def writing(rows: int) -> Grid:
        each_one = -(-rows * lanes // _kernels.threads)
        return max(1, min(each_one, FULL // tiles), -(-each_one // ROWS_EACH)), tiles

    rows = n * math.prod(size)
    out = [side // 2 for side in size] if pool else size
    results = n * math.prod(out)
    steps = n * math.prod(-(-side // 2) for side in size) if pool else rows
    behind = (f"RELU={relu:d}", f"POOL={pool:d}", *(() if cap is None else (f"CAP={cap!r}",)))
    return _Plan(
        (*dtype_macros(dtype), f"WIDTH={width}", *behind),
        (n, channels, *out),
        summing(rows, 8),  # as many rows as a thread loads at once
        summing(results, 2 if pool else 4),
        writing(results),
        writing(steps),
        int64s(rows),
        int64s(results),
        int64s(steps),
        int32s(channels, lanes),
        int32s(*size) if pool else int32s(0, 0),
    )


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    running: Running,
    relu: bool,
    pool: bool,
    share: Share | None = None,
    cap: float | None = None,
) -> Result:
    """(x - mean) / √(var + eps) · weight + bias, then ReLU, then the pool; moves ``running``."""
    xp = import_cupy()
    rows, weight, bias = last(x, 1), xp.ascontiguousarray(weight), xp.ascontiguousarray(bias)
    plan = _plan(x.shape, x.dtype, _aligned(rows, weight, bias), relu, pool, cap)

    stats = xp.empty((4, x.shape[1]), weight.dtype)
    in_kernel = _moves_in_kernel(running, weight.dtype)
    here = values_of_channel(x, share)
    every = _write_stats(rows, plan, (stats, *_moving(eps, running, in_kernel)), share, here)
    if not in_kernel:
        move(running, stats, here if every is None else every.sum())
    y = empty_last(plan.pooled, x.dtype)
    argmax = empty_last(plan.pooled, CODE) if pool else None
    arguments: tuple[Any, ...] = (rows, *plan.results, *plan.across, stats, weight, bias, y)
    arguments += (argmax, *plan.image) if pool else ()
    _kernels.launch("batch_norm_apply", plan.apply, arguments, defines=plan.defines)
    return Result(y, y if relu and not pool else None, argmax, stats)


def _moving(eps: float, running: Running, in_kernel: bool) -> tuple[Any, ...]:
    """What kernels are told of eps and of the running statistics."""
    moved = (running.mean, running.var) if in_kernel else (null(), null())
    counted = running.batches if in_kernel and running.batches is not None else null()
    return (*float64s(eps, running.momentum or 0.0), *moved, counted)


def _write_stats(
    rows: Array, plan: _Plan, written: tuple[Any, ...], share: Share | None, here: int
) -> Array | None:
    """Stats (4, C) of the batch, and what moves with them, of ``here`` values of a channel.

    Where ranks share the batch, returns how many each of them has.
    """
    xp, stats = import_cupy(), written[0]
    channels = stats.shape[1]
    partials = xp.empty((plan.stats[0], channels, 2), SUM)
    moments = null() if share is None else xp.empty((channels + 1, 2), SUM)
    arguments: tuple[Any, ...] = (rows, *plan.rows, *plan.across, partials, ticket_of(partials))
    arguments += (*written, moments, *float64s(float(here)))
    _kernels.launch("batch_norm_stats", plan.stats, arguments, REDUCE_THREADS, defines=plan.defines)
    if share is None:
        return None
    found = ranks.world.begin_collective(STATISTICS, moments).all_gather(moments)
    sizes = int32s(len(share.counts), channels)
    _launch_of_ranks("batch_norm_stats_of_ranks", stats, (found, *sizes, *written))
    return found[:, channels, 0]


def _launch_of_ranks(name: str, stats: Array, arguments: tuple[Any, ...]) -> None:
    defines, blocks = dtype_macros(stats.dtype), _of_ranks.blocks(stats.shape[1])
    _of_ranks.launch(name, blocks, arguments, defines=defines)


def _aligned(*arrays: Array) -> bool:
    """Whether kernels may read 16 bytes at once."""
    return all(array.data.ptr % 16 == 0 for array in arrays)


def _moves_in_kernel(running: Running, dtype: Any) -> bool:
    """Whether running statistics are laid out as the kernel writes them."""
    kept = (running.mean, running.var)
    simple = all(array.dtype == dtype and array.flags.c_contiguous for array in kept)
    counted = running.batches is None or running.batches.dtype == COUNT
    return simple and counted and running.momentum is not None


def backward(
    grad: Array,
    x: Array,
    weight: Array,
    bias: Array,
    stats: Array,
    relu_y: Array | None,
    argmax: Array | None,
    relu: bool,
    needs_x: bool,
    mask_input: bool = False,
    share: Share | None = None,
    cap: float | None = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients by x (None where not needed), weight and bias.

    With ``mask_input`` that by x is zero where x is not positive. What ReLU stopped is found again
    from x, which is read anyway, not from ``relu_y``.
    """
    xp = import_cupy()
    channels, dtype = x.shape[1], weight.dtype
    g, rows = last(grad, 1), last(x, 1)
    weight, bias = xp.ascontiguousarray(weight), xp.ascontiguousarray(bias)
    aligned = _aligned(g, rows, weight, bias)
    plan = _plan(x.shape, x.dtype, aligned, relu, argmax is not None, cap)
    taps = null() if argmax is None else last(argmax, 1)

    vector = ((channels,), dtype)
    *by, factors = empties(vector, vector, ((3, channels), dtype))  # by weight and bias
    partials = xp.empty((plan.backward_reduce[0], channels, 2), SUM)
    totals = null() if share is None else xp.empty((channels + 1, 2), SUM)
    here = values_of_channel(x, share)
    written = (partials, ticket_of(partials), *by, factors, *int64s(here), totals, *plan.image)
    arguments: tuple[Any, ...] = (g, rows, taps, *plan.results, *plan.across)
    arguments += (stats, weight, bias, *written)
    name, grid = "batch_norm_backward_reduce", plan.backward_reduce
    _kernels.launch(name, grid, arguments, REDUCE_THREADS, defines=plan.defines)
    if not needs_x:
        return None, *by
    if share is not None:
        ranks.world.begin_collective(GRADIENT_SUMS, totals).all_reduce_into(totals, totals)
        arguments = (totals, *int32s(channels, share.present), stats, weight, factors)
        _launch_of_ranks("batch_norm_factors_of_ranks", stats, arguments)

    dx = empty_last(x.shape, x.dtype)
    masked = int32s(mask_input)
    arguments = (g, rows, *plan.steps, *plan.across, stats, factors, dx, *masked)
    arguments += (weight, bias) if argmax is None else (taps, *plan.image)
    name, grid = "batch_norm_backward_apply", plan.backward_apply
    _kernels.launch(name, grid, arguments, defines=plan.defines)
    return dx, *by
