"""Convolution on the CPU, with bias, ReLU and max-pool done while a chunk is in the cache.

What `native` suits goes through C, where the machine has a compiler. Through NumPy a batch is
split over the threads, and each part worked off a few images at a time: products by rows
(`row_lowering`) where that is faster, else by im2col (`reference`). What is pooled away is never
written to memory, and a gradient is spread out again in the cache. Letters are explained in
`windows`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...backend import Array, blas
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import by_parts, workspace
from ...backend.dtypes import through_single
from ..common import sums
from ..common.cache_blocks import at, chunks, column_sums, open_chunk, pool_chunk, relu_chunk
from ..common.layout import scratch_last, seen_last, seen_second
from ..common.pool2x2 import POOL
from ..common.windows import Geometry, Shape
from . import fused_reference, grouped_cpu, native, reference, row_lowering
from .epilogue import Epilogue

Into = Callable[[Array, Array], None]  # convolves a chunk x (n, C, H, W) into out (n, OH, OW, O)


def fprop(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) from x (N, C, H, W), w (O, C/G, KH, KW) and bias (O,)."""
    if grouped_cpu.suits(x, w, geometry):
        return grouped_cpu.fprop(x, w, bias, geometry)
    return fused_forward(x, w, bias, geometry, Epilogue())[0]


def dgrad(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW): a transposed convolution."""
    if grouped_cpu.suits(g, w, geometry):
        return grouped_cpu.dgrad(g, w, geometry, x_shape)
    if native.suits(g, w, geometry):
        return native.dgrad(g, w, geometry, x_shape)
    back = reference.gathering(geometry, g.shape[2:], x_shape[2:])
    if back is None:
        return reference.dgrad(g, w, geometry, x_shape)
    return fprop(g, reference.turned(w), None, Geometry(back, 1))


def wgrad(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C/G, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    if grouped_cpu.suits(x, g, geometry):
        return grouped_cpu.wgrad(x, g, geometry, w_shape)
    if native.suits(x, g, geometry) and reference.whole(geometry, x.shape, g.shape):
        return native.wgrad(x, g, geometry, w_shape)
    w = np.broadcast_to(g.dtype.type(0), w_shape)  # its shape alone matters
    if row_lowering.suits(geometry, x.shape, w_shape, g.shape[2:]):
        return _rows_backward(g, None, None, x, w, geometry, g.shape[2:], (False, True, False))[1]
    return reference.wgrad(x, g, geometry, w_shape)


def wgrad_and_bias(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> tuple[Array, Array]:
    """`wgrad` and the sum of g; of 16 bits each is rounded once."""
    return through_single(wgrad)(x, g, geometry, w_shape), sums.total(g, (0, 2, 3))


def backward(
    g: Array, x: Array, w: Array, geometry: Geometry, by_bias: bool
) -> tuple[Array, Array, Array | None]:
    """Gradients by x, w and a bias: C has all from one copy of g in the cache."""
    if native.suits(x, w, geometry):
        dx, dw, db = native.backward(g, x, w, None, None, geometry, (True, True, by_bias))
        return dx, dw, db
    dx = through_single(dgrad)(g, w, geometry, tuple(x.shape))
    if by_bias:
        return dx, *wgrad_and_bias(x, g, geometry, w.shape)
    return dx, through_single(wgrad)(x, g, geometry, w.shape), None


def wgrad_each(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """The weight gradient of each element, by im2col; the elements are dealt to the threads."""
    count, o, c, kh, kw = w_shape
    out_size = (g.shape[3], g.shape[4])
    dw = aligned_empty((count, o, c, kh, kw), x.dtype)

    def task(part: slice) -> None:
        for i in range(part.start, part.stop):
            windows = reference.windows_of(x[i], geometry, out_size)
            rows = reference.window_rows(windows, 1)[0]  # (N · OH · OW, KH · KW · C)
            by_place = g[i].transpose(1, 0, 2, 3).reshape(o, -1)  # (O, N · OH · OW)
            taps_first = blas.matmul(by_place, rows).reshape(o, kh, kw, c)
            dw[i] = taps_first.transpose(0, 3, 1, 2)

    by_parts(np, task, count)
    return dw


def fused_forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, epilogue: Epilogue
) -> tuple[Array, Array | None]:
    """Convolution, then bias, ReLU and 2 × 2 max-pool where wanted: y and the pool's argmax."""
    relu, pool = epilogue
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])
    size = POOL.output_size("max_pool2d", out_size) if pool else out_size
    if native.suits(x, w, geometry):
        return native.forward(x, w, bias, geometry, epilogue)
    y = aligned_empty((x.shape[0], *size, w.shape[0]), x.dtype)
    argmax = aligned_empty(y.shape, np.uint8) if pool else None
    by_rows = row_lowering.suits(geometry, x.shape, w.shape, out_size)
    lowering = _ByRows if by_rows else _ByWindows
    product = lowering(x, w, bias, geometry, out_size)

    def task(part: slice) -> None:
        into = product.of_part(part)
        z = workspace("conv", (product.images, *out_size, len(w)), x.dtype) if pool else y
        for chunk in chunks(part, product.images):
            out = y[chunk]
            if argmax is None:
                into(x[chunk], out)
            else:
                conv = z[: len(out)]
                into(x[chunk], conv)
                pool_chunk(conv, out, argmax[chunk])
            if relu:
                relu_chunk(out, at(argmax, chunk))

    by_parts(np, task, x.shape[0])
    return seen_second(y), None if argmax is None else seen_second(argmax)


