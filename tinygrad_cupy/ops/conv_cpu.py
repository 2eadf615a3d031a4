"""Convolution on the CPU, with bias, ReLU and max-pool done while a chunk is in the cache.

A batch is split over the threads, and each part worked off a few images at a time: products by rows
(`conv_rows`) where that is faster, else by im2col (`conv_kernels`). What is pooled away is never
written to memory, and a gradient is spread out again in the cache. Letters are explained in
`windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import blas
from ..backend import Array
from ..parallel import by_parts, workspace
from . import block_kernels, conv_kernels, conv_rows
from .block_kernels import POOL, SHUT
from .conv_kernels import Geometry, Shape
from .masking import keep_where
from .windows import Pair


def forward(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) from x (N, C, H, W), w (O, C/G, KH, KW) and bias (O,)."""
    return block_forward(x, w, bias, geometry, relu=False, pool=False)[0]


def input_gradient(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW): a transposed convolution."""
    back = conv_kernels.gathering(geometry, g.shape[2:], x_shape[2:])
    if back is None:
        return conv_kernels.conv_input(g, w, geometry, x_shape)
    return forward(g, conv_rows.turned(w), None, Geometry(back, 1))


def weight_gradient(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C/G, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    if conv_rows.suits(geometry, x.shape, w_shape, g.shape[2:]):
        w = np.broadcast_to(g.dtype.type(0), w_shape)  # not read
        return _rows_backward(g, None, None, x, w, geometry, g.shape[2:], (False, True, False))[1]
    return conv_kernels.conv_weight(x, g, geometry, w_shape)


def block_forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, relu: bool, pool: bool
) -> tuple[Array, Array | None]:
    """Convolution, then bias, ReLU and 2 × 2 max-pool where wanted: y and the pool's code."""
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])
    size = POOL.output_size("max_pool2d", out_size) if pool else out_size
    y = np.empty((x.shape[0], *size, w.shape[0]), x.dtype)
    code = np.empty(y.shape, np.uint8) if pool else None
    images, product = _product(x, w, geometry, out_size)
    shift = None if bias is None else np.tile(bias, out_size[1])  # long runs: (OW · O,)

    def task(part: slice) -> None:
        for chunk in chunks(part, images):
            out = y[chunk]
            z = out
            if code is not None:
                z = workspace("conv", (len(out), *out_size, y.shape[3]), y.dtype)
            product(x[chunk], z)
            if shift is not None:
                z.reshape(-1, len(shift))[...] += shift
            if code is not None:
                pool_chunk(z, out, code[chunk])
            if relu:
                relu_chunk(out, _at(code, chunk))

    by_parts(np, task, x.shape[0])
    return y.transpose(0, 3, 1, 2), None if code is None else code.transpose(0, 3, 1, 2)


def block_backward(
    grad: Array,
    x: Array,
    w: Array,
    y: Array | None,
    code: Array | None,
    geometry: Geometry,
    relu: bool,
    pool: bool,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """Gradients by x, w and bias of `block_forward`, as far as ``needs`` asks; y without a pool."""
    gate = y if relu and not pool else None
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])
    if conv_rows.suits(geometry, x.shape, w.shape, out_size):
        return _rows_backward(grad, gate, code, x, w, geometry, out_size, needs)
    if geometry.groups == 1 and not needs[0]:
        return _windows_backward(grad, gate, code, x, w, geometry)
    return block_kernels.backward(grad, x, w, y, code, geometry, relu, pool, needs)


# --- products of a chunk ------------------------------------------------------------------------


def _product(
    x: Array, w: Array, geometry: Geometry, out_size: Pair
) -> tuple[int, Callable[[Array, Array], None]]:
    """How many images make a chunk, and the function that convolves one into (n, OH, OW, O)."""
    if conv_rows.suits(geometry, x.shape, w.shape, out_size):
        rows, columns = conv_rows.shifts(geometry.windows)
        matrix = conv_rows.matrix_of(w)

        def by_rows(x: Array, out: Array) -> None:
            pixels = conv_rows.beside(last(x, "input"), columns, out_size[1])
            conv_rows.product(pixels, matrix, rows, out)

        return conv_rows.images_at_once(x.shape, len(columns), x.itemsize), by_rows
    by_group = conv_kernels.weight_matrix(w, geometry.groups)  # (G, K, O/G)

    def by_windows(x: Array, out: Array) -> None:
        windows = conv_kernels.windows_of(x, geometry, out_size)
        conv_kernels.product(conv_kernels.window_rows(windows, geometry.groups), by_group, out)

    return conv_kernels.images_at_once(x, geometry.windows.kernel, out_size), by_windows


