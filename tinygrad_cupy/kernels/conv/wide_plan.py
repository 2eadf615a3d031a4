"""Wide layers: the product that fprop and dgrad are, and the tile configurations of wide.cu."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from ...backend.gpu import GpuProperties
from ..common.windows import Shape, Windows

SLICE = 8  # pieces of 16 bytes that wide.cu copies and multiplies at once
MOST_PHASES = 16
BESIDE = 0.78  # of a tile's cycles, where a multiprocessor has two blocks
MOVED = 14  # bytes that a pass over memory moves in a cycle, of a multiprocessor
TURN = 3000  # cycles, of a pass that begins where another kernel ends
KINDS = {"float32": 0, "bfloat16": 1, "float16": 2}
_PRECISIONS = {"tf32": 0, "bf16": 1}


def kind_of(dtype: str, precision: str) -> int | None:
    """How operands of a dtype are multiplied (see wide.cuh); None in true float32."""
    return _PRECISIONS.get(precision) if dtype == "float32" else KINDS.get(dtype)


def unit_of(kind: int) -> int:
    """Channels of 16 bytes."""
    return 4 if kind == 0 else 8


class Phase(NamedTuple):
    """Output pixels of the same residues by a stride, and the taps that hit them: see wide.cuh."""

    first_row: int
    first_column: int
    taps_down: int
    taps_across: int
    kernel_row: int
    kernel_column: int
    rows: int
    columns: int
    out_row: int
    out_column: int

    @property
    def taps(self) -> int:
        return self.taps_down * self.taps_across


class Gather(NamedTuple):
    """A product: for each pixel of y (N, O, OH, OW), the pixels of x that its taps read.

    ``x_shape`` is (N, C, H, W); the steps are in pixels of x from pixel to pixel of y and from tap
    to tap, in pixels of y from pixel to pixel of a phase, and in the kernel from tap to tap.
    """

    x_shape: Shape
    y_shape: Shape
    kernel: Shape
    step: Shape
    tap_step: Shape
    out_step: Shape
    kernel_step: Shape
    phases: tuple[Phase, ...]

    def rows(self, phase: Phase) -> int:
        return self.y_shape[0] * phase.rows * phase.columns


@functools.lru_cache(1024)
def forward(x_shape: Shape, outputs: int, windows: Windows, size: Shape | None = None) -> Gather:
    """fprop: one phase with all taps; ``size`` (OH, OW) is that of the windows or smaller."""
    out = size or windows.output_size("conv2d", x_shape[2:])
    first, ones = tuple([-p for p in windows.padding]), (1, 1)
    phase = Phase._make((*first, *windows.kernel, 0, 0, *out, 0, 0))
    return Gather(
        x_shape,
        (x_shape[0], outputs, *out),
        windows.kernel,
        windows.stride,
        windows.dilation,
        ones,
        ones,
        (phase,),
    )


@functools.lru_cache(1024)
def backward(g_shape: Shape, x_shape: Shape, windows: Windows) -> Gather:
    """dgrad: a pixel of x gets from tap k that of g at (pixel + padding - k dilation) / stride.

    Where that is a whole number depends on the pixel's residue by the stride: in a phase it is so
    for every stride / gcd(stride, dilation)-th tap, if for any.
    """
    axes = [
        [*_residues(*axis)]
        for axis in zip(
            windows.kernel,
            windows.stride,
            windows.padding,
            windows.dilation,
            x_shape[2:],
            strict=True,
        )
    ]
    phases = []
    for down, across in itertools.product(*axes):
        phases.append(Phase(*[one for both in zip(down, across, strict=True) for one in both]))
    phases.sort(key=lambda phase: -phase.taps)  # those of most work first
    each = zip(windows.stride, windows.dilation, strict=True)
    common = [math.gcd(s, d) for s, d in each]
    tap_step = tuple([-d // g for d, g in zip(windows.dilation, common, strict=True)])
    kernel_step = tuple([s // g for s, g in zip(windows.stride, common, strict=True)])
    steps = ((1, 1), tap_step, windows.stride, kernel_step)
    return Gather(g_shape, x_shape, windows.kernel, *steps, tuple(phases))


def _residues(kernel: int, stride: int, padding: int, dilation: int, size: int) -> Any:
    """Of an axis, for each residue: first pixel of g, taps, first tap, pixels, first pixel."""
    step = stride // math.gcd(stride, dilation)
    for residue in range(min(stride, size)):
        hits = [k for k in range(kernel) if (residue + padding - k * dilation) % stride == 0]
        first = hits[0] if hits else 0
        start = (residue + padding - first * dilation) // stride
        assert hits == [*range(first, kernel, step)][: len(hits)]
        yield start, len(hits), first, -(-(size - residue) // stride), residue


class Tiles(NamedTuple):
    """A tile configuration of wide.cu: the macros of these names."""

    wm: int
    bn: int
    stages: int
    blocks: int

    @property
    def bm(self) -> int:
        return 128 * self.wm

    @property
    def stage_bytes(self) -> int:
        return (self.bm + self.bn) * 128

    def grid(self, items: int, gpu: GpuProperties) -> int:
        """Blocks for so many tiles."""
        return min(items, gpu.processors * self.blocks)

    @property
    def shared(self) -> int:
        return 1024 + self.stages * (self.stage_bytes + 16)

    @property
    def defines(self) -> tuple[str, ...]:
        tile = (f"WM={self.wm}", f"BN={self.bn}", f"STAGES={self.stages}")
        return (*tile, f"BLOCKS={self.blocks}")


NUMBERS = 21 + MOST_PHASES * 13  # of wide.cuh's Layer
LAYER = np.dtype([("numbers", np.int32, NUMBERS)])


class WidePlan(NamedTuple):
    """A tile configuration for a product, what the kernels are told of it, and sizes."""

    tiles: Tiles
    layer: Any  # of LAYER
    grid: int
    slices: int  # of all phases
    blocks: int  # of columns


def pieces_of(channels: int, unit: int) -> int:
    """Pieces of 16 bytes that the channels of a pixel are."""
    return -(-channels // unit)


def wide_plan(gather: Gather, kind: int, gpu: GpuProperties) -> WidePlan:
    """The tile configuration of the fewest cycles, for operands of this kind."""
    tiles = min(configurations(gpu), key=lambda one: cycles(gather, one, kind, gpu))
    return planned(gather, tiles, unit_of(kind), gpu)


def configurations(gpu: GpuProperties) -> list[Tiles]:
    """All that fit."""
    found = []
    for wm, bn in ((1, 256), (2, 128), (1, 192), (1, 128), (2, 64), (1, 96), (2, 96), (1, 64)):
        two = wm * bn <= 64
        blocks = 2 if two else 1
        room = gpu.shared // blocks - 1024 * blocks
        stages = min(8, (room - 1024) // ((128 * wm + bn) * 128 + 16))
        if stages >= 3:
            found.append(Tiles(wm, bn, stages, blocks))
    return found


def _slice_cycles(tiles: Tiles, bulk: bool = True) -> float:
    """Of a slice of a tile: products, or what fills shared memory, or what is read from it.

    Columns may come by copies in ``bulk``.
    """
    rows, columns = tiles.bm * 128, tiles.bn * 128  # bytes
    products = 4 * tiles.wm * tiles.bn  # one of 64 rows, 32 bytes of K and BN columns: BN / 2
    filling = rows / 27 + columns / (48 if bulk else 27)  # by one copy, by 16 bytes
    reading = (rows + columns + 8 * tiles.wm * (2048 + 32 * tiles.bn)) / 128
    return max(products, filling, reading)


def cycles(gather: Gather, tiles: Tiles, kind: int, gpu: GpuProperties) -> float:
    """Of a multiprocessor, roughly."""
    unit = unit_of(kind)
    columns = -(-gather.y_shape[1] // tiles.bn)
    bm, bn = tiles.bm, tiles.bn
    slice_cycles = _slice_cycles(tiles)
    pieces = pieces_of(gather.x_shape[1], unit)
    work, count = 0.0, 0
    for phase in gather.phases:
        tiles_of = -(-gather.rows(phase) // bm) * columns
        slices = -(-phase.taps * pieces // SLICE)
        work += tiles_of * (slices * slice_cycles + (0.3 * bm * bn + 2000) / tiles.blocks)
        count += tiles_of
    if tiles.blocks == 2:  # one computes while the other waits
        work *= BESIDE
    each = -(-count // (gpu.processors * tiles.blocks)) * tiles.blocks
    return work / count * each


@functools.lru_cache(1024)
def planned(gather: Gather, tiles: Tiles, unit: int, gpu: GpuProperties) -> WidePlan:
    """The product in such tiles."""
    n, channels, height, width = gather.x_shape
    pieces = pieces_of(channels, unit)
    _, outputs, out_height, out_width = gather.y_shape
    group = SLICE if pieces % SLICE == 0 else pieces
    columns = -(-outputs // tiles.bn)
    first_slice = first_tile = 0
    numbers: list[int] = []
    for phase in gather.phases:
        slices = -(-phase.taps * pieces // SLICE)
        numbers += [*phase, slices, first_slice, first_tile]
        first_slice += slices
        first_tile += -(-gather.rows(phase) // tiles.bm)
    numbers += [0] * (13 * (MOST_PHASES - len(gather.phases)))
    head = [n, height, width, pieces * unit, outputs, out_height, out_width, *gather.step]
    head += [*gather.tap_step, *gather.out_step, *gather.kernel_step, *gather.kernel, group]
    head += [first_tile, columns, len(gather.phases)]
    layer = np.array(head + numbers, np.int32).view(LAYER)
    grid = tiles.grid(first_tile * columns, gpu)
    return WidePlan(tiles, layer, grid, first_slice, columns)


class WeightPlan(NamedTuple):
    """A weight gradient's tiles: `WidePlan`'s, and wide_wgrad.cu's Work."""

    tiles: Tiles
    layer: Any
    grid: int
    blocks: int
    rows: int  # tiles of rows
    splits: int
    slices: int  # of all pixels
    each: int  # of a split
    turned: bool  # whether g is laid out first


