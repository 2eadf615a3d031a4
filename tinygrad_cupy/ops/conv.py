"""Convolution, its two gradients, transposed convolution, and im2col / col2im.

Convolution is linear in its input x and in its weight w; with a gradient g of its output it is one
trilinear form  Σ x · w · g  over all pixels, taps and channels. Its three partial derivatives are
the three kernels here, and the backward of each calls the other two: gradients of any order stay on
the same fast paths (as in Chainer's ``convolution_2d``).

Each kernel turns windows into rows of a matrix (im2col, Chellapilla et al. 2006) a few images at a
time, so that the matrix stays in the cache, and multiplies. Arrays are laid out N, H, W, C behind
logical (N, C, H, W): the windows' rows are then copied in long runs, and the product is the result
without another transposition. Letters are explained in `windows`; P = N · OH · OW (of a chunk),
K = KH · KW · C / G.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import blas
from ..autograd import Op, TensorBase
from ..backend import Array, array_module
from ..parallel import by_parts, spans, workspace
from .windows import Pair, Windows, pair

if TYPE_CHECKING:
    from ..tensor import Tensor

Shape = tuple[int, ...]

CPU_CHUNK_BYTES = 1 << 20  # of the window matrix: with its product it stays in a core's cache
CUDA_CHUNK_BYTES = 1 << 30


@dataclass(frozen=True)
class Geometry:
    """The windows of a convolution, and into how many groups its channels fall."""

    windows: Windows
    groups: int


# --- the three kernels --------------------------------------------------------------------------


def conv_forward(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) from x (N, C, H, W), w (O, C/G, KH, KW) and bias (O,)."""
    xp = array_module(x)
    out_size = geometry.windows.output_size("conv2d", x.shape[2:])
    y = xp.empty((x.shape[0], *out_size, w.shape[0]), x.dtype)
    matrix = _weight_matrix(w, geometry.groups)  # (G, K, O/G)

    def task(part: slice) -> None:
        windows, out = _windows(x[part], geometry, out_size), y[part]
        for chunk in _chunks(windows):
            rows = _window_rows(windows[chunk], geometry.groups)  # (G, P, K)
            _product(rows, matrix, out[chunk])
            if bias is not None:
                out[chunk] += bias

    by_parts(xp, task, x.shape[0])
    return y.transpose(0, 3, 1, 2)


