"""Weight gradients of stride 1 in 16 bits: runs of taps, splits of pixels, for wide_taps_wgrad.cu.

Pixels of x and g are counted in one row, as taps_plan.py has those of x and y. (Between images
there are zeros in both: a number that is not finite makes NaN with them, for all taps of its
channel.)
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...backend.gpu import GpuProperties
from ..common.windows import Shape
from .taps_plan import Pixels, pixels_of
from .wide_plan import (
    SLICE,
    Gather,
    Tiles,
    WeightPlan,
    pieces_of,
    planned,
    splits_of,
    unit_of,
    weight_cycles,
    weight_plan,
)

MOST_TAPS = 9  # of all runs: for each of its run a thread has 32 sums, in registers
MOST_RUNS = 3  # warpgroups that multiply
MOST = 2**31 - 2**16  # pixels in the row
WIDE = 64  # channels, or outputs, of a row of shared memory
CHUNKS = (128, 64, 256)
COPIERS = 128  # threads
WEIGHT_SPACE = np.dtype([("numbers", np.int32, 24)])


class Runs(NamedTuple):
    """The taps in runs of equally spaced ones, each for a warpgroup.

    A kernel is ``groups`` / ``parts`` rows of ``length`` taps, a row ``parts`` runs of ``taps``, of
    which the last may reach beyond the row; ``turned``: these rows are the kernel's columns.
    """

    groups: int
    taps: int
    length: int
    parts: int
    turned: bool

    def steps(self, down: int, across: int) -> tuple[int, int]:
        """From row to row and from tap to tap of one, given the steps of the kernel's axes."""
        return (across, down) if self.turned else (down, across)


class TapsWeightPlan(NamedTuple):
    """Pixels of a chunk, runs, splits, what the kernels are told, and sizes."""

    chunk: int
    stages: int
    runs: Runs
    splits: int
    each: int  # chunks of a split
    chunks: int
    tiles: int  # of channels
    blocks: int  # of outputs
    reach: int  # pixels of x that a chunk reads
    rows: int  # of the sums of a split: taps times channels
    grid: int
    space: Any  # of WEIGHT_SPACE
    summed: Any  # of wide_plan's LAYER

    @property
    def bn(self) -> int:
        """Columns of a block's sums."""
        return WIDE

    @property
    def defines(self) -> tuple[str, ...]:
        """The macros of these names."""
        runs = (f"GROUPS={self.runs.groups}", f"TAPS={self.runs.taps}")
        return (*runs, f"CHUNK={self.chunk}", f"STAGES={self.stages}")

    @property
    def threads(self) -> int:
        return 128 * self.runs.groups + COPIERS

    @property
    def shared(self) -> int:
        return 1024 + self.stages * (_stage_bytes(self.chunk, self.reach) + 16)


