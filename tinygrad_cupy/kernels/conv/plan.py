"""The tile configurations of the convolution kernels: tile sizes, grids, shared memory.

The kernels are compiled for one geometry and one tile configuration each; a rough count of cycles
(products against reads of shared memory, see `tiles.cu`) chooses among those that fit, which
`implicit_gemm_plan` and `wgrad_plan` list. Its constants were fitted to the times of configurations
of the MNIST nets' layers on an H200 and an H100; what it chooses takes up to a tenth longer than
the best of them in the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...backend.cuda_source import THREADS
from ...backend.gpu import GpuProperties
from ..common.windows import Windows

Shape = tuple[int, ...]

PRECISIONS = {"fp32": 0, "tf32": 1, "bf16": 2}
WARPS = THREADS // 32  # of a consumer of implicit_gemm.cu, and of a block of wgrad.cu


class Problem(NamedTuple):
    """What a tile configuration is for: a product or a weight gradient, and where it is computed.

    ``sizes`` are N, H, W, OH, OW.
    """

    channels: int
    outputs: int
    windows: Windows
    sizes: Shape
    precision: int
    gpu: GpuProperties
    pool: bool = False

    @property
    def packed(self) -> bool:
        """Whether two channels share a word."""
        return self.precision == PRECISIONS["bf16"]

    def words(self, channels: int) -> int:
        """That so many channels of a pixel take."""
        return channels // 2 if self.packed else channels

    @property
    def pixels(self) -> int:
        """Of the output, those alone that the pool reads."""
        n, _, _, oh, ow = self.sizes
        return 4 * n * (oh // 2) * (ow // 2) if self.pool else n * oh * ow

    @property
    def defines(self) -> tuple[str, ...]:
        """The macros of its geometry."""
        return shape_defines(self.channels, self.outputs, self.windows)

    def input_pixels(self, tile: int) -> int:
        """Pixels of the input tile of so many pixels, at most: whole rows."""
        return self._input_rows(tile) * (self.sizes[2] + 2 * self.windows.padding[1])

    def _input_rows(self, tile: int) -> int:
        """Rows of the concatenated batch (see tiles.cu) that a tile can reach, at most."""
        _, height, _, oh, ow = self.sizes
        scale = 2 if self.pool else 1
        pixels, across, down = tile // scale**2, ow // scale, oh // scale
        lines = (pixels + across - 2) // across + 1
        crossings = (down - 1 + lines - 1) // down
        windows = self.windows
        (kh, _), (dh, _), (sh, _) = windows.kernel, windows.dilation, windows.stride
        jump = max(0, height + 2 * windows.padding[0] - down * scale * sh)
        inside = (lines - 1) * scale * sh + (scale - 1) * sh + (kh - 1) * dh + 1
        return inside + crossings * jump


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


def spread(words: int) -> int:
    """A distance of rows, 8 or 24 modulo 32: four rows of eight words are in different banks."""
    return words + (8 - words) % 16


def spread_fours(words: int) -> int:
    """4 modulo 8: eight rows of four words are in different banks; twice as far is as `spread`."""
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
    lanes = THREADS // -(-w_shape[0] // at_once)
    places = grads // w_shape[0] // (1 if pool else 4)
    sums = (math.prod(w_shape[1:]) + 1) * at_once  # of a thread, in registers
    resident = 2 if sums <= SUMS_OF_TWO else 1  # blocks of a multiprocessor
    blocks = max(1, min(resident * gpu.processors, places // (2 * lanes)))
    return Plan((f"OV={at_once}",), (blocks,))


def channel_chunks(channels: int) -> Iterator[int]:
    """How many channels to work on at once, the most first."""
    whole = -(-channels // 8) * 8
    yield from dict.fromkeys([whole] * (whole <= 128) + [c for c in (64, 32, 16, 8) if c < whole])


Configurations = Iterator[tuple[float, Plan]]  # with the cost of each, in cycles

ALONE = 1.3  # a tile's time where a multiprocessor has one block instead of two, which overlap


def cheapest(configurations: Configurations) -> tuple[float, Plan | None]:
    """The first of the cheapest, None where there is none."""
    return min(configurations, key=lambda one: one[0], default=(math.inf, None))