def _rows_backward(
    grad: Array,
    gate: Array | None,
    code: Array | None,
    x: Array,
    w: Array,
    geometry: Geometry,
    out_size: Shape,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """Both products of the backward from one lay-out of the gradient, (n, OH, W, KW, O)."""
    (n, c, h, width), (o, _, kh, kw) = x.shape, w.shape
    rows, _ = conv_rows.shifts(geometry.windows)
    back_rows, back_columns = conv_rows.shifts(conv_rows.mirrored(geometry.windows))
    matrix = conv_rows.matrix_of(conv_rows.turned(w)) if needs[0] else None
    dx = np.empty((n, h, width, c), x.dtype) if needs[0] else None

    def task(part: slice) -> tuple[Array, Array]:
        dw, db = np.zeros((kh * c, kw * o), x.dtype), np.zeros((1, o), x.dtype)
        for chunk in chunks(part, images):
            given = grad[chunk]
            shape = (len(given), *out_size, o)
            wide, g = conv_rows.with_margins(shape, back_columns, width, x.dtype)
            open_chunk(given, _at(gate, chunk), _at(code, chunk), g)
            pixels = conv_rows.beside(wide, back_columns, width)
            if needs[2]:
                db += column_sums(wide)
            if dx is not None:
                conv_rows.product(pixels, matrix, back_rows, dx[chunk])
            if needs[1]:
                seen = conv_rows.above(last(x[chunk], "input"), rows, out_size[0])
                dw += seen.reshape(-1, kh * c).T @ pixels.reshape(-1, kw * o)
        return dw, db

    images = conv_rows.images_at_once((n, o, out_size[0], width), kw, x.itemsize)
    dw, db = _totals(by_parts(np, task, n))
    turned = dw.reshape(kh, c, kw, o)[:, :, ::-1].transpose(3, 1, 0, 2)
    return None if dx is None else dx.transpose(0, 3, 1, 2), turned, db[0]


def _windows_backward(
    grad: Array, gate: Array | None, code: Array | None, x: Array, w: Array, geometry: Geometry
) -> tuple[Array | None, ...]:
    """Gradients by w and bias, by im2col: for images of few channels, which need none by x."""
    o, c, kh, kw = w.shape
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])

    def task(part: slice) -> tuple[Array, Array]:
        dw, db = np.zeros((kh * kw * c, o), x.dtype), np.zeros((1, o), x.dtype)
        for chunk in chunks(part, images):
            given = grad[chunk]
            g = workspace("conv", (len(given), *out_size, o), x.dtype)
            open_chunk(given, _at(gate, chunk), _at(code, chunk), g)
            db += column_sums(g)
            rows = conv_kernels.window_rows(
                conv_kernels.windows_of(x[chunk], geometry, out_size), geometry.groups
            )
            dw += rows[0].T @ g.reshape(-1, o)
        return dw, db

    images = conv_kernels.images_at_once(x, geometry.windows.kernel, out_size)
    dw, db = _totals(by_parts(np, task, len(x)))
    return None, dw.reshape(kh, kw, c, o).transpose(3, 2, 0, 1), db[0]


def _totals(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Sums over the parts, in a fixed order: the same bits in every run."""
    dw, db = zip(*parts, strict=True)
    return sum(dw[1:], dw[0]), sum(db[1:], db[0])


def _at(array: Array | None, chunk: slice) -> Array | None:
    return None if array is None else array[chunk]


# --- a chunk in the cache -----------------------------------------------------------------------


def chunks(part: slice, step: int) -> Iterator[slice]:
    """``part`` cut into slices of ``step``."""
    for start in range(part.start, part.stop, step):
        yield slice(start, min(start + step, part.stop))


def last(x: Array, name: str) -> Array:
    """x (n, C, H, W) as (n, H, W, C) with its channels side by side, copied only if needed."""
    y = x.transpose(0, 2, 3, 1)
    if y.strides[3] == y.itemsize and y.strides[2] == y.shape[3] * y.itemsize:
        return y
    copy = workspace(name, y.shape, y.dtype)
    copy[...] = y
    return copy


def pool_chunk(z: Array, top: Array, code: Array) -> None:
    """The largest of each window of z (n, H, W, C), and the place of the first such element."""
    out = (top.shape[1], top.shape[2])
    a, b, c, d = (z[:, rows, columns] for _, rows, columns in POOL.each_tap(out))
    bottom = workspace("bottom", top.shape, top.dtype)
    np.maximum(a, b, out=top)
    np.maximum(c, d, out=bottom)
    right, lower_right, lower = b > a, d > c, bottom > top
    np.maximum(top, bottom, out=top)
    # right where the upper row has it, else 2 + lower_right: in bytes, which wrap around
    np.subtract(lower_right.view(np.uint8), right.view(np.uint8), out=code)
    code += np.uint8(2)
    code *= lower.view(np.uint8)
    code += right.view(np.uint8)


def relu_chunk(y: Array, code: Array | None) -> None:
    """max(y, 0) in place; where that is shut, the code says so."""
    np.maximum(y, y.dtype.type(0), out=y)
    if code is not None:
        shut = np.logical_not(y > 0).view(np.uint8)
        shut *= np.uint8(SHUT)
        np.maximum(code, shut, out=code)


def open_chunk(grad: Array, gate: Array | None, code: Array | None, out: Array) -> None:
    """out (n, OH, OW, O) = the gradient of the convolution from that of ReLU or pool, (n, O, …)."""
    given = last(grad, "grad")
    if code is not None:
        _, _, height, width = code.shape
        places = code.transpose(0, 2, 3, 1)
        for k, rows, columns in POOL.each_tap((height, width)):
            keep_where(given, places == k, out[:, rows, columns])
        out[:, 2 * height :] = 0
        out[:, :, 2 * width :] = 0
    elif gate is not None:
        keep_where(given, gate.transpose(0, 2, 3, 1) > 0, out)
    else:
        out[...] = given


def column_sums(rows: Array) -> Any:
    """Sums of rows (…, C), as (1, C): a product, since BLAS adds in blocks and rounds off less."""
    flat = rows.reshape(-1, rows.shape[-1])
    return blas.matmul(np.ones((1, len(flat)), rows.dtype), flat)