def all_runs(kernel: Shape) -> Iterator[Runs]:
    """The ways to cut a kernel into runs."""
    for (count, length), turned in ((kernel, False), (kernel[::-1], True)):
        if turned and length == 1:  # the runs of one tap once more
            continue
        for taps in range(1, min(length, 4) + 1):
            parts = -(-length // taps)
            if count * parts <= MOST_RUNS and count * parts * taps <= MOST_TAPS:
                yield Runs(count * parts, taps, length, parts, turned)


@functools.lru_cache(1024)
def taps_weight_plan(gather: Gather, kind: int, gpu: GpuProperties) -> TapsWeightPlan | None:
    """The plan of the fewest cycles for fprop's ``gather``; None: not for this kernel."""
    found = list(plans(gather, kind, gpu))
    return min(found, key=lambda plan: taps_weight_cycles(plan, gpu)) if found else None


def plans(gather: Gather, kind: int, gpu: GpuProperties) -> Iterator[TapsWeightPlan]:
    """All: each way to cut the kernel into runs, each chunk that fits, some numbers of splits."""
    pixels = pixels_of(gather)
    if pixels is None or kind == 0 or len(pixels.shifts) > MOST_TAPS:
        return
    size = gather.x_shape[0] * pixels.lines * pixels.pitch
    if size + 2 * pixels.lines * pixels.pitch >= MOST:
        return
    count = -(-gather.x_shape[1] // WIDE) * -(-gather.y_shape[1] // WIDE)
    for runs, chunk in itertools.product(all_runs(gather.kernel), CHUNKS):
        for splits in splits_of(count, gpu.processors, -(-size // chunk)):
            plan = _planned(gather, pixels, runs, chunk, splits, gpu)
            if plan.stages >= 3:
                yield plan


def _planned(
    gather: Gather, pixels: Pixels, runs: Runs, chunk: int, splits: int, gpu: GpuProperties
) -> TapsWeightPlan:
    n, channels, height, width = gather.x_shape
    _, outputs, out_height, out_width = gather.y_shape
    down, across = runs.steps(gather.tap_step[0] * pixels.pitch, gather.tap_step[1])
    down_tap, across_tap = runs.steps(gather.kernel[1], 1)
    row_count, farthest = runs.groups // runs.parts, runs.parts * runs.taps - 1
    reach = chunk + (row_count - 1) * down + farthest * across
    stages = min(8, (gpu.shared - 1024) // (_stage_bytes(chunk, reach) + 16))

    chunks = -(-n * pixels.lines * pixels.pitch // chunk)
    each = -(-chunks // splits)
    splits = -(-chunks // each)
    tiles, blocks = -(-channels // WIDE), -(-outputs // WIDE)
    grid = min(gpu.processors, tiles * blocks * splits)

    unit, taps = unit_of(1), len(pixels.shifts)  # of either kind of 16 bits
    pieces = pieces_of(channels, unit)
    group = SLICE if pieces % SLICE == 0 else pieces
    told = [n, pixels.lines, pixels.pitch, height, width, pieces * unit]
    told += [out_height, out_width, pieces_of(outputs, unit) * unit, pixels.low, reach]
    told += [taps, runs.length, runs.parts, across_tap, down_tap, across, down]
    told += [group, tiles, blocks, splits, chunks, each]
    space = np.array(told, np.int32).view(WEIGHT_SPACE)
    summed = planned(gather, Tiles(1, WIDE, stages, 1), unit, gpu).layer
    sizes = (splits, each, chunks, tiles, blocks, reach, taps * pieces * unit, grid)
    return TapsWeightPlan(chunk, stages, runs, *sizes, space, summed)


def _stage_bytes(chunk: int, reach: int) -> int:
    return (chunk + -(-reach // 8) * 8) * 2 * WIDE


def taps_weight_cycles(plan: TapsWeightPlan, gpu: GpuProperties) -> float:
    """Of a multiprocessor, roughly."""
    products = plan.chunk // 16 * plan.runs.groups  # of 64 rows, 64 columns a tap, and 16 pixels
    tensor_cores = 32 * plan.runs.taps * products
    copied = _stage_bytes(plan.chunk, plan.reach)
    shared = (copied + 2048 * (1 + plan.runs.taps) * products) / 128
    item = plan.each * (max(tensor_cores / 0.75, shared / 0.75, copied / 27) + 60)
    item += 0.3 * plan.rows / plan.tiles * WIDE + 2500  # storing
    items = plan.tiles * plan.blocks * plan.splits
    sums = plan.splits * plan.rows * plan.blocks * WIDE * 4
    rounds = -(-items // gpu.processors)
    return rounds * item + sums / gpu.processors / 20 + 25 * plan.splits


def cheapest_weight_plan(
    gather: Gather, kind: int, gpu: GpuProperties
) -> tuple[float, TapsWeightPlan | WeightPlan]:
    """The plan of the fewest cycles, and those: of wide_taps_wgrad.cu, or of wide_wgrad.cu."""
    plan, taps = weight_plan(gather, kind, gpu), taps_weight_plan(gather, kind, gpu)
    found: list[tuple[float, TapsWeightPlan | WeightPlan]]
    found = [(weight_cycles(plan, gather, kind, gpu), plan)]
    if taps is not None:
        found.append((taps_weight_cycles(taps, gpu), taps))
    return min(found, key=lambda one: one[0])
