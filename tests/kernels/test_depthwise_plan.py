"""The tiles of depthwise convolution, and which layers it is for."""

from __future__ import annotations

import itertools
import math

import pytest

from tinygrad_cupy.backend.cuda_source import THREADS
from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import choice, depthwise_plan
from tinygrad_cupy.kernels.conv.depthwise_plan import (
    BLOCKS,
    LANES,
    layer_of,
    product_grid,
    product_tile,
    weight_grid,
    weight_tile,
)

H200 = GpuProperties(132, 232448, True, True)
# C, H = W, kernel, stride, padding, dilation
LAYERS = [
    *((32, 112, 3, 1, 1, 1), (96, 112, 3, 2, 1, 1), (144, 56, 3, 1, 1, 1), (192, 28, 3, 1, 1, 1)),
    *((384, 14, 3, 1, 1, 1), (576, 14, 3, 2, 1, 1), (960, 7, 3, 1, 1, 1), (768, 7, 7, 1, 3, 1)),
    *((513, 9, 5, 2, 2, 1), (3, 20, 3, 3, 0, 2), (6, 40, 31, 1, 15, 1), (5, 70, 3, 1, 30, 30)),
]


@pytest.mark.parametrize("itemsize", [2, 4, 8])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_grids_cover_every_pixel_and_channel(layer: tuple[int, ...], itemsize: int) -> None:
    c, side, *geometry = layer
    windows = Windows.parse("test", *geometry)
    for n, multiplier in itertools.product((1, 128), (1, 2)):
        x_shape, o = (n, c, side, side), c * multiplier
        y_shape = (n, o, *windows.output_size("test", (side, side)))
        of = layer_of(x_shape, y_shape, windows, itemsize)
        assert depthwise_plan.fits(of)
        for flip, shape in ((False, y_shape), (True, x_shape)):
            tile = product_tile(of, flip, H200)
            grid = product_grid(of, tile, flip)
            assert grid.tiles * tile.rows * tile.columns >= n * math.prod(shape[2:])
            assert grid.blocks[0] * (THREADS // grid.lanes) >= grid.tiles
            assert grid.blocks[1] * grid.lanes * tile.width >= shape[1]
            assert shape[1] % tile.width == 0
            assert grid.lanes <= LANES
            if flip and not tile.plain:
                assert tile.rows % windows.stride[0] == 0 == tile.columns % windows.stride[1]
            taps = windows.taps * LANES * tile.width * 4 * of.words
            assert tile.plain or taps <= 48 << 10  # of shared memory
        chosen = weight_tile(of)
        weight = weight_grid(of, chosen, H200)
        assert weight.blocks[1] * weight.lanes * chosen.tile.width >= o
        assert weight.blocks[2] == (windows.taps if chosen.apart else 1)
        assert weight.blocks[0] == 1 or math.prod(weight.blocks) <= BLOCKS * H200.processors


def test_tiles_of_usual_layers() -> None:
    """Vectors of channels, and high tiles where there are many; small kernels are no case."""
    windows = Windows.parse("test", 3, 1, 1, 1)
    large = layer_of((128, 96, 56, 56), (128, 96, 56, 56), windows, 4)
    small = layer_of((1, 96, 7, 7), (1, 96, 7, 7), windows, 4)
    assert product_tile(large, False, H200) == (4, 4, 4, False)
    assert product_tile(small, False, H200).rows == 1
    assert weight_tile(large) == ((2, 4, 2, False), False)
    wide = Windows.parse("test", 31, 1, 15, 1)
    many = layer_of((1, 96, 56, 56), (1, 96, 56, 56), wide, 4)
    assert product_tile(many, False, H200).plain
    assert weight_tile(many).apart


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_layers_of_single_channels(dtype: str) -> None:
    geometry = Geometry(Windows.parse("test", 3, 1, 1, 1), 8)
    x, y = (2, 8, 9, 9), (2, 16, 9, 9)
    assert choice.by_depthwise(x, (16, 1, 3, 3), y, geometry, dtype) == (dtype != "complex64")
    assert not choice.by_depthwise((0, *x[1:]), (16, 1, 3, 3), (0, *y[1:]), geometry, dtype)
    pairs = Geometry(geometry.windows, 4)
    assert not choice.by_depthwise(x, (16, 2, 3, 3), y, pairs, dtype)
    single = Geometry(geometry.windows, 1)
    assert not choice.by_depthwise((2, 1, 9, 9), (16, 1, 3, 3), y, single, dtype)
    huge = (2**20, 8, 2**10, 2**10)
    assert not choice.by_depthwise(huge, (16, 1, 3, 3), (2**20, 16, *huge[2:]), geometry, dtype)