def conv_input(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW): a transposed convolution."""
    if geometry.groups == 1 and geometry.windows.stride == (1, 1):
        mirrored = _mirrored(geometry.windows)
        if mirrored is not None:  # gathering is faster than adding tap after tap
            flipped = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)  # (C, O, KH, KW)
            return conv_forward(g, flipped, None, Geometry(mirrored, 1))
    return _scatter_input(g, w, geometry, x_shape)


def _mirrored(windows: Windows) -> Windows | None:
    """The windows that lead back from the output of a convolution with stride 1 to its input."""
    reach = [d * (k - 1) for d, k in zip(windows.dilation, windows.kernel, strict=True)]
    padding = (reach[0] - windows.padding[0], reach[1] - windows.padding[1])
    if min(padding) < 0:
        return None
    return Windows(windows.kernel, windows.stride, padding, windows.dilation)


def _scatter_input(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """`conv_input` for any geometry: each output pixel's windows added up where they lie."""
    xp = array_module(g)
    windows, groups = geometry.windows, geometry.groups
    n, c, h, width = x_shape
    dx = xp.empty((n, h, width, c), g.dtype)
    matrix = _weight_matrix(w, groups).transpose(0, 2, 1)  # (G, O/G, K)
    shape = (*g.shape[2:], groups, *windows.kernel, c // groups)

    def task(part: slice) -> None:
        grad, out = _channels_last(g[part], "grad"), dx[part]
        for chunk in spans(len(out), _step(xp, math.prod(shape) * g.dtype.itemsize)):
            rows = _empty(xp, "rows", (len(out[chunk]), *shape), g.dtype)
            _product_rows(grad[chunk], matrix, rows)
            _add_windows(rows, windows, out[chunk])

    by_parts(xp, task, n)
    return dx.transpose(0, 3, 1, 2)


def conv_weight(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C/G, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    xp = array_module(x)
    groups, out_size = geometry.groups, (g.shape[2], g.shape[3])
    o, c, kh, kw = w_shape

    def task(part: slice) -> Array:
        total = xp.zeros((groups, c * kh * kw, o // groups), x.dtype)
        windows, grad = _windows(x[part], geometry, out_size), _channels_last(g[part], "grad")
        for chunk in _chunks(windows):
            rows = _window_rows(windows[chunk], groups)  # (G, P, K)
            total += blas.matmul(rows.transpose(0, 2, 1), _grouped(grad[chunk], groups))
        return total

    parts = by_parts(xp, task, x.shape[0])
    matrix = sum(parts[1:], parts[0])  # in a fixed order: the same bits in every run
    return matrix.reshape(groups, kh, kw, c, o // groups).transpose(0, 4, 3, 1, 2).reshape(w_shape)


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


def _weight_matrix(w: Array, groups: int) -> Array:
    """(O, C/G, KH, KW) → (G, K, O/G), taps before channels within K."""
    o, c, kh, kw = w.shape
    taps_first = w.reshape(groups, o // groups, c, kh, kw).transpose(0, 3, 4, 2, 1)
    return array_module(w).ascontiguousarray(taps_first).reshape(groups, kh * kw * c, o // groups)


def _channels_last(x: Array, name: str) -> Array:
    """x (n, C, H, W) as a contiguous (n, H, W, C), copied only if it is not laid out so."""
    last = x.transpose(0, 2, 3, 1)
    if last.flags.c_contiguous:
        return last
    copy = _empty(array_module(x), name, last.shape, x.dtype)
    copy[...] = last
    return copy


def _windows(x: Array, geometry: Geometry, out_size: Pair) -> Array:
    """All windows of x (n, C, H, W), zeros around it, as a view (n, OH, OW, KH, KW, C)."""
    return geometry.windows.view(_padded(x, geometry.windows), out_size)


def _padded(x: Array, windows: Windows) -> Array:
    """x (n, C, H, W) as (n, H + 2 pad, W + 2 pad, C), zeros around."""
    if windows.padding == (0, 0):
        return _channels_last(x, "input")
    n, c, h, w = x.shape
    padded = _empty(array_module(x), "input", (n, *windows.padded_size((h, w)), c), x.dtype)
    padded[...] = 0
    padded[:, *windows.inside((h, w))] = x.transpose(0, 2, 3, 1)
    return padded


def _window_rows(windows: Array, groups: int) -> Array:
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


def _product(rows: Array, matrix: Array, y: Array) -> None:
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


def _add_windows(rows: Array, windows: Windows, dx: Array) -> None:
    """col2im: dx (n, H, W, C) = the sum over taps of rows (n, OH, OW, G, KH, KW, C/G)."""
    n, oh, ow, groups, kh, kw, c = rows.shape
    size = dx.shape[1:3]
    target = dx
    if windows.padding != (0, 0):
        target = _empty(
            array_module(dx), "input", (n, *windows.padded_size(size), dx.shape[3]), dx.dtype
        )
    target[...] = 0
    by_tap = rows.reshape(n, oh, ow, groups, kh * kw, c)
    split = target.reshape(*target.shape[:3], groups, c)
    for k, vertical, horizontal in windows.each_tap((oh, ow)):
        split[:, vertical, horizontal] += by_tap[:, :, :, :, k]
    if target is not dx:
        dx[...] = target[:, *windows.inside(size)]


# --- the operations -----------------------------------------------------------------------------


class Conv2d(Op):
    """y = x ⋆ w + bias."""

    saves = ("x", "weight")

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        return conv_forward(x, weight, bias, self.geometry)

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        found = (
            ConvInput(self.geometry, x.shape)(grad, weight) if self.needs[0] else None,
            ConvWeight(self.geometry, weight.shape)(x, grad) if self.needs[1] else None,
        )
        if len(self.needs) == 2:
            return found
        return (*found, grad.sum(axis=(0, 2, 3)) if self.needs[2] else None)


class ConvInput(Op):
    """The gradient of convolution by its input; also transposed convolution."""

    saves = ("g", "weight")

    def __init__(self, geometry: Geometry, x_shape: Shape) -> None:
        self.geometry, self.x_shape = geometry, x_shape

    def forward(self, g: Array, weight: Array) -> Array:
        return conv_input(g, weight, self.geometry, self.x_shape)

    def backward(self, grad: Tensor, g: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        return (
            Conv2d(self.geometry)(grad, weight) if self.needs[0] else None,
            ConvWeight(self.geometry, weight.shape)(grad, g) if self.needs[1] else None,
        )


class ConvWeight(Op):
    """The gradient of convolution by its weight."""

    saves = ("x", "g")

    def __init__(self, geometry: Geometry, w_shape: Shape) -> None:
        self.geometry, self.w_shape = geometry, w_shape

    def forward(self, x: Array, g: Array) -> Array:
        return conv_weight(x, g, self.geometry, self.w_shape)

    def backward(self, grad: Tensor, x: Tensor, g: Tensor) -> tuple[Tensor | None, ...]:
        return (
            ConvInput(self.geometry, x.shape)(g, grad) if self.needs[0] else None,
            Conv2d(self.geometry)(x, grad) if self.needs[1] else None,
        )


class Unfold(Op):
    """im2col: windows of x (N, C, H, W) as columns, (N, C · KH · KW, L), L = OH · OW."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        out = self.windows.output_size("unfold", self.size)
        view = self.windows.view(_padded(x, self.windows), out)  # (N, OH, OW, KH, KW, C)
        columns = view.transpose(0, 5, 3, 4, 1, 2).copy()
        return columns.reshape(x.shape[0], x.shape[1] * self.windows.taps, out[0] * out[1])

    def backward(self, grad: Tensor) -> Tensor:
        return Fold(self.windows, self.size)(grad)


class Fold(Op):
    """col2im: columns (N, C · KH · KW, L) added up where their windows lie, (N, C, H, W)."""

    def __init__(self, windows: Windows, size: Pair) -> None:
        self.windows, self.size = windows, size

    def forward(self, columns: Array) -> Array:
        n, c = columns.shape[0], columns.shape[1] // self.windows.taps
        out = self.windows.output_size("fold", self.size)
        rows = columns.reshape(n, c, *self.windows.kernel, *out).transpose(0, 4, 5, 2, 3, 1)
        dx = self.xp.empty((n, *self.size, c), columns.dtype)
        _add_windows(rows[:, :, :, None], self.windows, dx)
        return dx.transpose(0, 3, 1, 2)

    def backward(self, grad: Tensor) -> Tensor:
        return Unfold(self.windows)(grad)


class ConvMixin(TensorBase):
    """Convolutions as methods."""

    __slots__ = ()

    def conv2d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Tensor:
        """Cross-correlation of self (N, C, H, W) with weight (O, C/groups, KH, KW), plus bias (O,).

        stride, padding (zeros, on both sides) and dilation are in pixels, one number or
        (vertical, horizontal). Result: (N, O, OH, OW) with
        OH = ⌊(H + 2 padding - dilation (KH - 1) - 1) / stride⌋ + 1, OW likewise.
        """
        x, weight = _same_dtype("conv2d", self, weight)
        if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
            raise ValueError(
                f"[conv2d] expected {weight.shape[1] * groups} input channels and output channels "
                f"divisible by groups={groups} for weight {weight.shape}, got {x.shape[1]} input "
                f"channels (input shape {x.shape})"
            )
        windows = Windows.parse("conv2d", weight.shape[2:], stride, padding, dilation)
        op = Conv2d(Geometry(windows, groups))
        return op(x, weight, *_bias("conv2d", bias, weight.shape[0], x))

    def conv_transpose2d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
    ) -> Tensor:
        """The adjoint of `conv2d`: self (N, C, H, W), weight (C, O/groups, KH, KW), bias (O,).

        Result: (N, O, OH, OW) with
        OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1, OW likewise.
        output_padding, below stride or dilation, chooses among the sizes that `conv2d` would
        bring to H.
        """
        x, weight = _same_dtype("conv_transpose2d", self, weight)
        if x.shape[1] != weight.shape[0] or weight.shape[0] % groups:
            raise ValueError(
                f"[conv_transpose2d] expected {weight.shape[0]} input channels, divisible by "
                f"groups={groups}, for weight {weight.shape}, got {x.shape[1]} (input shape "
                f"{x.shape})"
            )
        windows = Windows.parse("conv_transpose2d", weight.shape[2:], stride, padding, dilation)
        extra = pair(output_padding, "[conv_transpose2d] output_padding", 0)
        steps = zip(extra, windows.stride, windows.dilation, strict=True)
        if any(e >= max(s, d) for e, s, d in steps):
            raise ValueError(
                f"[conv_transpose2d] expected output_padding below stride {windows.stride} or "
                f"dilation {windows.dilation}, got {extra}"
            )
        size = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + e + 1
            for n, k, s, p, d, e in zip(
                x.shape[2:],
                windows.kernel,
                windows.stride,
                windows.padding,
                windows.dilation,
                extra,
                strict=True,
            )
        )
        if min(size) < 1:
            raise ValueError(
                f"[conv_transpose2d] padding {windows.padding} leaves nothing of input {x.shape}"
            )
        channels = weight.shape[1] * groups
        op = ConvInput(Geometry(windows, groups), (x.shape[0], channels, *size))
        y = op(x, weight)
        for b in _bias("conv_transpose2d", bias, channels, x):
            y = y + b.reshape(-1, 1, 1)
        return y

    def unfold(
        self,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> Tensor:
        """im2col: the windows of self (N, C, H, W) as columns, (N, C · KH · KW, OH · OW)."""
        _expect_images("unfold", self)
        return Unfold(Windows.parse("unfold", kernel_size, stride, padding, dilation))(self)

    def fold(
        self,
        output_size: int | Pair,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> Tensor:
        """col2im, the adjoint of `unfold`: (N, C · KH · KW, L) → (N, C, *output_size)."""
        windows = Windows.parse("fold", kernel_size, stride, padding, dilation)
        size = pair(output_size, "[fold] output_size", 1)
        out = windows.output_size("fold", size)
        shape = self.shape
        if len(shape) != 3 or shape[1] % windows.taps or shape[2] != out[0] * out[1]:
            raise ValueError(
                f"[fold] expected shape (N, C · {windows.taps}, {out[0] * out[1]}), got {shape}"
            )
        return Fold(windows, size)(self)


def _expect_images(op: str, x: TensorBase) -> None:
    if len(x.shape) != 4:
        raise ValueError(f"[{op}] expected an input of shape (N, C, H, W), got {x.shape}")


def _same_dtype(op: str, x: Any, weight: Any) -> tuple[Tensor, Tensor]:
    """Both promoted to one dtype, their axes counted."""
    _expect_images(op, x)
    if len(weight.shape) != 4:
        raise ValueError(f"[{op}] expected a weight of 4 axes, got {weight.shape}")
    dtype = np.result_type(x.dtype, weight.dtype)
    return x.astype(dtype), weight.astype(dtype)


def _bias(op: str, bias: Tensor | None, channels: int, x: Tensor) -> tuple[Tensor, ...]:
    if bias is None:
        return ()
    if bias.shape != (channels,):
        raise ValueError(f"[{op}] expected a bias of shape ({channels},), got {bias.shape}")
    return (bias.astype(x.dtype),)
