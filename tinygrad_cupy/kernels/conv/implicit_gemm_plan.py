"""The tile configurations of implicit_gemm.cu: fprop, and dgrad at a stride of 1."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from .plan import (
    ALONE,
    PRECISIONS,
    WARPS,
    Configurations,
    Plan,
    Problem,
    channel_chunks,
    cheapest,
    spread,
    spread_fours,
)

MT = 2  # tiles of 16 pixels that a warp has
MOST_STEPS = 128  # products of eight words that wgmma.cu writes out one by one


class _Tiles(NamedTuple):
    """A tile configuration of implicit_gemm.cu: the macros of these names, and what follows."""

    wgmma: bool
    bn: int  # output channels of a block
    warps_m: int  # warps side by side along the pixels
    cb: int  # channels of a chunk
    resident: bool  # all chunks' weights stay in shared memory
    consumers: int
    words: int  # of a pixel and chunk
    stride: int  # words from pixel to pixel of the input tile
    capacity: int  # words of an input tile

    @property
    def bm(self) -> int:
        """Pixels of a tile."""
        return self.warps_m * MT * 16

    @property
    def nt(self) -> int:
        """Tiles of 8 output channels that a warp has."""
        return self.bn * self.warps_m // (8 * WARPS)


def forward_plan(problem: Problem) -> Plan | None:
    """The tile configuration of the fewest cycles, or None where nothing fits."""
    return _cheapest(problem)[1]


def forward_cycles(problem: Problem) -> float:
    """Those of `forward_plan`, of a multiprocessor; infinitely many where nothing fits."""
    return _cheapest(problem)[0]


@functools.lru_cache(1024)
def _cheapest(problem: Problem) -> tuple[float, Plan | None]:
    return cheapest(forward_configurations(problem))


def forward_configurations(problem: Problem) -> Configurations:
    """All tile configurations that fit; on Hopper those of wgmma, where there are any."""
    fitting = []
    if problem.gpu.wgmma and problem.precision != PRECISIONS["fp32"]:
        fitting = [*_forward_configurations(problem, wgmma=True)]
    yield from fitting or _forward_configurations(problem, wgmma=False)


def _forward_configurations(problem: Problem, wgmma: bool) -> Configurations:
    gpu, packed = problem.gpu, problem.packed
    for tiles in _choices(problem, wgmma):
        chunks = -(-problem.channels // tiles.cb)
        weights, layout = _weight_layout(problem, tiles)
        shared = 4 * (
            weights * (chunks if tiles.resident else 1) + tiles.consumers * tiles.capacity
        )
        for_two = tiles.nt <= (8 if packed or wgmma else 4)  # a thread has 128 registers then
        if shared + 1024 > gpu.shared or (tiles.consumers == 2 and not for_two):
            continue
        two = tiles.consumers == 1 and for_two and 2 * (shared + 2048) <= gpu.shared
        blocks = 2 if two else 1  # of a multiprocessor
        count, columns = -(-problem.pixels // tiles.bm), -(-problem.outputs // tiles.bn)
        grid = (min(count, max(1, gpu.processors * blocks // columns)), columns)
        defines = (*_defines(problem, tiles), *layout, f"CHUNK={weights}", f"BLOCKS={blocks}")
        plan = Plan(defines, grid, shared, count, tiles.capacity, wgmma, tiles.consumers)
        yield _forward_cycles(problem, tiles, plan, weights, blocks), plan


def _choices(problem: Problem, wgmma: bool) -> Iterator[_Tiles]:
    """What the kernel can be compiled with."""
    outputs, taps = problem.outputs, problem.windows.taps
    widths = [bn for bn in (8, 16, 32, 64) if bn < 2 * outputs or bn == 8][-2:]
    warps, chunks = (8, 4) if wgmma else (8, 4, 2), channel_chunks(problem.channels)
    choices = itertools.product(widths, warps, chunks, (True, False), (2, 1))
    for bn, warps_m, cb, resident, consumers in choices:
        words = problem.words(cb)
        by_fours = problem.pool or (problem.packed and cb % 16)
        stride = spread_fours(words) if by_fours else spread(words)
        capacity = problem.input_pixels(warps_m * MT * 16) * stride
        tiles = _Tiles(wgmma, bn, warps_m, cb, resident, consumers, words, stride, capacity)
        if tiles.nt == 0 or (not resident and (problem.channels <= cb or consumers == 2)):
            continue
        if not wgmma or (words % 8 == 0 and taps * words // 8 <= MOST_STEPS):
            yield tiles


def _weight_layout(problem: Problem, tiles: _Tiles) -> tuple[int, tuple[str, ...]]:
    """Words that the weights of a chunk take, and the macros of how they lie."""
    taps = problem.windows.taps
    if tiles.wgmma:
        tap_stride = tiles.bn * tiles.words + 4  # as wgmma.cu says
        return taps * tap_stride, (f"TAP_STRIDE={tap_stride}",)
    # Neighbouring taps are stored together: a few words between them spread the banks.
    tap_stride = tiles.words + (4 if problem.precision == PRECISIONS["fp32"] else 2)
    words = taps * tap_stride
    stride = spread_fours(words) if problem.packed and tiles.cb % 16 else spread(words)
    return tiles.bn * stride, (f"WEIGHT_STRIDE={stride}", f"TAP_STRIDE={tap_stride}")


def _defines(problem: Problem, tiles: _Tiles) -> tuple[str, ...]:
    tile = (f"CB={tiles.cb}", f"BM={tiles.bm}", f"WARPS_M={tiles.warps_m}")
    warp = (f"MT={MT}", f"NT={tiles.nt}", f"STRIDE={tiles.stride}")
    flags = (f"RESIDENT={tiles.resident:d}", f"CONSUMERS={tiles.consumers}")
    return (*problem.defines, f"PRECISION={problem.precision}", *tile, *warp, *flags)


def _forward_cycles(
    problem: Problem, tiles: _Tiles, plan: Plan, weights: int, blocks: int
) -> float:
    """Of a multiprocessor, roughly."""
    chunks = -(-problem.channels // tiles.cb)
    each = -(-plan.tiles * plan.grid[1] // problem.gpu.processors)  # tiles of a multiprocessor
    together = min(blocks * tiles.consumers, each)
    loading = tiles.capacity * (8 if problem.packed else 4) / 40
    product = _product_cycles(problem, tiles)
    chunk = max(product, loading) if together == 2 else product + loading
    chunk += 0 if tiles.resident else weights / 3 + 800  # cycles during which nothing is multiplied
    storing = tiles.bm * tiles.bn / (16 if problem.pool else 6)
    step = chunks * (chunk + (1200 if tiles.cb > 8 else 3000)) + storing + 500
    return weights * chunks * together / 5 + each * step * (1 if together == 2 else ALONE)


def _product_cycles(problem: Problem, tiles: _Tiles) -> float:
    """Of a tile and chunk."""
    words = problem.windows.taps * tiles.words
    if not tiles.wgmma:
        return words * max(8 + 2 * tiles.nt, 3.2 * tiles.nt) * 1.5
    # A product of 64 pixels, 8 words and 8 nt channels: 4 nt cycles, in which shared memory gives
    # 2 KB of pixels and 256 nt bytes of weights.
    return words / 8 * (tiles.bm * WARPS / tiles.warps_m / 64) * (16 + 2 * tiles.nt) * 1.2
