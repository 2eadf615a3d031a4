"""How the convolution kernels cut their work: tile sizes, grids, shared memory.

The kernels are compiled for one geometry and one tile size each; a rough count of cycles (products
against reads of shared memory, see `conv_tiles.cu`) chooses among the tile sizes that fit.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..backend import Array, import_cupy
from .windows import Windows

Shape = tuple[int, ...]

PRECISIONS = {"fp32": 0, "tf32": 1, "bf16": 2}


class Limits(NamedTuple):
    """What the GPU has: multiprocessors, shared memory of a block, TF32 on tensor cores."""

    processors: int
    shared: int
    tensor_cores: bool


@functools.cache
def _limits_of(device: int) -> Limits:
    properties = import_cupy().cuda.runtime.getDeviceProperties(device)
    return Limits(
        properties["multiProcessorCount"],
        properties["sharedMemPerBlockOptin"],
        properties["major"] >= 8,
    )


def limits_of(array: Array) -> Limits:
    """The limits of the GPU that holds ``array``."""
    return _limits_of(array.data.device_id)


@dataclass(frozen=True)
class Plan:
    """How a product is cut: the macros of its tiles, grid, bytes of shared memory, patch floats."""

    defines: tuple[str, ...]
    grid: tuple[int, ...]
    shared: int = 0
    tiles: int = 0
    capacity: int = 0


def _spread(floats: int) -> int:
    """As in conv_tiles.cu: 8 or 24 modulo 32."""
    return floats if floats % 16 == 8 else floats + 8


def shape_defines(channels: int, outputs: int, windows: Windows) -> tuple[str, ...]:
    """The macros of a geometry."""
    names = ("KH", "KW", "SH", "SW", "PADH", "PADW", "DH", "DW")
    values = (*windows.kernel, *windows.stride, *windows.padding, *windows.dilation)
    shape = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
    return (f"CHANNELS={channels}", f"OUTPUTS={outputs}", *shape)


def few_channels(w_shape: Shape) -> bool:
    """Whether `conv_few.cu` takes these weights (O, C, KH, KW)."""
    outputs, depth = w_shape[0], math.prod(w_shape[1:])
    return w_shape[1] <= 4 and depth <= 32 and outputs <= 128


def few_plan(w_shape: Shape, grads: int, pool: bool, limits: Limits) -> Plan:
    """The weight gradient of `conv_few.cu` from ``grads`` elements of gradient.

    Two rounds at least for each thread, of four pixels or of one window of the max-pool.
    """
    at_once = 4 if w_shape[0] % 4 == 0 else 1
    lanes = 256 // -(-w_shape[0] // at_once)
    places = grads // w_shape[0] // (1 if pool else 4)
    blocks = max(1, min(4 * limits.processors, places // (2 * lanes)))
    return Plan((f"OV={at_once}",), (blocks,))


def _patch_rows(tile: int, windows: Windows, sizes: tuple[int, ...], pool: bool) -> int:
    """Rows of the tall picture (see conv_tiles.cu) that a tile of pixels can reach, at most."""
    _, height, _, oh, ow = sizes
    scale = 2 if pool else 1
    pixels, across, down = tile // scale**2, ow // scale, oh // scale
    lines = (pixels + across - 2) // across + 1
    crossings = (down - 1 + lines - 1) // down
    (kh, _), (dh, _), (sh, _) = windows.kernel, windows.dilation, windows.stride
    jump = max(0, height + 2 * windows.padding[0] - down * scale * sh)
    inside = (lines - 1) * scale * sh + (scale - 1) * sh + (kh - 1) * dh + 1
    return inside + crossings * jump


def _channel_chunks(channels: int) -> Iterator[int]:
    """How many channels to work on at once, the most first."""
    whole = -(-channels // 8) * 8
    yield from dict.fromkeys([whole] * (whole <= 128) + [c for c in (64, 32, 16, 8) if c < whole])


@functools.lru_cache(1024)
def forward_plan(
    channels: int,
    outputs: int,
    windows: Windows,
    sizes: tuple[int, ...],
    pool: bool,
    precision: int,
    limits: Limits,
) -> Plan | None:
    """The tiles that a rough count of cycles likes best, or None where nothing fits."""
    n, _, width, oh, ow = sizes
    pixels = 4 * n * (oh // 2) * (ow // 2) if pool else n * oh * ow
    wide = width + 2 * windows.padding[1]
    best, least = None, math.inf
    widths = [bn for bn in (8, 16, 32, 64) if bn < 2 * outputs or bn == 8][-2:]
    cuts = itertools.product(
        widths, ((256, 8), (128, 4), (64, 2)), _channel_chunks(channels), (1, 0), (2, 1)
    )
    for bn, (bm, warps_m), cb, resident, buffers in cuts:
        nt = bn * warps_m // 64  # tiles of 8 output channels of a warp
        chunks = -(-channels // cb)
        if nt == 0 or (chunks == 1 and not resident):
            continue
        tiles, columns = -(-pixels // bm), -(-outputs // bn)
        weights = bn * _spread(windows.taps * cb)
        stride = cb + 4 if pool else _spread(cb)
        capacity = _patch_rows(bm, windows, sizes, pool) * wide * stride
        shared = 4 * (weights * (chunks if resident else 1) + buffers * capacity)
        if shared + 1024 > limits.shared:
            continue
        blocks = 2 if nt <= 4 and 2 * (shared + 2048) <= limits.shared else 1
        product = windows.taps * cb * max(8 + 2 * nt, 3.2 * nt) * 1.5
        loading = capacity * 4 / 40
        chunk = max(product, loading) if buffers == 2 else product + loading
        chunk += 0 if resident else weights / 3 + 800  # cycles during which nothing is multiplied
        rounds = -(-tiles * columns // (limits.processors * blocks))
        storing = bm * bn / (16 if pool else 6)
        step = chunks * (chunk + (600 if cb > 8 else 3000)) + storing + 500
        cost = weights * chunks / 10 + rounds * blocks * step
        if cost < least:
            grid = (min(tiles, max(1, limits.processors * blocks // columns)), columns)
            tile = (f"CB={cb}", f"BM={bm}", f"WARPS_M={warps_m}", f"NT={nt}")
            rest = (f"RESIDENT={resident}", f"BUFFERS={buffers}", f"BLOCKS={blocks}")
            shape = (*shape_defines(channels, outputs, windows), f"PRECISION={precision}")
            least = cost
            best = Plan((*shape, *tile, *rest), grid, shared, tiles, capacity)
    return best


@functools.lru_cache(1024)
def weight_plan(
    channels: int,
    outputs: int,
    windows: Windows,
    sizes: tuple[int, ...],
    precision: int,
    limits: Limits,
) -> Plan | None:
    """As `forward_plan`, for the weight gradient."""
    n, _, width, oh, ow = sizes
    pixels, wide = n * oh * ow, width + 2 * windows.padding[1]
    warps_o, mt = (1, 1) if outputs <= 16 else (1, 2) if outputs <= 32 else (2, 2)
    bo, warps_n = warps_o * mt * 16, 8 // warps_o
    best, least = None, math.inf
    for cb in _channel_chunks(channels):
        column_tiles = windows.taps * cb // 8
        column_blocks = -(-column_tiles // (warps_n * 13))
        nt = -(-column_tiles // (warps_n * column_blocks))
        others = column_blocks * -(-outputs // bo) * -(-channels // cb)
        for bm in (128, 64, 32):
            capacity = _patch_rows(bm, windows, sizes, False) * wide * _spread(cb)
            for buffers in (2, 1):
                shared = 4 * buffers * (capacity + bm * _spread(bo) + bm)
                if shared > limits.shared:
                    continue
                tiles = -(-pixels // bm)
                blocks = 2 if mt * nt <= 10 and 2 * (shared + 1024) <= limits.shared else 1
                splits = min(tiles, max(1, limits.processors * blocks // others))
                product = bm * max(4 * mt + 2 * nt, 3.2 * mt * nt / 2)
                loading = (capacity + bm * bo) * 4 / 40
                step = max(product, loading) if buffers == 2 else product + loading
                rounds = -(-tiles // splits) * -(-others * splits // (limits.processors * blocks))
                cost = rounds * blocks * (step + 300)
                if cost < least:
                    tile = (f"CB={cb}", f"BM={bm}", f"WARPS_O={warps_o}", f"MT={mt}", f"NT={nt}")
                    rest = (f"BUFFERS={buffers}", f"BLOCKS={blocks}", f"PRECISION={precision}")
                    shape = shape_defines(channels, outputs, windows)
                    least = cost
                    best = Plan(
                        (*shape, "POOL=0", *tile, *rest), (splits, others), shared, tiles, capacity
                    )
    return best
