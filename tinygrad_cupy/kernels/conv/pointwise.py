"""1 × 1 convolutions of stride 1 on a GPU: products of the pixels' channels and the weight.

By cuBLASLt, where it is there, of arrays stored N, H, W, C whose pixels are multiples of 16 bytes.
"""

from __future__ import annotations

import math

from ...backend import Array, blas, import_cupy
from ..common.layout import ALIGNED, contiguous, last, strides_last
from ..common.windows import Geometry, Shape, Windows

PLAIN = Windows.parse("conv2d", 1, 1, 0, 1)


def suits(dtype: str, itemsize: int, w_shape: Shape, geometry: Geometry) -> bool:
    """Whether all passes of such a layer are products; there may be none of no channels."""
    if geometry.groups != 1 or geometry.windows._replace(dilation=PLAIN.dilation) != PLAIN:
        return False
    outputs, channels = w_shape[:2]
    if not channels or outputs * itemsize % ALIGNED or channels * itemsize % ALIGNED:
        return False
    return dtype in ("float32", "bfloat16", "float16") and blas.has_cublaslt()


def fprop(x: Array, w: Array, bias: Array | None, relu: bool) -> Array:
    """y (N, O, H, W) from x (N, C, H, W), w (O, C, 1, 1) and bias (O,), then ReLU if asked for."""
    y = blas.linear(_pixels(x), _matrix(w), bias, relu)
    return _images(y, (x.shape[0], w.shape[0], *x.shape[2:]))


def dgrad(g: Array, w: Array) -> Array:
    """dx (N, C, H, W) from g (N, O, H, W)."""
    dx = blas.matmul(_pixels(g), _matrix(w))
    return _images(dx, (g.shape[0], w.shape[1], *g.shape[2:]))


def wgrad(x: Array, g: Array) -> Array:
    """dw (O, C, 1, 1) from x and g."""
    return blas.matmul(_pixels(g).T, _pixels(x)).reshape(g.shape[1], x.shape[1], 1, 1)


def _matrix(w: Array) -> Array:
    return contiguous(w).reshape(w.shape[:2])


def _pixels(x: Array) -> Array:
    """x (N, C, H, W) as a matrix of a row for each pixel: a view where it is stored so."""
    channels, stored = x.shape[1], last(x)
    return import_cupy().ndarray((x.size // channels, channels), x.dtype, stored.data)


def _images(pixels: Array, shape: Shape) -> Array:
    """The inverse of `_pixels`."""
    assert pixels.size == math.prod(shape)
    assert pixels.flags.c_contiguous
    strides = strides_last(shape, pixels.itemsize)
    return import_cupy().ndarray(shape, pixels.dtype, pixels.data, strides)
