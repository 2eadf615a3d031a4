"""Convolution on arrays: the three kernels, im2col and col2im.

Each kernel turns windows into rows of a matrix (im2col, Chellapilla et al. 2006) a few images at a
time, so that the matrix stays in the cache, and multiplies. Arrays are laid out N, H, W, C behind
logical (N, C, H, W): the windows' rows are then copied in long runs, and the product is the result
without another transposition. Letters are explained in `windows`; P = N · OH · OW (of a chunk),
K = KH · KW · C / G.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend import Array, array_module, blas
from ...backend.cpu_threads import by_parts, spans, workspace
from ...backend.dtypes import is_narrow
from ..common.layout import scratch_last, seen_last, seen_second
from ..common.windows import Geometry, Shape, Windows

CPU_CHUNK_BYTES = 1 << 20  # of the window matrix: with its product it stays in a core's cache
CUDA_CHUNK_BYTES = 1 << 30


# --- the three kernels --------------------------------------------------------------------------


def fprop(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) from x (N, C, H, W), w (O, C/G, KH, KW) and bias (O,)."""
    xp = array_module(x)
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])
    y = xp.empty((x.shape[0], *out_size, w.shape[0]), x.dtype)
    matrix = weight_matrix(w, geometry.groups)  # (G, K, O/G)

    def task(part: slice) -> None:
        windows, out = windows_of(x[part], geometry, out_size), y[part]
        for chunk in _chunks(windows):
            rows = window_rows(windows[chunk], geometry.groups)  # (G, P, K)
            product(rows, matrix, out[chunk])
            if bias is not None:
                out[chunk] += bias

    by_parts(xp, task, x.shape[0])
    return seen_second(y)


