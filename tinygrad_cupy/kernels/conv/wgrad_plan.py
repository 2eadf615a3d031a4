"""The tile configurations of wgrad.cu."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from .plan import (
    ALONE,
    WARPS,
    Configurations,
    Plan,
    Problem,
    channel_chunks,
    cheapest,
    spread,
    spread_fours,
)


class _WeightTiles(NamedTuple):
    """A tile configuration of wgrad.cu: the macros of these names, and what follows."""

    cb: int  # channels of a block
    nt: int  # tiles of 8 columns (taps times channels) that a warp has
    bm: int  # pixels of a tile
    buffers: int
    warps_o: int  # warps side by side along the output channels
    mt: int  # tiles of 16 output channels that a warp has
    others: int  # blocks that read the same pixels, for other channels or columns

    @property
    def bo(self) -> int:
        """Output channels of a block."""
        return self.warps_o * self.mt * 16


def weight_plan(problem: Problem) -> Plan | None:
    """As `forward_plan`, for the weight gradient."""
    return _cheapest(problem)[1]


def weight_cycles(problem: Problem) -> float:
    """As `forward_cycles`."""
    return _cheapest(problem)[0]


@functools.lru_cache(1024)
def _cheapest(problem: Problem) -> tuple[float, Plan | None]:
    return cheapest(weight_configurations(problem))


def weight_configurations(problem: Problem) -> Configurations:
    """All tile configurations that fit."""
    gpu, packed = problem.gpu, problem.packed
    apart = spread_fours if packed else spread
    for tiles in _weight_choices(problem):
        stride, grad_stride = apart(problem.words(tiles.cb)), apart(problem.words(tiles.bo))
        reach = problem.input_pixels(tiles.bm)
        arriving = reach * tiles.cb + tiles.bm * tiles.bo  # floats of both tiles
        each = reach * stride + tiles.bm * grad_stride + tiles.bm  # words of a buffer
        shared = 4 * (tiles.buffers * each + (arriving if packed else 0))
        own = 4 * WARPS * tiles.bo if packed else 0  # bytes that the kernel itself declares
        if shared + own > gpu.shared:
            continue
        few_sums = tiles.mt * tiles.nt <= (18 if packed else 10)
        two = few_sums and 2 * (shared + own + 1024) <= gpu.shared
        macros = (
            *_weight_defines(problem, tiles),
            f"STRIDE={stride}",
            f"GRAD_STRIDE={grad_stride}",
        )
        for blocks in (2, 1) if two and packed else (1 + two,):
            count = -(-problem.pixels // tiles.bm)
            splits = min(count, max(1, gpu.processors * blocks // tiles.others))
            grid = (splits, tiles.others)
            plan = Plan((*macros, f"BLOCKS={blocks}"), grid, shared, count, reach * stride)
            yield _weight_cycles(problem, tiles, plan, arriving, blocks), plan


def _weight_choices(problem: Problem) -> Iterator[_WeightTiles]:
    """What the kernel can be compiled with, each once."""
    outputs, channels, taps = problem.outputs, problem.channels, problem.windows.taps
    warps_o, mt = (1, 1) if outputs <= 16 else (1, 2) if outputs <= 32 else (2, 2)
    warps_n = WARPS // warps_o
    choices = itertools.product(
        channel_chunks(channels),
        (13, 9, 5) if problem.packed else (13,),  # column tiles of a warp, at most
        (128, 64, 32),
        (1,) if problem.packed else (2, 1),
    )
    seen = set()
    for cb, most, bm, buffers in choices:
        column_tiles = taps * cb // 8
        column_blocks = -(-column_tiles // (warps_n * most))
        nt = -(-column_tiles // (warps_n * column_blocks))
        if (cb, nt, bm, buffers) not in seen:
            seen.add((cb, nt, bm, buffers))
            others = column_blocks * -(-outputs // (warps_o * mt * 16)) * -(-channels // cb)
            yield _WeightTiles(cb, nt, bm, buffers, warps_o, mt, others)


def _weight_defines(problem: Problem, tiles: _WeightTiles) -> tuple[str, ...]:
    tile = (f"CB={tiles.cb}", f"BM={tiles.bm}", f"WARPS_O={tiles.warps_o}", "POOL=0")
    warp = (f"MT={tiles.mt}", f"NT={tiles.nt}", f"BUFFERS={tiles.buffers}")
    return (*problem.defines, f"PRECISION={problem.precision}", *tile, *warp)


def _weight_cycles(
    problem: Problem, tiles: _WeightTiles, plan: Plan, arriving: int, blocks: int
) -> float:
    """Of a multiprocessor, roughly."""
    each = -(-plan.tiles * tiles.others // problem.gpu.processors)
    together = min(blocks, each)
    product = tiles.bm * max(4 * tiles.mt + 2 * tiles.nt, 1.6 * tiles.mt * tiles.nt)
    if problem.packed:
        step = max(product / 2 + 0.08 * arriving, 0.1 * arriving) + 1200 / together
    else:
        loading = (plan.capacity + tiles.bm * tiles.bo) * 4 / 40
        step = max(product, loading) if tiles.buffers == 2 else product + loading
        step += 600
    sums = plan.grid[0] * problem.outputs * problem.channels * problem.windows.taps
    return each * step * (1 if together == 2 else ALONE) + sums * 0.004  # to be added up
