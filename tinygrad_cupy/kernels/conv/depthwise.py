"""Depthwise convolution on a GPU: each channel by itself, C groups, or C · M outputs of C channels.

All is bound by memory, so no product of matrices is made of it: see depthwise.cuh. float16 and
bfloat16 are computed in float32 and rounded once, float32 and float64 in their own.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, int32s, null
from ...backend.cuda_source import dtype_macros
from ...backend.dtypes import resolve_dtype
from ...backend.gpu import GpuProperties, properties_of
from ..common.headers import VECTOR
from ..common.layout import contiguous, empty_last, last
from ..common.windows import Shape, Windows
from .depthwise_plan import (
    LANES,
    Layer,
    layer_of,
    one_tap,
    product_grid,
    product_tile,
    weight_grid,
    weight_tile,
)
from .launch import Launch
from .plan import shape_defines
from .wgrad_sums import Partials

_LANES = (f"LANES={LANES}",)
_product = CudaSource(__file__, VECTOR, "depthwise.cuh", "depthwise.cu", defines=_LANES)
_weight = CudaSource(__file__, VECTOR, "depthwise.cuh", "depthwise_wgrad.cu", defines=_LANES)


def fprop(x: Array, w: Array, bias: Array | None, windows: Windows, relu: bool = False) -> Array:
    """y (N, O, OH, OW) of x (N, C, H, W), w (O, 1, KH, KW) and bias (O,)."""
    out = (x.shape[0], w.shape[0], *windows.output_size("conv2d", x.shape[2:]))
    layer = layer_of(x.shape, out, windows, x.dtype.itemsize)
    y = empty_last(out, x.dtype)
    launch = product_launch(layer, x.dtype, (False, bias is not None, relu), properties_of(x))
    launch(last(x), contiguous(w), null() if bias is None else contiguous(bias), y)
    return y


def dgrad(g: Array, w: Array, windows: Windows, x_shape: Shape) -> Array:
    """dx (N, C, H, W) of g (N, O, OH, OW) and w (O, 1, KH, KW)."""
    layer = layer_of(tuple(x_shape), g.shape, windows, g.dtype.itemsize)
    dx = empty_last(tuple(x_shape), g.dtype)
    launch = product_launch(layer, g.dtype, (True, False, False), properties_of(g))
    launch(last(g), contiguous(w), null(), dx)
    return dx


def wgrad_and_bias(x: Array, g: Array, windows: Windows, w_shape: Shape) -> tuple[Array, Array]:
    """dw (O, 1, KH, KW) and db (O,) of x (N, C, H, W) and g (N, O, OH, OW)."""
    layer = layer_of(x.shape, g.shape, windows, x.dtype.itemsize)
    launch = weight_launch(layer, x.dtype, properties_of(x))
    partials = Partials(w_shape, launch.grid, x.dtype)
    launch(last(x), last(g), *partials.arrays)
    return partials.total()


def prepare(
    x_shape: Shape, y_shape: Shape, windows: Windows, dtype: str, gpu: GpuProperties
) -> None:
    """Have the kernels of `dgrad` and `wgrad_and_bias` compiled."""
    known = resolve_dtype(dtype)
    layer = layer_of(x_shape, y_shape, windows, known.itemsize)
    product_launch(layer, known, (True, False, False), gpu).prepare()
    weight_launch(layer, known, gpu).prepare()
    Partials.prepare(known)


@functools.lru_cache(1024)
def product_launch(
    layer: Layer, dtype: np.dtype[Any], flags: tuple[bool, ...], gpu: GpuProperties
) -> Launch:
    """fprop's or dgrad's, for ``flags`` (flip, bias, relu)."""
    flip = flags[0]
    tile = product_tile(layer, flip, gpu)
    grid = product_grid(layer, tile, flip)
    x, y = (*layer.size, layer.channels), (*layer.out_size, layer.outputs)
    sizes = (*y, *x) if flip else (*x, *y)
    numbers = (grid.tiles, grid.down, grid.across, *sizes, *layer.windows.padding, grid.lanes)
    names = ("FLIP", "BIAS", "RELU", "PLAIN")
    macros = [f"{name}={on:d}" for name, on in zip(names, (*flags, tile.plain), strict=True)]
    defines = (*_defines(layer, layer.windows, dtype), *tile.defines, *macros)
    return Launch(_product, "conv_depthwise", grid.blocks, int32s(*numbers), defines)


@functools.lru_cache(1024)
def weight_launch(layer: Layer, dtype: np.dtype[Any], gpu: GpuProperties) -> Launch:
    """wgrad's."""
    tile, apart = chosen = weight_tile(layer)
    grid = weight_grid(layer, chosen, gpu)
    windows = layer.windows
    written = one_tap(windows) if apart else windows
    numbers = (
        *(grid.tiles, grid.down, grid.across, *layer.size, layer.channels),
        *(*layer.out_size, layer.outputs, *windows.padding, grid.lanes),
        *(windows.kernel[1], *windows.dilation),
    )
    defines = (*_defines(layer, written, dtype), *tile.defines)
    return Launch(_weight, "conv_depthwise_wgrad", grid.blocks, int32s(*numbers), defines)


def _defines(layer: Layer, windows: Windows, dtype: np.dtype[Any]) -> tuple[str, ...]:
    """The macros of a geometry, which say nothing of sizes: few kernels serve a net."""
    named = [d for d in shape_defines(0, 0, windows) if d.split("=")[0] in _GEOMETRY]
    return (*dtype_macros(dtype), *named, f"MULTIPLIER={layer.multiplier}")


_GEOMETRY = ("KH", "KW", "SH", "SW", "DH", "DW")