def dgrad(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW): a transposed convolution."""
    back = gathering(geometry, g.shape[2:], x_shape[2:])
    if back is None:
        return _scatter_input(g, w, geometry, x_shape)
    return fprop(g, turned(w), None, Geometry(back, 1))


def gathering(geometry: Geometry, out_size: Shape, size: Shape) -> Windows | None:
    """The windows of g that an input pixel gathers from: faster than adding tap after tap.

    None with groups, strides, and where ``size`` (H, W) is not what they lead back to: padding
    wider than the kernel's reach, or an output_padding.
    """
    back = geometry.windows.mirrored
    if geometry.groups > 1 or geometry.windows.stride != (1, 1) or min(back.padding) < 0:
        return None
    fits = back.output_size("conv_transpose2d", out_size) == tuple(size)
    return back if fits else None


def _scatter_input(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """`dgrad` for any geometry: each output pixel's windows added up where they lie."""
    xp = array_module(g)
    windows, groups = geometry.windows, geometry.groups
    n, c, h, width = x_shape
    dx = xp.empty((n, h, width, c), g.dtype)
    matrix = weight_matrix(w, groups).transpose(0, 2, 1)  # (G, O/G, K)
    shape = (*g.shape[2:], groups, *windows.kernel, c // groups)

    def task(part: slice) -> None:
        grad, out = scratch_last(g[part], "grad"), dx[part]
        for chunk in spans(len(out), _step(xp, math.prod(shape) * g.dtype.itemsize)):
            rows = _empty(xp, "rows", (len(out[chunk]), *shape), g.dtype)
            _product_rows(grad[chunk], matrix, rows)
            add_windows(rows, windows, out[chunk])

    by_parts(xp, task, n)
    return seen_second(dx)


def whole(geometry: Geometry, x_shape: Shape, g_shape: Shape) -> bool:
    """Whether g has a pixel for every window of x.

    Behind a transposed convolution whose output is padded it may have less.
    """
    return geometry.windows.output_size("conv2d", x_shape[2:]) == tuple(g_shape[2:])


def wgrad(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C/G, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    xp = array_module(x)
    groups, out_size = geometry.groups, (g.shape[2], g.shape[3])
    o, c, kh, kw = w_shape

    def task(part: slice) -> Array:
        dtype = np.float32 if is_narrow(x.dtype) else x.dtype
        total = xp.zeros((groups, c * kh * kw, o // groups), dtype)
        windows, grad = windows_of(x[part], geometry, out_size), scratch_last(g[part], "grad")
        for chunk in _chunks(windows):
            rows = window_rows(windows[chunk], groups)  # (G, P, K)
            total += blas.matmul(rows.transpose(0, 2, 1), _grouped(grad[chunk], groups))
        return total

    parts = by_parts(xp, task, x.shape[0])
    matrix = sum(parts[1:], parts[0])  # in a fixed order: the same bits in every run
    by_output = matrix.reshape(groups, kh, kw, c, o // groups).transpose(0, 4, 3, 1, 2)
    return by_output.reshape(w_shape).astype(x.dtype, copy=False)


def images_at_once(x: Array, kernel: Shape, out_size: Shape) -> int:
    """How many images of x (N, C, H, W) make a window matrix of the right size."""
    taps = math.prod(kernel) * math.prod(out_size)
    return _step(array_module(x), taps * x.shape[1] * x.dtype.itemsize)


def _step(xp: Any, image_bytes: int) -> int:
    """How many images to take at once when each fills ``image_bytes`` of the window matrix."""
    limit = CPU_CHUNK_BYTES if xp is np else CUDA_CHUNK_BYTES
    return max(1, limit // max(image_bytes, 1))


def _chunks(windows: Array) -> list[slice]:
    """The images of ``windows`` (n, OH, OW, KH, KW, C) in slices, one window matrix each."""
    xp = array_module(windows)
    return spans(len(windows), _step(xp, math.prod(windows.shape[1:]) * windows.dtype.itemsize))


def _empty(xp: Any, name: str, shape: Shape, dtype: Any) -> Array:
    return workspace(name, shape, dtype) if xp is np else xp.empty(shape, dtype)


def weight_matrix(w: Array, groups: int) -> Array:
    """(O, C/G, KH, KW) → (G, K, O/G), taps before channels within K."""
    o, c, kh, kw = w.shape
    taps_first = w.reshape(groups, o // groups, c, kh, kw).transpose(0, 3, 4, 2, 1)
    return array_module(w).ascontiguousarray(taps_first).reshape(groups, kh * kw * c, o // groups)


def turned(w: Array) -> Array:
    """w (O, C, KH, KW) for the way back: (C, O, KH, KW), turned by 180°."""
    return w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


def windows_of(x: Array, geometry: Geometry, out_size: Shape) -> Array:
    """All windows of x (n, C, H, W), zeros around it, as a view (n, OH, OW, KH, KW, C)."""
    return geometry.windows.view(padded_images(x, geometry.windows), out_size)


def padded_images(x: Array, windows: Windows) -> Array:
    """x (n, C, H, W) as (n, H + 2 pad, W + 2 pad, C), zeros around."""
    if windows.padding == (0, 0):
        return scratch_last(x, "input")
    n, c, h, w = x.shape
    padded = _empty(array_module(x), "input", (n, *windows.padded_size((h, w)), c), x.dtype)
    padded[...] = 0
    padded[:, *windows.inside((h, w))] = seen_last(x)
    return padded


def window_rows(windows: Array, groups: int) -> Array:
    """im2col: ``windows`` (n, OH, OW, KH, KW, C) copied out as rows, (G, P, K)."""
    xp = array_module(windows)
    n, oh, ow, kh, kw, c = windows.shape
    size = (n * oh * ow, kh * kw * c // groups)  # (P, K)
    if groups > 1:
        split = windows.reshape(n, oh, ow, kh, kw, groups, c // groups)
        rows = _empty(xp, "rows", (groups, n, oh, ow, kh, kw, c // groups), windows.dtype)
        rows[...] = split.transpose(5, 0, 1, 2, 3, 4, 6)
        return rows.reshape(groups, *size)
    if c >= 8:
        rows = _empty(xp, "rows", windows.shape, windows.dtype)
        rows[...] = windows
        return rows.reshape(1, *size)
    # With few channels a tap's pixels make longer runs than a pixel's taps: fill by columns.
    columns = _empty(xp, "rows", (kh, kw, c, n, oh, ow), windows.dtype)
    columns[...] = windows.transpose(3, 4, 5, 0, 1, 2)
    return columns.reshape(1, size[1], size[0]).transpose(0, 2, 1)


def _grouped(x: Array, groups: int) -> Array:
    """(n, OH, OW, O) → (G, P, O/G)."""
    rows = x.reshape(-1, groups, x.shape[3] // groups)  # (P, G, O/G)
    return rows.transpose(1, 0, 2)


def product(rows: Array, matrix: Array, y: Array) -> None:
    """y (n, OH, OW, O) = rows (G, P, K) @ matrix (G, K, O/G)."""
    if len(rows) == 1:
        blas.matmul(rows[0], matrix[0], out=y.reshape(-1, y.shape[3]))
    else:
        y.reshape(-1, len(rows), matrix.shape[2])[...] = blas.matmul(rows, matrix).transpose(
            1, 0, 2
        )


def _product_rows(grad: Array, matrix: Array, rows: Array) -> None:
    """rows (n, OH, OW, G, KH, KW, C/G) = grad (n, OH, OW, O) by groups @ matrix (G, O/G, K)."""
    groups = len(matrix)
    if groups == 1:
        blas.matmul(
            grad.reshape(-1, grad.shape[3]), matrix[0], out=rows.reshape(-1, matrix.shape[2])
        )
    else:
        product = blas.matmul(_grouped(grad, groups), matrix)  # (G, P, K)
        rows.reshape(-1, groups, matrix.shape[2])[...] = product.transpose(1, 0, 2)


def add_windows(rows: Array, windows: Windows, dx: Array) -> None:
    """col2im: dx (n, H, W, C) = the sum over taps of rows (n, OH, OW, G, KH, KW, C/G)."""
    n, oh, ow, groups, kh, kw, c = rows.shape
    size = dx.shape[1:3]
    target, dtype = dx, np.float32 if is_narrow(dx.dtype) else dx.dtype
    if windows.padding != (0, 0) or dtype != dx.dtype:
        shape = (n, *windows.padded_size(size), dx.shape[3])
        target = _empty(array_module(dx), "input", shape, dtype)
    target[...] = 0
    by_tap = rows.reshape(n, oh, ow, groups, kh * kw, c)
    split = target.reshape(*target.shape[:3], groups, c)
    for k, tap in windows.each_tap((oh, ow)):
        split[:, *tap] += by_tap[:, :, :, :, k]
    if target is not dx:
        dx[...] = target[:, *windows.inside(size)]
