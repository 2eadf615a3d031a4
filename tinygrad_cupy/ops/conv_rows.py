"""Convolution with stride 1 on the CPU by rows of an image, which im2col would copy KH times.

A pixel is laid out beside its KW neighbours in its own row only, and one product with the whole
kernel gives what that row contributes to each of KH output rows, which are added up:

    z = beside(x) @ matrix              # (H · OW, KW · C) @ (KW · C, KH · O)
    y[oh] = Σ_kh z[oh + kh, …, kh]

That is H / OH times the multiplications, but KH times less copying, and a product wide enough for
BLAS to run at its full speed, which N = O = 32 columns do not reach. Everything here works on a few
images at a time, N, H, W, C in memory, so that it stays in the cache. Letters are explained in
`windows`; a *shift* says where a tap of the kernel looks, in pixels from the output's place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import blas
from ..backend import Array
from ..parallel import workspace
from .conv_kernels import Geometry, Shape
from .windows import Windows

CHUNK_BYTES = 640 << 10  # of pixels beside their neighbours; with the product, half of a cache
LEAST_WIDTH = 32  # of the product; below, im2col's longer rows are better
MOST_WASTE = 1.5  # multiplications over those of im2col


def suits(geometry: Geometry, x_shape: Shape, w_shape: Shape, out_size: Shape) -> bool:
    """Whether a convolution of x (N, C, H, W) is done faster here than by im2col."""
    o, c, kh, kw = w_shape
    return (
        geometry.groups == 1
        and geometry.windows.stride == (1, 1)
        and min(kw * c, kh * o) >= LEAST_WIDTH
        and x_shape[2] <= MOST_WASTE * out_size[0]
    )


def images_at_once(x_shape: Shape, taps: int, itemsize: int) -> int:
    """How many images of C channels laid out beside ``taps`` neighbours make a chunk."""
    return max(1, CHUNK_BYTES // max(math.prod(x_shape[1:]) * taps * itemsize, 1))


def shifts(windows: Windows) -> tuple[range, range]:
    """Of the kernel's rows and of its columns."""
    (kh, kw), (dh, dw), (ph, pw) = windows.kernel, windows.dilation, windows.padding
    return range(-ph, kh * dh - ph, dh), range(-pw, kw * dw - pw, dw)


def mirrored(windows: Windows) -> Windows:
    """The windows of the output that meet an input pixel: kernel turned by 180°."""
    (kh, kw), (dh, dw), (ph, pw) = windows.kernel, windows.dilation, windows.padding
    padding = (dh * (kh - 1) - ph, dw * (kw - 1) - pw)
    return Windows(windows.kernel, windows.stride, padding, windows.dilation)


def matrix_of(w: Array) -> Array:
    """w (O, C, KH, KW) → (KW · C, KH · O)."""
    o, c, kh, kw = w.shape
    return np.ascontiguousarray(w.transpose(3, 1, 2, 0)).reshape(kw * c, kh * o)


def turned(w: Array) -> Array:
    """w (O, C, KH, KW) for the way back: (C, O, KH, KW), turned by 180°."""
    return w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


def with_margins(shape: Shape, columns: range, width: int, dtype: Any) -> tuple[Array, Array]:
    """Scratch for images (n, H, W, C) with zeros left and right as far as ``columns`` look.

    And the part of it where the images go.
    """
    n, h, w, c = shape
    left, right = max(0, -columns[0]), max(0, columns[-1] + width - w)
    wide = workspace("wide", (n, h, left + w + right, c), dtype)
    wide[:, :, :left] = 0
    wide[:, :, left + w :] = 0
    return wide, wide[:, :, left : left + w]


def beside(x: Array, columns: range, width: int) -> Array:
    """Rows of pixels of x (n, H, W, C), each with its neighbours: (n, H, width, KW, C)."""
    inside = columns[0] >= 0 and columns[-1] + width <= x.shape[2]
    if not inside:
        wide, middle = with_margins(x.shape, columns, width, x.dtype)
        middle[...] = x
        x = wide
    return beside_in_margins(x, columns, width)


def beside_in_margins(wide: Array, columns: range, width: int) -> Array:
    """The same of images that have their margins."""
    n, h, _, c = wide.shape
    sn, sh, sw, sc = wide.strides
    neighbours = np.lib.stride_tricks.as_strided(
        wide[:, :, max(0, columns[0]) :],
        (n, h, width, len(columns), c),
        (sn, sh, sw, sw * columns.step, sc),
    )
    rows = workspace("beside", neighbours.shape, wide.dtype)
    rows[...] = neighbours
    return rows


def above(x: Array, rows: range, height: int) -> Array:
    """Pixels of x (n, H, W, C), each with those above and below: (n, height, W, KH, C)."""
    n, h, w, c = x.shape
    out = workspace("above", (n, height, w, len(rows), c), x.dtype)
    for k, shift in enumerate(rows):
        low, high = _range(shift, h, height)
        out[:, :low, :, k] = 0
        out[:, low:high, :, k] = x[:, low + shift : high + shift]
        out[:, high:, :, k] = 0
    return out


def product(pixels: Array, matrix: Array, rows: range, out: Array) -> None:
    """out (n, OH, OW, O) from pixels beside their neighbours (n, H, OW, KW, C)."""
    n, h, width = pixels.shape[:3]
    o = out.shape[3]
    z = workspace("product", (n, h, width, len(rows), o), pixels.dtype)
    blas.matmul(pixels.reshape(-1, len(matrix)), matrix, out=z.reshape(-1, matrix.shape[1]))
    low, high = _range(rows[0], h, out.shape[1])
    out[:, :low] = 0
    out[:, low:high] = z[:, low + rows[0] : high + rows[0], :, 0]
    out[:, high:] = 0
    for k, shift in enumerate(rows[1:], 1):
        low, high = _range(shift, h, out.shape[1])
        out[:, low:high] += z[:, low + shift : high + shift, :, k]


def _range(shift: int, size: int, out: int) -> tuple[int, int]:
    """Of ``out`` places, those from which a shift leads inside ``size``."""
    low = min(max(0, -shift), out)
    return low, max(low, min(out, size - shift))