def fused_backward(
    grad: Array,
    x: Array,
    w: Array,
    y: Array | None,
    argmax: Array | None,
    geometry: Geometry,
    epilogue: Epilogue,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """Gradients by x, w and bias of `fused_forward`, as far as ``needs`` asks; y without a pool."""
    relu_y = y if epilogue.relu and not epilogue.pool else None
    if native.suits(x, w, geometry):
        return native.backward(grad, x, w, relu_y, argmax, geometry, needs)
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])
    if row_lowering.suits(geometry, x.shape, w.shape, out_size):
        return _rows_backward(grad, relu_y, argmax, x, w, geometry, out_size, needs)
    if geometry.groups == 1 and not needs[0]:
        return _windows_backward(grad, relu_y, argmax, x, w, geometry)
    return fused_reference.backward(grad, x, w, y, argmax, geometry, epilogue, needs)


def prepare_backward(x: Array, w: Array, geometry: Geometry, epilogue: Epilogue) -> None:
    """Nothing: C is compiled in the background, for both ways at once."""


# --- products of a chunk ------------------------------------------------------------------------


class _ByRows:
    """Products of chunks of ``images`` by rows."""

    def __init__(
        self, x: Array, w: Array, bias: Array | None, geometry: Geometry, out_size: Shape
    ) -> None:
        self.rows, self.columns = row_lowering.shifts(geometry.windows)
        self.matrix = row_lowering.matrix_of(w)
        self.start = w.dtype.type(0) if bias is None else bias
        self.shape, self.out_size = (*x.shape[2:], x.shape[1]), out_size
        image = x.shape[1] * x.shape[2] * out_size[1] * len(self.columns) * x.itemsize
        self.images = max(1, row_lowering.CHUNK_BYTES // max(image, 1))

    def of_part(self, part: slice) -> Into:
        count = min(self.images, part.stop - part.start)
        height, width = self.out_size
        pixels = row_lowering.Beside(count, self.shape, self.columns, width, self.matrix.dtype)
        product = row_lowering.Product(
            count, (self.shape[0], width), self.matrix, self.rows, height
        )

        def into(x: Array, out: Array) -> None:
            pixels.images[: len(x)] = seen_last(x)
            product.into(out, pixels.laid_out(len(x)), self.start)

        return into


class _ByWindows:
    """Products of chunks of ``images`` by im2col."""

    def __init__(
        self, x: Array, w: Array, bias: Array | None, geometry: Geometry, out_size: Shape
    ) -> None:
        self.geometry, self.out_size = geometry, out_size
        self.matrix = reference.weight_matrix(w, geometry.groups)  # (G, K, O/G)
        self.bias = None if bias is None else np.tile(bias, out_size[1])  # long runs: (OW · O,)
        self.images = reference.images_at_once(x, geometry.windows.kernel, out_size)

    def of_part(self, part: slice) -> Into:
        def into(x: Array, out: Array) -> None:
            windows = reference.windows_of(x, self.geometry, self.out_size)
            rows = reference.window_rows(windows, self.geometry.groups)
            reference.product(rows, self.matrix, out)
            if self.bias is not None:
                lines = out.reshape(-1, len(self.bias))
                lines += self.bias

        return into


def _rows_backward(
    grad: Array,
    relu_y: Array | None,
    argmax: Array | None,
    x: Array,
    w: Array,
    geometry: Geometry,
    out_size: Shape,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """Both products of the backward from one lay-out of the gradient, (n, OH, W, KW, O)."""
    (n, c, h, width), (o, _, kh, kw) = x.shape, w.shape
    rows, _ = row_lowering.shifts(geometry.windows)
    back_rows, back_columns = row_lowering.shifts(geometry.windows.mirrored)
    matrix = row_lowering.matrix_of(reference.turned(w))
    dx = aligned_empty((n, h, width, c), x.dtype) if needs[0] else None
    image = out_size[0] * width * kw * o * x.itemsize
    images = max(1, row_lowering.CHUNK_BYTES // max(image, 1))

    def task(part: slice) -> tuple[Array, Array]:
        dw, db = np.zeros((kh * c, kw * o)), np.zeros(o)
        count = min(images, part.stop - part.start)
        gradient = row_lowering.Beside(count, (*out_size, o), back_columns, width, x.dtype)
        seen = row_lowering.Above(count, (h, width, c), rows, out_size[0], x.dtype)
        product = row_lowering.Product(count, (out_size[0], width), matrix, back_rows, h)
        for chunk in chunks(part, images):
            m = chunk.stop - chunk.start
            open_chunk(grad[chunk], at(relu_y, chunk), at(argmax, chunk), gradient.images[:m])
            pixels = gradient.laid_out(m)
            if needs[2]:
                db += column_sums(gradient.wide[:m])
            if dx is not None:
                product.into(dx[chunk], pixels, x.dtype.type(0))
            if needs[1]:
                dw += blas.matmul(seen.laid_out(scratch_last(x[chunk], "input")).T, pixels)
        return dw, db

    dw, db = _totals(by_parts(np, task, n), x.dtype)
    turned = dw.reshape(kh, c, kw, o)[:, :, ::-1].transpose(3, 1, 0, 2)
    return None if dx is None else seen_second(dx), turned, db


def _windows_backward(
    grad: Array, relu_y: Array | None, argmax: Array | None, x: Array, w: Array, geometry: Geometry
) -> tuple[Array | None, ...]:
    """Gradients by w and bias, by im2col: for images of few channels, which need none by x."""
    o, c, kh, kw = w.shape
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])

    def task(part: slice) -> tuple[Array, Array]:
        dw, db = np.zeros((kh * kw * c, o)), np.zeros(o)
        for chunk in chunks(part, images):
            given = grad[chunk]
            g = workspace("conv", (len(given), *out_size, o), x.dtype)
            open_chunk(given, at(relu_y, chunk), at(argmax, chunk), g)
            db += column_sums(g)
            rows = reference.window_rows(
                reference.windows_of(x[chunk], geometry, out_size), geometry.groups
            )
            dw += blas.matmul(rows[0].T, g.reshape(-1, o))
        return dw, db

    images = reference.images_at_once(x, geometry.windows.kernel, out_size)
    dw, db = _totals(by_parts(np, task, len(x)), x.dtype)
    return None, dw.reshape(kh, kw, c, o).transpose(3, 2, 0, 1), db


def _totals(parts: list[tuple[Array, Array]], dtype: np.dtype) -> tuple[Array, Array]:
    """Sums over the parts, in a fixed order: the same bits in every run."""
    dw, db = (sum(some[1:], some[0]).astype(dtype) for some in zip(*parts, strict=True))
    return dw, db
