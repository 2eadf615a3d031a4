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

from typing import Any

import numpy as np

from ...backend import Array, blas, strides_of
from ...backend.cpu_threads import workspace
from ..common.windows import Geometry, Shape, Windows

CHUNK_BYTES = 1280 << 10  # of pixels beside their neighbours, which should stay in a core's cache
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


def shifts(windows: Windows) -> tuple[range, range]:
    """Of the kernel's rows and of its columns."""
    (kh, kw), (dh, dw), (ph, pw) = windows.kernel, windows.dilation, windows.padding
    return range(-ph, kh * dh - ph, dh), range(-pw, kw * dw - pw, dw)


def matrix_of(w: Array) -> Array:
    """w (O, C, KH, KW) → (KW · C, KH · O)."""
    o, c, kh, kw = w.shape
    return np.ascontiguousarray(w.transpose(3, 1, 2, 0)).reshape(kw * c, kh * o)


# Scratch of a thread and all views of it are made once, for a part of the batch, and then used for
# one chunk of at most ``count`` images after the other: on small images Python is what costs.


class Beside:
    """Images between margins of zeros, ``images``, and their pixels beside their neighbours."""

    def __init__(self, count: int, shape: Shape, columns: range, width: int, dtype: Any) -> None:
        h, w, c = shape
        left, right = max(0, -columns[0]), max(0, columns[-1] + width - w)
        self.wide = workspace("wide", (count, h, left + w + right, c), dtype)
        self.wide[:, :, :left] = 0
        self.wide[:, :, left + w :] = 0
        self.images = self.wide[:, :, left : left + w]
        sn, sh, sw, sc = strides_of(self.wide)
        self.neighbours = np.lib.stride_tricks.as_strided(
            self.wide[:, :, max(0, columns[0]) :],
            (count, h, width, len(columns), c),
            (sn, sh, sw, sw * columns.step, sc),
        )
        self.rows = workspace("beside", self.neighbours.shape, dtype)

    def laid_out(self, n: int) -> Array:
        """Of the first n ``images``: (n · H · width, KW · C)."""
        rows = self.rows[:n]
        rows[...] = self.neighbours[:n]
        return rows.reshape(-1, rows.shape[3] * rows.shape[4])


class Above:
    """Pixels with those above and below them."""

    def __init__(self, count: int, shape: Shape, rows: range, height: int, dtype: Any) -> None:
        h, w, c = shape
        self.columns = workspace("above", (count, height, w, len(rows), c), dtype)
        self.columns[...] = 0
        self.taps = [(shift, *_range(shift, h, height)) for shift in rows]

    def laid_out(self, x: Array) -> Array:
        """Of x (n, H, W, C): (n · height · W, KH · C)."""
        columns = self.columns[: len(x)]
        for k, (shift, low, high) in enumerate(self.taps):
            columns[:, low:high, :, k] = x[:, low + shift : high + shift]
        return columns.reshape(-1, columns.shape[3] * columns.shape[4])


class Product:
    """What rows of pixels contribute to rows of the output, added up."""

    def __init__(self, count: int, shape: Shape, matrix: Array, rows: range, height: int) -> None:
        h, width = shape
        o = matrix.shape[1] // len(rows)
        self.matrix, self.lines = matrix, h * width
        z = workspace("product", (count, h, width, len(rows), o), matrix.dtype)
        self.flat = z.reshape(-1, matrix.shape[1])
        self.taps = []  # (first and last row of the output, the contributions to them)
        for k, shift in enumerate(rows):
            low, high = _range(shift, h, height)
            self.taps.append((low, high, z[:, low + shift : high + shift, :, k]))

    def into(self, out: Array, pixels: Array, start: Any) -> None:
        """out (n, OH, OW, O) = ``start`` + pixels (n · H · OW, KW · C) @ matrix, added by rows."""
        n = len(out)
        blas.matmul(pixels, self.matrix, out=self.flat[: n * self.lines])
        low, high, first = self.taps[0]
        np.add(first[:n], start, out=out[:, low:high])
        out[:, :low] = start
        out[:, high:] = start
        for low, high, z in self.taps[1:]:
            part = out[:, low:high]
            part += z[:n]


def _range(shift: int, size: int, out: int) -> tuple[int, int]:
    """Of ``out`` places, those from which a shift leads inside ``size``."""
    low = min(max(0, -shift), out)
    return low, max(low, min(out, size - shift))
