"""The tiles of depthwise.cu and depthwise_wgrad.cu.

A tile is written out by the compiler, so what it keeps in registers has to fit: the sums, the row
of pixels that has come, and weights. The counts below were fitted to what nvcc 13 reports for
sm_90a at 128 registers a thread; what does not fit is done pixel by pixel, or tap by tap.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from ...backend.cuda_source import THREADS
from ...backend.gpu import GpuProperties
from ..common.windows import Shape, Windows

LANES = 32  # threads of a block along the channels, at most: of 4 channels of float32, 512 bytes
ROWS = COLUMNS = (4, 2, 1)  # of a tile: 8 rows take NVRTC three times as long
WORDS = 100  # of 32 bits that a tile may keep, of the 128 registers that a thread has
FEW_WORDS = 48  # of a tile of the weight gradient, see there
MOST_ROWS = 10  # of the other array that a tile may meet, where it is more than one row high
MOST_EXTENT = 32  # the same with rows between that it does not meet, and so for columns
BUSY = 1024  # threads of a multiprocessor that tiles are made smaller for
BLOCKS = 2  # of a multiprocessor, as __launch_bounds__ says
MOST = 2**30  # of sizes, which kernels count in ints


class Layer(NamedTuple):
    """A depthwise convolution: of what, and in which type its sums are.

    ``channels`` and ``outputs`` are C and O, a multiple of C; ``words`` of 32 bits make a sum.
    """

    images: int
    channels: int
    outputs: int
    size: Shape  # (H, W)
    out_size: Shape  # (OH, OW)
    windows: Windows
    itemsize: int
    words: int

    @property
    def multiplier(self) -> int:
        return self.outputs // self.channels

    @property
    def widths(self) -> list[int]:
        """How many neighbouring channels a thread may have, the most first."""
        if self.multiplier > 1:
            return [1]
        most = 16 // self.itemsize if self.words > 1 else 4
        return [width for width in (4, 2, 1) if width <= most and self.channels % width == 0]


def layer_of(x_shape: Shape, y_shape: Shape, windows: Windows, itemsize: int) -> Layer:
    """Of x (N, C, H, W) and y (N, O, OH, OW), of elements of so many bytes."""
    n, c, *size = x_shape
    o, *out_size = y_shape[1:]
    words = max(1, itemsize // 4)
    return Layer(n, c, o, tuple(size), tuple(out_size), windows, itemsize, words)


class Tile(NamedTuple):
    """Neighbouring channels of a thread, rows and columns; ``plain``: no tile, pixel by pixel."""

    width: int
    rows: int
    columns: int
    plain: bool = False

    @property
    def defines(self) -> tuple[str, ...]:
        """The macros of a tile."""
        return (f"WIDTH={self.width}", f"ROWS={self.rows}", f"COLUMNS={self.columns}")


class Grid(NamedTuple):
    """Tiles down and across an image and all of them; blocks, and threads along their channels."""

    down: int
    across: int
    tiles: int
    blocks: Shape
    lanes: int


# --- fprop and dgrad ----------------------------------------------------------------------------


@functools.lru_cache(1024)
def product_tile(layer: Layer, flip: bool, gpu: GpuProperties) -> Tile:
    """The tile of fprop, or with ``flip`` of dgrad.

    The one that loads least for a pixel, made lower where multiprocessors had too few threads.
    """
    fitting = list(_product_tiles(layer, flip))
    if not fitting:
        return Tile(layer.widths[0], 1, 1, plain=True)
    best = min(fitting, key=lambda tile: _loaded(layer, tile, flip, layer.windows.taps))
    lower = [
        tile
        for tile in fitting
        if (tile.width, tile.columns) == (best.width, best.columns) and tile.rows <= best.rows
    ]
    for tile in lower:
        threads = product_grid(layer, tile, flip).tiles * (layer.channels // tile.width)
        if threads >= BUSY * gpu.processors:
            return tile
    return lower[-1]


def _product_tiles(layer: Layer, flip: bool) -> Iterator[Tile]:
    """What fits, of one width and so many columns the highest first."""
    (down, across), windows = layer.windows.stride, layer.windows
    for width, wide, high in itertools.product(layer.widths, COLUMNS, ROWS):
        rows = down * -(-high // down) if flip else high
        columns = across * -(-wide // across) if flip else wide
        if _product_fits(windows, width * layer.words, rows, columns, flip):
            yield Tile(width, rows, columns)


def _product_fits(windows: Windows, words: int, rows: int, columns: int, flip: bool) -> bool:
    """Whether a tile can be written out; a pixel has so many ``words``."""
    down, (reach, _) = windows.stride[0], _reaches(windows)
    if not _written_out(windows, words, rows, columns, flip):
        return False
    met_down, met_across = _met(windows, rows, columns, flip)
    # Sums are kept from the first row that they meet to the last, which stores them.
    kept = min(rows, reach + 1 if flip else reach // down + 1)
    needed = kept * columns + met_across + windows.taps / 2
    return needed * words <= WORDS and (rows == 1 or met_down <= MOST_ROWS)


def product_grid(layer: Layer, tile: Tile, flip: bool) -> Grid:
    """Of a tile's pixels: of x with ``flip``, else of y."""
    size = layer.size if flip else layer.out_size
    shifts = [0, 0]
    if flip and not tile.plain:  # a tile begins with the first phase
        shifts = [p % s for p, s in zip(layer.windows.padding, layer.windows.stride, strict=True)]
    down = -(-(size[0] + shifts[0]) // tile.rows)
    across = -(-(size[1] + shifts[1]) // tile.columns)
    tiles = layer.images * down * across
    chunks, lanes = _lanes((layer.channels if flip else layer.outputs) // tile.width)
    return Grid(down, across, tiles, (-(-tiles // (THREADS // lanes)), chunks), lanes)


# --- wgrad --------------------------------------------------------------------------------------


class WeightTile(NamedTuple):
    """A tile, and whether each tap is a block's."""

    tile: Tile
    apart: bool


@functools.lru_cache(1024)
def weight_tile(layer: Layer) -> WeightTile:
    """The tile of all taps that loads least for a pixel; where none fits, one of one tap."""
    single = layer._replace(windows=one_tap(layer.windows))
    for apart, of in ((False, layer), (True, single)):
        fitting = [
            Tile(*sizes)
            for sizes in itertools.product(layer.widths, ROWS, COLUMNS)
            if _weight_fits(of.windows, sizes[0] * layer.words, *sizes[1:], layer.itemsize)
        ]
        if fitting:
            best = min(fitting, key=lambda tile: _loaded(of, tile, False, tile.rows * tile.columns))
            return WeightTile(best, apart)
    raise AssertionError("one pixel of one channel fits")


def one_tap(windows: Windows) -> Windows:
    """As those of a block that has one tap are compiled."""
    return windows._replace(kernel=(1, 1), dilation=(1, 1))


def _weight_fits(windows: Windows, words: int, rows: int, columns: int, itemsize: int) -> bool:
    down, (reach, _) = windows.stride[0], _reaches(windows)
    if not _written_out(windows, words, rows, columns, flip=False):
        return False
    _, met_across = _met(windows, rows, columns, flip=False)
    kept = min(rows, reach // down + 1)  # rows of g
    needed = windows.taps + kept * columns + met_across
    # Of 3 x 3 taps at a stride of 1 an H200 is a quarter faster with threads that keep few words.
    few = itemsize == 4 and windows.stride == (1, 1) and windows.taps <= 9
    return needed * words <= (FEW_WORDS if few else WORDS - 8)


def weight_grid(layer: Layer, chosen: WeightTile, gpu: GpuProperties) -> Grid:
    """No more blocks than run at a time, as each ends with adding up its threads' sums."""
    tile, apart = chosen
    down = -(-layer.out_size[0] // tile.rows)
    across = -(-layer.out_size[1] // tile.columns)
    tiles = layer.images * down * across
    chunks, lanes = _lanes(layer.outputs // tile.width)
    others = chunks * (layer.windows.taps if apart else 1)
    most = -(-tiles // (THREADS // lanes))
    splits = min(most, max(1, BLOCKS * gpu.processors // others))
    taps = layer.windows.taps if apart else 1
    return Grid(down, across, tiles, (splits, chunks, taps), lanes)


# --- what both ask ------------------------------------------------------------------------------


def fits(layer: Layer) -> bool:
    """Whether the kernels' ints hold all of its sizes."""
    padded = layer.windows.padded_size(layer.size)
    sides = (*padded, *layer.out_size, *_reaches(layer.windows))
    pixels = layer.images * max(math.prod(layer.size), math.prod(layer.out_size))
    # A grid has 65,535 blocks at most along its second and third axis.
    few = layer.outputs // LANES < 2**16 - 1 and layer.windows.taps < 2**16
    line = max(layer.size[1], layer.out_size[1]) * max(layer.channels, layer.outputs)
    return few and max(*sides, pixels + max(layer.windows.padding) * layer.images, line) < MOST


def _lanes(vectors: int) -> tuple[int, int]:
    """Into how many blocks so many vectors of channels go, and how many each has at most."""
    chunks = -(-vectors // LANES)
    return chunks, -(-vectors // chunks)


def _reaches(windows: Windows) -> Shape:
    """From the first tap to the last, in pixels."""
    return tuple([(k - 1) * d for k, d in zip(windows.kernel, windows.dilation, strict=True)])


def _loaded(layer: Layer, tile: Tile, flip: bool, others: int) -> float:
    """The time of a tile's loads for a pixel and channel: those of pixels, and so many others.

    A load takes as long as its words do, and its address and its bounds some instructions.
    """
    rows, columns = _met(layer.windows, tile.rows, tile.columns, flip)
    loads = (rows * columns + others) / (tile.rows * tile.columns)
    return loads * (layer.words + 3 / tile.width)


def _written_out(windows: Windows, words: int, rows: int, columns: int, flip: bool) -> bool:
    """Whether the loops over a tile and over what it meets are short, as in depthwise.cu."""
    extents = [rows, columns]
    sides = zip((rows, columns), windows.stride, _reaches(windows), strict=True)
    for size, stride, reach in sides:
        last = (size - 1) // stride + reach // stride if flip else (size - 1) * stride + reach
        extents.append(last + 1)
    return max(extents) <= MOST_EXTENT and windows.taps * words <= 2 * WORDS


def _met(windows: Windows, rows: int, columns: int, flip: bool) -> tuple[int, int]:
    """How many rows and columns of the other array a tile meets."""
    found = []
    for size, k, s, d in zip((rows, columns), *windows[:2], windows.dilation, strict=True):
        steps = ((i, tap * d) for i in range(size) for tap in range(k))
        if flip:
            found.append(len({i - tap for i, tap in steps if (i - tap) % s == 0}))
        else:
            found.append(len({i * s + tap for i, tap in steps}))
    return found[0], found[1]