def weight_in(
    gather: Gather, tiles: Tiles, splits: int, unit: int, turned: bool, gpu: GpuProperties
) -> WeightPlan:
    """The weight gradient of fprop's ``gather`` in such tiles and splits."""
    plan = planned(gather, tiles, unit, gpu)
    pieces = pieces_of(gather.x_shape[1], unit)
    rows = -(-math.prod(gather.kernel) * pieces * unit // tiles.bm)
    slices = -(-gather.rows(gather.phases[0]) // (SLICE * unit))
    each = -(-slices // splits)
    splits = -(-slices // each)
    grid = tiles.grid(rows * plan.blocks * splits, gpu)
    sizes = plan.blocks, rows, splits, slices, each
    return WeightPlan(tiles, plan.layer, grid, *sizes, turned)


@functools.lru_cache(1024)
def weight_plan(gather: Gather, kind: int, gpu: GpuProperties) -> WeightPlan:
    """The tiles and splits of the fewest cycles, and in 16 bits whether g is turned."""
    unit = unit_of(kind)
    best: tuple[float, WeightPlan] | None = None
    for tiles, turned in itertools.product(configurations(gpu), (True, False)):
        if not turned and (kind == 0 or tiles.bn % 64):  # of 64 channels each: see wide_wgrad.cu
            continue
        least = weight_in(gather, tiles, 1, unit, turned, gpu)
        processors = gpu.processors * tiles.blocks
        for splits in splits_of(least.rows * least.blocks, processors, least.slices // 4):
            work = weight_in(gather, tiles, splits, unit, turned, gpu)
            cost = weight_cycles(work, gather, kind, gpu)
            if best is None or cost < best[0]:
                best = cost, work
    assert best is not None
    return best[1]


def splits_of(count: int, processors: int, most: int) -> list[int]:
    """Numbers of splits that let so many tiles fill the multiprocessors, for some rounds."""
    found = [min(processors * rounds // count, most) for rounds in (1, 2, 3, 4, 6, 8)]
    return list(dict.fromkeys(max(1, splits) for splits in found))


def weight_cycles(work: WeightPlan, gather: Gather, kind: int, gpu: GpuProperties) -> float:
    """Of a multiprocessor, roughly, what lays out g included."""
    tiles = work.tiles
    storing = (0.3 * tiles.bm * tiles.bn + 2500) / tiles.blocks
    beside = 0.9 if tiles.blocks == 2 else 1
    item = work.each * (_slice_cycles(tiles, work.turned) * beside * 1.1 + 60) + storing
    items = work.rows * work.blocks * work.splits
    each = -(-items // (gpu.processors * tiles.blocks)) * tiles.blocks
    sums = work.splits * work.rows * tiles.bm * work.blocks * tiles.bn * 4
    found = each * item + sums / gpu.processors / 20 + 25 * work.splits
    if work.turned:
        laid_out = work.slices * work.blocks * tiles.bn * 128
        moved = math.prod(gather.y_shape) * (16 // unit_of(kind)) + laid_out
        found += TURN + moved / MOVED / gpu.processors
    return found
