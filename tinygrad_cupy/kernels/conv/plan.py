"""The tile configurations of the convolution kernels: tile sizes, grids, shared memory.

The kernels are compiled for one geometry and one tile configuration each; a rough count of cycles
(products against reads of shared memory, see `tiles.cu`) chooses among those that fit. Its
constants were fitted to the times of configurations of the MNIST nets' layers on an H200 and an
H100; what it chooses takes up to a tenth longer than the best of them in the mean.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...backend.gpu import GpuProperties
from ..common.windows import Windows

Shape = tuple[int, ...]

PRECISIONS = {"fp32": 0, "tf32": 1, "bf16": 2}


@dataclass(frozen=True)
class Plan:
    """A tile configuration: macros, grid, bytes of shared memory, tiles, words of an input tile.

    ``wgmma``: warpgroups multiply (`wgmma.cu`), not warps (`mma.cu`); ``consumers``: how many times
    a block has the file's threads, each time with an input tile of their own.
    """

    defines: tuple[str, ...]
    grid: tuple[int, ...]
    shared: int = 0
    tiles: int = 0
    capacity: int = 0
    wgmma: bool = False
    consumers: int = 1


def _spread(words: int) -> int:
    """A distance of rows, 8 or 24 modulo 32: four rows of eight words are in different banks."""
    return words + (8 - words) % 16


def _spread_fours(words: int) -> int:
    """4 modulo 8: eight rows of four words are in different banks; twice as far is as `_spread`."""
    return words + (4 - words) % 8


def shape_defines(channels: int, outputs: int, windows: Windows) -> tuple[str, ...]:
    """The macros of a geometry."""
    names = ("KH", "KW", "SH", "SW", "PADH", "PADW", "DH", "DW")
    values = (*windows.kernel, *windows.stride, *windows.padding, *windows.dilation)
    shape = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
    return (f"CHANNELS={channels}", f"OUTPUTS={outputs}", *shape)


SUMS_OF_TWO = 60  # of a thread of few_weight: with 40 it takes 98 to 108 registers, with 104 169
MOST_PIXELS = 512  # that a thread of few_channels.cu reads, written out one by one


def few_channels(w_shape: Shape, windows: Windows) -> bool:
    """Whether `few_channels.cu` takes these weights (O, C, KH, KW) and these windows."""
    outputs, depth = w_shape[0], math.prod(w_shape[1:])
    (kh, kw), (sh, sw), (dh, dw) = windows.kernel, windows.stride, windows.dilation
    pixels = w_shape[1] * ((kh - 1) * dh + sh + 1) * ((kw - 1) * dw + 3 * sw + 1)
    return w_shape[1] <= 4 and depth <= 32 and outputs <= 128 and pixels <= MOST_PIXELS


def few_plan(w_shape: Shape, grads: int, pool: bool, gpu: GpuProperties) -> Plan:
    """The weight gradient of `few_channels.cu` from ``grads`` elements of gradient.

    Two rounds at least for each thread, of four pixels or of one window of the max-pool, and no
    more blocks than run at a time: each ends with adding up its threads' sums.
    """
    at_once = 4 if w_shape[0] % 4 == 0 else 1
    lanes = 256 // -(-w_shape[0] // at_once)
    places = grads // w_shape[0] // (1 if pool else 4)
    sums = (math.prod(w_shape[1:]) + 1) * at_once  # of a thread, in registers
    resident = 2 if sums <= SUMS_OF_TWO else 1  # blocks of a multiprocessor
    blocks = max(1, min(resident * gpu.processors, places // (2 * lanes)))
    return Plan((f"OV={at_once}",), (blocks,))


def _input_rows(tile: int, windows: Windows, sizes: tuple[int, ...], pool: bool) -> int:
    """Rows of the concatenated batch (see tiles.cu) that a tile can reach, at most."""
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


Configurations = Iterator[tuple[float, Plan]]  # with the cost of each, in cycles

MOST_STEPS = 128  # products of eight words that wgmma.cu writes out one by one
ALONE = 1.3  # a tile's time where a multiprocessor has one block instead of two, which overlap


def _cheapest(configurations: Configurations) -> Plan | None:
    """The first of the cheapest, None where there is none."""
    return min(configurations, key=lambda one: one[0], default=(0, None))[1]


@functools.lru_cache(1024)
def forward_plan(
    channels: int,
    outputs: int,
    windows: Windows,
    sizes: tuple[int, ...],
    pool: bool,
    precision: int,
    gpu: GpuProperties,
) -> Plan | None:
    """The tile configuration of the fewest cycles, or None where nothing fits."""
    return _cheapest(
        forward_configurations(channels, outputs, windows, sizes, pool, precision, gpu)
    )


def forward_configurations(
    channels: int,
    outputs: int,
    windows: Windows,
    sizes: tuple[int, ...],
    pool: bool,
    precision: int,
    gpu: GpuProperties,
) -> Configurations:
    """All tile configurations that fit; on Hopper those of wgmma, where there are any."""
    how = (channels, outputs, windows, sizes, pool, precision, gpu)
    fitting = []
    if gpu.wgmma and precision != PRECISIONS["fp32"]:
        fitting = [*_forward_configurations(*how, wgmma=True)]
    yield from fitting or _forward_configurations(*how, wgmma=False)


def _forward_configurations(
    channels: int,
    outputs: int,
    windows: Windows,
    sizes: tuple[int, ...],
    pool: bool,
    precision: int,
    gpu: GpuProperties,
    wgmma: bool,
) -> Configurations:
    n, _, width, oh, ow = sizes
    pixels = 4 * n * (oh // 2) * (ow // 2) if pool else n * oh * ow
    wide = width + 2 * windows.padding[1]
    packed = precision == PRECISIONS["bf16"]
    widths = [bn for bn in (8, 16, 32, 64) if bn < 2 * outputs or bn == 8][-2:]
    tiles_of_warps = ((256, 8), (128, 4), *(() if wgmma else ((64, 2),)))
    most_tiles = 8 if packed or wgmma else 4  # of a warp that has 128 registers
    choices = itertools.product(widths, tiles_of_warps, _channel_chunks(channels), (1, 0), (2, 1))
    for bn, (bm, warps_m), cb, resident, consumers in choices:
        nt = bn * warps_m // 64  # tiles of 8 output channels of a warp
        chunks = -(-channels // cb)
        words = cb // 2 if packed else cb
        if nt == 0 or (not resident and (chunks == 1 or consumers == 2)):
            continue
        if wgmma and (words % 8 or windows.taps * words // 8 > MOST_STEPS):
            continue
        tiles, columns = -(-pixels // bm), -(-outputs // bn)
        apart = _spread_fours if packed and cb % 16 else _spread
        if wgmma:
            tap_stride = bn * words + 4  # as wgmma.cu says
            weights = windows.taps * tap_stride
            layout: tuple[str, ...] = (f"TAP_STRIDE={tap_stride}",)
        else:
            # Neighbouring taps are stored together: a few words between them spread the banks.
            tap_stride = words + (4 if precision == PRECISIONS["fp32"] else 2)
            weight_stride = apart(windows.taps * tap_stride)
            weights = bn * weight_stride
            layout = (f"WEIGHT_STRIDE={weight_stride}", f"TAP_STRIDE={tap_stride}")
        stride = _spread_fours(words) if pool else apart(words)
        capacity = _input_rows(bm, windows, sizes, pool) * wide * stride
        shared = 4 * (weights * (chunks if resident else 1) + consumers * capacity)
        if shared + 1024 > gpu.shared or (consumers == 2 and nt > most_tiles):
            continue
        two = consumers == 1 and nt <= most_tiles and 2 * (shared + 2048) <= gpu.shared
        blocks = 2 if two else 1  # of a multiprocessor
        if wgmma:
            # A product of 64 pixels, 8 words and 8 nt channels: 4 nt cycles, in which shared memory
            # gives 2 KB of pixels and 256 nt bytes of weights.
            product = windows.taps * words / 8 * (bm * 8 / warps_m / 64) * (16 + 2 * nt) * 1.2
        else:
            product = windows.taps * words * max(8 + 2 * nt, 3.2 * nt) * 1.5
        loading = capacity * (8 if packed else 4) / 40
        each = -(-tiles * columns // gpu.processors)  # tiles of a multiprocessor
        together = min(blocks * consumers, each)
        chunk = max(product, loading) if together == 2 else product + loading
        chunk += 0 if resident else weights / 3 + 800  # cycles during which nothing is multiplied
        storing = bm * bn / (16 if pool else 6)
        step = chunks * (chunk + (1200 if cb > 8 else 3000)) + storing + 500
        splits = min(tiles, max(1, gpu.processors * blocks // columns))
        tile = (f"CB={cb}", f"BM={bm}", f"WARPS_M={warps_m}", f"NT={nt}", f"STRIDE={stride}")
        rest = (
            f"CHUNK={weights}",
            f"RESIDENT={resident}",
            f"CONSUMERS={consumers}",
            f"BLOCKS={blocks}",
        )
        shape = (*shape_defines(channels, outputs, windows), f"PRECISION={precision}")
        defines = (*shape, *tile, *layout, *rest)
        plan = Plan(defines, (splits, columns), shared, tiles, capacity, wgmma, consumers)
        yield weights * chunks * together / 5 + each * step * (1 if together == 2 else ALONE), plan


@functools.lru_cache(1024)
def weight_plan(
    channels: int,
    outputs: int,
    windows: Windows,
    sizes: tuple[int, ...],
    precision: int,
    gpu: GpuProperties,
) -> Plan | None:
    """As `forward_plan`, for the weight gradient."""
    return _cheapest(weight_configurations(channels, outputs, windows, sizes, precision, gpu))


def weight_configurations(
    channels: int,
    outputs: int,
    windows: Windows,
    sizes: tuple[int, ...],
    precision: int,
    gpu: GpuProperties,
) -> Configurations:
    """All tile configurations that fit."""
    n, _, width, oh, ow = sizes
    pixels, wide = n * oh * ow, width + 2 * windows.padding[1]
    warps_o, mt = (1, 1) if outputs <= 16 else (1, 2) if outputs <= 32 else (2, 2)
    bo, warps_n = warps_o * mt * 16, 8 // warps_o
    packed = precision == PRECISIONS["bf16"]
    apart = _spread_fours if packed else _spread
    grad_stride = apart(bo // 2 if packed else bo)
    own = 32 * bo if packed else 0  # bytes that the kernel itself declares
    choices = itertools.product(
        _channel_chunks(channels),
        (13, 9, 5) if packed else (13,),  # column tiles of a warp, at most
        (128, 64, 32),
        (1,) if packed else (2, 1),
    )
    seen = set()
    for cb, most, bm, buffers in choices:
        stride = apart(cb // 2 if packed else cb)
        column_tiles = windows.taps * cb // 8
        column_blocks = -(-column_tiles // (warps_n * most))
        nt = -(-column_tiles // (warps_n * column_blocks))
        if (cb, nt, bm, buffers) in seen:
            continue
        seen.add((cb, nt, bm, buffers))
        others = column_blocks * -(-outputs // bo) * -(-channels // cb)
        reach = _input_rows(bm, windows, sizes, False) * wide
        capacity = reach * stride
        arriving = reach * cb + bm * bo  # floats of a tile
        shared = 4 * (buffers * (capacity + bm * grad_stride + bm) + (arriving if packed else 0))
        if shared + own > gpu.shared:
            continue
        two = mt * nt <= (18 if packed else 10) and 2 * (shared + own + 1024) <= gpu.shared
        for blocks in (2, 1) if two and packed else (1 + two,):
            tiles = -(-pixels // bm)
            splits = min(tiles, max(1, gpu.processors * blocks // others))
            each = -(-tiles * others // gpu.processors)
            together = min(blocks, each)
            product = bm * max(4 * mt + 2 * nt, 1.6 * mt * nt)
            if packed:
                step = max(product / 2 + 0.08 * arriving, 0.1 * arriving) + 1200 / together
            else:
                loading = (capacity + bm * bo) * 4 / 40
                step = max(product, loading) if buffers == 2 else product + loading
                step += 600
            cost = each * step * (1 if together == 2 else ALONE)
            cost += splits * outputs * channels * windows.taps * 0.004  # to be added up
            tile = (f"CB={cb}", f"BM={bm}", f"WARPS_O={warps_o}", f"MT={mt}", f"NT={nt}")
            strides = (f"STRIDE={stride}", f"GRAD_STRIDE={grad_stride}")
            rest = (f"BUFFERS={buffers}", f"BLOCKS={blocks}", f"PRECISION={precision}")
            shape = (*shape_defines(channels, outputs, windows), "POOL=0")
            plan = Plan((*shape, *tile, *strides, *rest), (splits, others), shared, tiles, capacity)
            yield cost, plan
