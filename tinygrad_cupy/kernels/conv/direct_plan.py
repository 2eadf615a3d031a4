"""The tiles of direct convolution: boxes of output places, channels at a time, shared memory.

See `direct_tiles.cu`. A box is chosen by a rough count of instructions: those of the products,
places beyond the output's edge included, and those that copy what the box sees.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from ...backend.cuda_source import THREADS
from ...backend.gpu import GpuProperties

Shape = tuple[int, ...]

WARPS = THREADS // 32
MOST_OUTPUTS = 32  # channels that a block has sums of
COMFORTABLE = 72 << 10  # bytes of shared memory: three blocks of a multiprocessor
MOST_SUMS = 8  # tiles of 16 x 8 of a warp of direct.cu: of more, one block has all registers
SPLITS = 12  # sizes that are tried of a side


class Problem(NamedTuple):
    """A product, or a weight gradient, of three axes: what a kernel is compiled and planned for.

    ``channels`` and ``outputs`` are those of a group; ``size`` and ``out`` D, H, W of input and
    output; ``apart`` how far apart the input's elements stand; ``itemsize`` bytes of a number in
    shared memory; ``mma`` whether tensor cores multiply.
    """

    images: int
    groups: int
    channels: int
    outputs: int
    size: Shape
    out: Shape
    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    apart: Shape
    itemsize: int
    mma: bool
    gpu: GpuProperties

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def tiles_of_outputs(self) -> int:
        """Of 8 channels, as many as a block has, and blocks alike."""
        blocks = -(-self.outputs // MOST_OUTPUTS)
        return -(-self.outputs // (8 * blocks))

    def seen(self, box: Shape) -> Shape:
        """Planes, rows and columns that those of a box see."""
        sides = zip(box[1:], self.stride, self.kernel, self.dilation, strict=True)
        return tuple([(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in sides])

    def chunks(self) -> Iterator[int]:
        """How many channels to work on at once, the most first."""
        whole = self.channels if self.channels < 8 else -(-self.channels // 8) * 8
        yield from [c for c in dict.fromkeys((min(whole, 32), 16, 8, 4, 2, 1)) if c <= whole]

    def defines(self, chunk: int, tiles: int) -> tuple[str, ...]:
        """The macros that both kernels have."""
        values = {
            **_by_axis("K", self.kernel),
            **_by_axis("S", self.stride),
            **_by_axis("P", self.padding),
            **_by_axis("D", self.dilation),
            **_by_axis("U", self.apart),
        }
        values |= {"CHANNELS": self.channels, "OUTPUTS": self.outputs, "CB": chunk}
        values |= {"MT": tiles, "NT": self.tiles_of_outputs, "MMA": int(self.mma)}
        return tuple([f"{name}={value}" for name, value in values.items()])


def _by_axis(letter: str, values: Shape) -> dict[str, int]:
    return {letter + axis: value for axis, value in zip("DHW", values, strict=True)}


class Plan(NamedTuple):
    """Macros, grid, bytes of shared memory, and what `Sizes` in direct_tiles.cu is filled with."""

    defines: tuple[str, ...]
    grid: tuple[int, int]
    shared: int
    numbers: tuple[int, ...]


def product_plan(problem: Problem) -> Plan | None:
    """Of direct.cu; None where nothing fits."""
    for limit in (COMFORTABLE, problem.gpu.shared):
        for tiles in (4, 2, 1):
            if tiles * problem.tiles_of_outputs > MOST_SUMS:
                continue
            plan = _product_plan(problem, tiles, limit)
            if plan is not None:
                return plan
    return None


def _product_plan(problem: Problem, tiles: int, limit: int) -> Plan | None:
    """With so many tiles of 16 places for a warp: None where blocks are too few, or too large."""
    most = WARPS * 16 * tiles
    columns = 8 * problem.tiles_of_outputs
    box = _box(problem, most, of_slots=most)
    down = problem.groups * -(-problem.outputs // columns)
    count = math.prod(_tiles(problem, box))
    if tiles > 1 and 2 * count * down < 3 * problem.gpu.processors:
        return None
    pitch = _pitch(box[0] * math.prod(problem.seen(box)), 8)
    across = columns if columns % 16 == 8 else columns + 8
    for chunk in problem.chunks():
        depth = -(-chunk * problem.taps // 8) * 8
        shared = problem.itemsize * (chunk * pitch + depth * across) + 4 * depth
        if shared <= limit:
            resident = max(1, min(4, problem.gpu.shared // shared))
            grid = max(1, min(count, -(-resident * problem.gpu.processors // down)))
            numbers = _numbers(problem, box, pitch)
            return Plan(problem.defines(chunk, tiles), (grid, down), shared, numbers)
    return None


def weight_plan(problem: Problem) -> Plan | None:
    """Of direct_wgrad.cu; None where nothing fits."""
    for limit in (COMFORTABLE, problem.gpu.shared):
        for most in (256, 128, 64):
            plan = _weight_plan(problem, most, limit)
            if plan is not None:
                return plan
    return None


def _weight_plan(problem: Problem, most: int, limit: int) -> Plan | None:
    across = problem.tiles_of_outputs
    box = _box(problem, most)
    pitch = _pitch(box[0] * math.prod(problem.seen(box)), 4)
    sums = 16 * 4 // problem.itemsize  # tiles of 16 x 8 sums that a warp holds
    for chunk in problem.chunks():
        for warps in (1, 2, 4, 8):
            tiles = -(-chunk * problem.taps // (16 * warps))
            if tiles <= 8 and tiles * across <= sums:
                break
        else:
            continue
        places = problem.itemsize * (chunk * pitch + 8 * across * (most + 4)) + 4 * most
        shared = max(places, problem.itemsize * warps * tiles * 16 * 8 * across)
        if shared > limit:
            continue
        down = problem.groups * -(-problem.outputs // (8 * across))
        down *= -(-problem.channels // chunk)
        count = math.prod(_tiles(problem, box))
        parts = max(1, min(count, 2 * problem.gpu.processors // down))
        defines = (*problem.defines(chunk, tiles), f"BM={most}", f"WM={warps}")
        return Plan(defines, (parts, down), shared, _numbers(problem, box, pitch))
    return None


def _numbers(problem: Problem, box: Shape, pitch: int) -> tuple[int, ...]:
    tiles = _tiles(problem, box)
    return (
        *(problem.images, problem.groups, *problem.size, *problem.out),
        *(*box, *problem.seen(box), *tiles, math.prod(tiles), pitch),
    )


def _tiles(problem: Problem, box: Shape) -> Shape:
    sides = zip((problem.images, *problem.out), box, strict=True)
    return tuple([-(-size // side) for size, side in sides])


def _pitch(volume: int, beyond: int) -> int:
    """At least ``volume`` words, ``beyond`` modulo 32."""
    return volume + (beyond - volume) % 32


def _box(problem: Problem, most: int, of_slots: int = 0) -> Shape:
    """The cheapest box of at most so many places; a tile costs ``of_slots`` of them if given."""
    product = problem.taps * problem.tiles_of_outputs * (0.02 if problem.mma else 0.3)
    best: tuple[float, Shape] | None = None
    for sides in itertools.product(*[_splits(size, most) for size in problem.out]):
        volume = math.prod(sides)
        if volume > most:
            continue
        images = min(problem.images, most // volume)
        images = -(-problem.images // -(-problem.images // images))
        box = (images, *sides)
        tiles = math.prod(_tiles(problem, box))
        seen = images * math.prod(problem.seen(box))
        cost = tiles * (product * (of_slots or images * volume) + 0.2 * seen + 32)
        if best is None or cost < best[0]:
            best = cost, box
    assert best is not None  # a box of one place
    return best[1]


def _splits(size: int, most: int) -> list[int]:
    """Sides that cut ``size`` into equal parts, of which one fits into ``most``."""
    found: list[int] = []
    side = -(-size // -(-size // most))
    while side > 1 and len(found) < SPLITS:
        found.append(side)
        parts = -(-size // (side - 1))  # the fewest parts that are smaller
        side = -(-size // max(parts, parts * 5 // 4))
    return [*found, 1]
