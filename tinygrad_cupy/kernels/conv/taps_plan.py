"""Wide layers of stride 1: all pixels in one row, and the tile configurations of wide_taps.cu."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...backend.gpu import GpuProperties
from .wide_plan import (
    SLICE,
    Gather,
    Tiles,
    WidePlan,
    cycles,
    pieces_of,
    planned,
    unit_of,
    wide_plan,
)

MOST_TAPS = 25
LINES = 8  # rows that wide_taps.cu copies together
SPACE = np.dtype([("numbers", np.int32, 15 + MOST_TAPS)])
CONFIGURATIONS = ((1, 64, 2), (2, 64, 1), (1, 128, 1), (2, 128, 1), (1, 192, 1), (1, 256, 1))


class Pixels(NamedTuple):
    """One row of all pixels of x and y: (n, row, column) is (n * lines + row) * pitch + column.

    What tap k reads for pixel i of y is pixel i + low + shifts[k] of x, or a zero beside images.
    """

    lines: int
    pitch: int
    low: int
    shifts: tuple[int, ...]

    @property
    def reach(self) -> int:
        """Pixels that the taps lie apart."""
        return max(self.shifts)


class TapsPlan(NamedTuple):
    """A tile configuration, what the kernel is told, how weights are laid out, and sizes."""

    tiles: Tiles
    space: Any  # of SPACE
    packing: WidePlan
    grid: int
    shared: int
    cycles: float


@functools.lru_cache(1024)
def pixels_of(gather: Gather) -> Pixels | None:
    """The pixels of a product in one row; None where its steps are no single pixels."""
    phase, *others = gather.phases
    ones = (1, 1)
    if others or gather.step != ones or gather.out_step != ones or not 1 < phase.taps <= MOST_TAPS:
        return None
    _, _, height, width = gather.x_shape
    _, _, out_height, out_width = gather.y_shape
    downs = [phase.first_row + k * gather.tap_step[0] for k in range(phase.taps_down)]
    acrosses = [phase.first_column + k * gather.tap_step[1] for k in range(phase.taps_across)]
    lines, pitch = _room(height, out_height, downs), _room(width, out_width, acrosses)
    shifts = [down * pitch + across for down in downs for across in acrosses]
    low = min(shifts)
    if low < -lines * pitch:  # the kernel counts from there
        return None
    return Pixels(lines, pitch, low, tuple([shift - low for shift in shifts]))


def _room(size: int, out_size: int, steps: list[int]) -> int:
    """Of an axis, so that what taps read before and behind its pixels is no neighbour of theirs."""
    before, behind = -min(steps), out_size - 1 + max(steps) - (size - 1)
    return max(out_size, size + max(before, behind, 0))


@functools.lru_cache(1024)
def taps_plan(gather: Gather, kind: int, gpu: GpuProperties) -> TapsPlan | None:
    """That of the fewest cycles; None where there is none, or `wide_plan`'s takes fewer."""
    pixels = pixels_of(gather)
    if pixels is None:
        return None
    other = cycles(gather, wide_plan(gather, kind, gpu).tiles, kind, gpu)
    plans = _plans(gather, pixels, unit_of(kind), gpu)
    found = min(plans, key=lambda plan: plan.cycles, default=None)
    return None if found is None or found.cycles >= other else found


def _plans(gather: Gather, pixels: Pixels, unit: int, gpu: GpuProperties) -> Iterator[TapsPlan]:
    n, channels, height, width = gather.x_shape
    _, outputs, out_height, out_width = gather.y_shape
    pieces, taps = pieces_of(channels, unit), len(pixels.shifts)
    slices = -(-pieces // SLICE)
    whole = gather._replace(x_shape=(n, slices * SLICE * unit, height, width))
    for wm, bn, blocks in CONFIGURATIONS:
        bm = 128 * wm
        rows = -(-(bm + pixels.reach) // LINES) * LINES
        room = gpu.shared // blocks - 1024 * blocks - 1024 - 2 * rows * 128 - 32
        stages = min(9, room // (bn * 128 + 16))
        if stages < 3:
            continue
        tiles = Tiles(wm, bn, stages, blocks)
        count = -(-n * pixels.lines * pixels.pitch // bm)
        columns = -(-outputs // bn)
        sizes = (n, pixels.lines, pixels.pitch, height, width, pieces * unit)
        out = (outputs, out_height, out_width, slices, taps, pixels.low, rows, count, columns)
        shifts = (*pixels.shifts, *[0] * (MOST_TAPS - taps))
        space = np.array([*sizes, *out, *shifts], np.int32).view(SPACE)
        grid = tiles.grid(count * columns, gpu)
        shared = 1024 + 2 * rows * 128 + stages * (bn * 128 + 16) + 32
        took = _cycles(tiles, rows, taps, slices, count * columns, gpu)
        packing = planned(whole, tiles, unit, gpu)
        yield TapsPlan(tiles, space, packing, grid, shared, took)


def _cycles(
    tiles: Tiles, rows: int, taps: int, slices: int, items: int, gpu: GpuProperties
) -> float:
    """Of a multiprocessor, roughly, as measured on an H200; see `wide_plan.cycles`.

    Two blocks take turns at the tensor cores, which are busy all the time.
    """
    bm, bn = tiles.bm, tiles.bn
    product = 8 * tiles.wm * max(0.555 * bn, 45 + bn / 4)  # the latter is bound by what it reads
    filling = rows * 128 / 20 + taps * bn * 128 / 48
    item = slices * (max(taps * product, filling) + 100) + 0.1 * bm * bn + 500
    each = -(-items // (gpu.processors * tiles.blocks)) * tiles.blocks
    return item * each
