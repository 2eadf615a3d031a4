"""Convolution, its two gradients, transposed convolution, and im2col / col2im.

Convolution is linear in its input x and in its weight w; with a gradient g of its output it is one
trilinear form  Σ x · w · g  over all pixels, taps and channels. Its three partial derivatives are
three kernels (`kernels.conv`: fprop, dgrad, wgrad), and the backward of each calls the other two:
gradients of any order stay on the same fast paths (as in Chainer's ``convolution_2d``). Letters are
explained in `kernels.common.windows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .. import kernels
from ..autograd import FusedOp, Op, TensorBase
from ..autograd.batching import joined_axis, split_axis
from ..autograd.mode import mode
from ..backend import Array, expect_memory, is_cuda
from ..kernels.common import sums
from ..kernels.common.layout import seen_second
from ..kernels.common.windows import Geometry, Pair, Shape, Windows, expect_images, pair, whole
from ..kernels.conv.reference import add_windows, padded_images
from .promotion import in_one_dtype, single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


def _grouped(geometry: Geometry, count: int) -> Geometry:
    """``count`` convolutions side by side, as groups of one."""
    return geometry._replace(groups=count * geometry.groups)


class Conv2d(FusedOp):
    """y = x ⋆ w + bias.

    ``size`` is OH × OW where it is known: as a derivative of a transposed convolution whose
    output_padding reaches the stride, there are fewer windows than would fit.
    """

    saves: ClassVar[tuple[str, ...]] = ("x", "weight")
    saved_for: ClassVar[tuple[int | None, ...]] = (1, 0)
    linear = ("x", "weight")
    added = ("bias",)

    def __init__(self, geometry: Geometry, size: Shape = ()) -> None:
        self.geometry, self.size = geometry, size

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        self.x_shape, self.w_shape = tuple(x.shape), tuple(weight.shape)
        if mode.recording:
            kernels.conv.prepare_backward(x, weight, self.geometry, kernels.conv.Epilogue())
        y = kernels.conv.fprop(x, weight, bias, self.geometry)
        return y if self.size in ((), y.shape[2:]) else y[:, :, : self.size[0], : self.size[1]]

    def backward_arrays(self, grad: Array, x: Array | None, weight: Array | None) -> Any:
        dx, dw, db, by_bias = None, None, None, self.needs[2:] == (True,)  # there may be none
        if self.needs[0]:
            dx = kernels.conv.dgrad(grad, weight, self.geometry, self.x_shape)
        if self.needs[1] and by_bias:
            dw, db = kernels.conv.wgrad_and_bias(x, grad, self.geometry, self.w_shape)
        elif self.needs[1]:
            dw = kernels.conv.wgrad(x, grad, self.geometry, self.w_shape)
        elif by_bias:
            db = sums.total(grad, (0, 2, 3))
        return (dx, dw, db)[: len(self.needs)]

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (
            ConvInput(self.geometry, self.x_shape)(grad, weight) if self.needs[0] else None,
            ConvWeight(self.geometry, self.w_shape)(x, grad) if self.needs[1] else None,
            grad.sum(axis=(0, 2, 3)) if self.needs[2:] == (True,) else None,
        )
        return gradients[: len(self.needs)]

    def batch(self, b: BatchLevel, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        given = () if bias is None else (bias,)
        if not b.has(weight, *given):  # the batch goes into N
            return b.split(Conv2d(self.geometry, self.size)(b.join(x, 0), weight, *given), 0)  # type: ignore[no-any-return]
        if self.geometry.groups == 1 and self.size == () and b.repeats(weight, *given):
            return EachConv(self.geometry)(*[b.whole(one) for one in (x, weight, *given)])
        op = Conv2d(_grouped(self.geometry, b.size), self.size)  # into the groups
        y = op(b.join(x, 1), b.join(weight, 0), *[b.join(one, 0) for one in given])
        return b.split(y, 1)  # type: ignore[no-any-return]


class ConvInput(Op):
    """The gradient of convolution by its input; also transposed convolution."""

    saves = ("g", "weight")
    saved_for = (1, 0)
    linear = ("g", "weight")

    def __init__(self, geometry: Geometry, x_shape: Shape) -> None:
        self.geometry, self.x_shape = geometry, x_shape

    def forward(self, g: Array, weight: Array) -> Array:
        self.w_shape, self.size = tuple(weight.shape), tuple(g.shape[2:])
        return kernels.conv.dgrad(g, weight, self.geometry, self.x_shape)

    def backward(self, grad: Tensor, g: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        return (
            Conv2d(self.geometry, self.size)(grad, weight) if self.needs[0] else None,
            ConvWeight(self.geometry, self.w_shape)(grad, g) if self.needs[1] else None,
        )

    def batch(self, b: BatchLevel, g: Tensor, weight: Tensor) -> Tensor:
        n, c, *size = self.x_shape
        if not b.has(weight):
            shape = (b.size * n, c, *size)
            return b.split(ConvInput(self.geometry, shape)(b.join(g, 0), weight), 0)  # type: ignore[no-any-return]
        op = ConvInput(_grouped(self.geometry, b.size), (n, b.size * c, *size))
        return b.split(op(b.join(g, 1), b.join(weight, 0)), 1)  # type: ignore[no-any-return]


class ConvWeight(Op):
    """The gradient of convolution by its weight."""

    saves = ("x", "g")
    saved_for = (1, 0)
    linear = ("x", "g")

    def __init__(self, geometry: Geometry, w_shape: Shape) -> None:
        self.geometry, self.w_shape = geometry, w_shape

    def forward(self, x: Array, g: Array) -> Array:
        self.x_shape, self.size = tuple(x.shape), tuple(g.shape[2:])
        return kernels.conv.wgrad(x, g, self.geometry, self.w_shape)

    def backward(self, grad: Tensor, x: Tensor, g: Tensor) -> tuple[Tensor | None, ...]:
        return (
            ConvInput(self.geometry, self.x_shape)(g, grad) if self.needs[0] else None,
            Conv2d(self.geometry, self.size)(x, grad) if self.needs[1] else None,
        )

    def batch(self, b: BatchLevel, x: Tensor, g: Tensor) -> Tensor:
        o, *rest = self.w_shape
        op = ConvWeight(_grouped(self.geometry, b.size), (b.size * o, *rest))
        return b.split(op(b.join(x, 1), b.join(g, 1)), 0)  # type: ignore[no-any-return]


class EachConv(FusedOp):
    """Convolutions of a batch x (B, N, C, H, W) by one weight, whose gradients are each their own.

    weight (B, O, C, KH, KW) and bias (B, O) repeat one: so is what makes gradients by sample fast.
    """

    saves: ClassVar[tuple[str, ...]] = ("x", "weight")
    saved_for: ClassVar[tuple[int | None, ...]] = (1, 0)
    linear = ("x", "weight")

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        self.x_shape, self.w_shape = tuple(x.shape), tuple(weight.shape)
        images = x.reshape(-1, *x.shape[2:])
        y = kernels.conv.fprop(images, weight[0], None if bias is None else bias[0], self.geometry)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def backward_arrays(self, grad: Array, x: Array | None, weight: Array | None) -> Any:
        shape, geometry, dx, dw = self.x_shape, self.geometry, None, None
        if self.needs[0] and weight is not None:
            images = grad.reshape(-1, *grad.shape[2:])
            of_images = (shape[0] * shape[1], *shape[2:])
            dx = kernels.conv.dgrad(images, weight[0], geometry, of_images).reshape(shape)
        if self.needs[1]:
            dw = kernels.conv.wgrad_each(x, grad, geometry, self.w_shape)
        db = sums.total(grad, (1, 3, 4)) if self.needs[2:] == (True,) else None
        return (dx, dw, db)[: len(self.needs)]

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        (count, n, c, *size), geometry = self.x_shape, _grouped(self.geometry, self.x_shape[0])
        g, dx, dw = joined_axis(grad, 1), None, None
        if self.needs[0]:
            op = ConvInput(geometry, (n, count * c, *size))
            dx = split_axis(op(g, joined_axis(weight, 0)), count, 1)
        if self.needs[1]:
            of_weight = ConvWeight(geometry, (count * self.w_shape[1], *self.w_shape[2:]))
            dw = split_axis(of_weight(joined_axis(x, 1), g), count, 0)
        db = grad.sum((1, 3, 4)) if self.needs[2:] == (True,) else None
        return (dx, dw, db)[: len(self.needs)]


class Unfold(Op):
    """im2col: windows of x (N, C, H, W) as columns, (N, C · KH · KW, L), L = OH · OW."""

    linear = ("x",)

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        out = self.windows.output_size("unfold", self.size)
        view = self.windows.view(padded_images(x, self.windows), out)  # (N, OH, OW, KH, KW, C)
        columns = view.transpose(0, 5, 3, 4, 1, 2).copy()
        return columns.reshape(x.shape[0], x.shape[1] * self.windows.taps, out[0] * out[1])

    def backward(self, grad: Tensor) -> Tensor:
        return Fold(self.windows, self.size)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(Unfold(self.windows)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


class Fold(Op):
    """col2im: columns (N, C · KH · KW, L) added up where their windows lie, (N, C, H, W)."""

    linear = ("columns",)

    def __init__(self, windows: Windows, size: Pair) -> None:
        self.windows, self.size = windows, size

    def forward(self, columns: Array) -> Array:
        n, c = columns.shape[0], columns.shape[1] // self.windows.taps
        out = self.windows.output_size("fold", self.size)
        rows = columns.reshape(n, c, *self.windows.kernel, *out).transpose(0, 4, 5, 2, 3, 1)
        dx = self.xp.empty((n, *self.size, c), columns.dtype)
        add_windows(rows[:, :, :, None], self.windows, dx)
        return seen_second(dx)

    def backward(self, grad: Tensor) -> Tensor:
        return Unfold(self.windows)(grad)

    def batch(self, b: BatchLevel, columns: Tensor) -> Tensor:
        return b.split(Fold(self.windows, self.size)(b.join(columns, 0)), 0)  # type: ignore[no-any-return]


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

        Raises ``TypeError`` when weight is no Tensor, ``ValueError`` when shapes do not fit, a
        number of pixels is out of range or the kernel is larger than the padded input, and
        ``MemoryError`` before more is asked for than there is.
        """
        geometry, inputs = conv_inputs(self, weight, bias, stride, padding, dilation, groups)
        return Conv2d(geometry)(*inputs)

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
        bring to H. Raises as `conv2d` does, and ``ValueError`` when padding leaves nothing.
        """
        x, weight = _same_dtype("conv_transpose2d", self, weight)
        groups = whole(groups, "conv_transpose2d", "groups", 1)
        if x.shape[1] != weight.shape[0] or weight.shape[0] % groups:
            raise ValueError(
                f"[conv_transpose2d] expected {weight.shape[0]} input channels, divisible by "
                f"groups={groups}, for weight {weight.shape}, got {x.shape[1]} (input shape "
                f"{x.shape})"
            )
        windows = Windows.parse("conv_transpose2d", weight.shape[2:], stride, padding, dilation)
        extra = pair(output_padding, "conv_transpose2d", "output_padding", 0)
        steps = zip(extra, windows.stride, windows.dilation, strict=True)
        if any(e >= max(s, d) for e, s, d in steps):
            raise ValueError(
                f"[conv_transpose2d] expected output_padding below stride {windows.stride} or "
                f"dilation {windows.dilation}, got {extra}"
            )
        size = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + e + 1
            for n, k, s, p, d, e in zip(x.shape[2:], *windows, extra, strict=True)
        )
        if min(size) < 1:
            raise ValueError(
                f"[conv_transpose2d] padding {windows.padding} leaves nothing of input {x.shape}"
            )
        channels = weight.shape[1] * groups
        biases = _bias("conv_transpose2d", bias, channels, x)
        dtype = x.data.dtype
        if biases:  # 16 bits are rounded once, when the bias is in
            x, weight = single(x), single(weight)
        shape = (x.shape[0], channels, *size)
        windows = windows.fitted("conv_transpose2d", shape, x.data, 0)
        expect_memory("conv_transpose2d", shape, x.data.itemsize, is_cuda(x.data))
        y = ConvInput(Geometry(windows, groups), shape)(x, weight)
        for b in biases:
            y = y + b.reshape(-1, 1, 1)
        return y.astype(dtype)

    def unfold(
        self,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> Tensor:
        """im2col: the windows of self (N, C, H, W) as columns, (N, C · KH · KW, OH · OW).

        Source: Chellapilla, Puri and Simard 2006, "High Performance Convolutional Neural Networks
        for Document Processing". OH and OW are those of `conv2d`, and so is what raises.
        """
        expect_images("unfold", self)
        windows = Windows.parse("unfold", kernel_size, stride, padding, dilation)
        x = self.data
        return Unfold(windows.fitted("unfold", x.shape, x, x.shape[1] * windows.taps))(self)

    def fold(
        self,
        output_size: int | Pair,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> Tensor:
        """col2im, the adjoint of `unfold`: (N, C · KH · KW, L) → (N, C, *output_size).

        Where windows overlap their values are added. Raises ``ValueError`` unless L is the number
        of windows that `unfold` finds in output_size.
        """
        windows = Windows.parse("fold", kernel_size, stride, padding, dilation)
        size = pair(output_size, "fold", "output_size", 1)
        out = windows.output_size("fold", size)
        shape = self.shape
        if len(shape) != 3 or shape[1] % windows.taps or shape[2] != out[0] * out[1]:
            raise ValueError(
                f"[fold] expected shape (N, C · {windows.taps}, {out[0] * out[1]}), got {shape}"
            )
        images = (shape[0], shape[1] // windows.taps, *size)
        windows = windows.fitted("fold", images, self.data, 0)
        expect_memory("fold", images, self.data.itemsize, is_cuda(self.data))
        return Fold(windows, size)(self)


def conv_inputs(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Geometry, tuple[Tensor, ...]]:
    """Geometry and inputs of `conv2d`, the inputs in one dtype and checked to fit each other."""
    x, weight = _same_dtype("conv2d", x, weight)
    groups = whole(groups, "conv2d", "groups", 1)
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"[conv2d] expected {weight.shape[1] * groups} input channels and output channels "
            f"divisible by groups={groups} for weight {weight.shape}, got {x.shape[1]} input "
            f"channels (input shape {x.shape})"
        )
    windows = Windows.parse("conv2d", weight.shape[2:], stride, padding, dilation)
    windows = windows.fitted("conv2d", x.shape, x.data, weight.shape[0])
    return Geometry(windows, groups), (x, weight, *_bias("conv2d", bias, weight.shape[0], x))


def _same_dtype(op: str, x: Any, weight: Any) -> tuple[Tensor, Tensor]:
    """Both promoted to one dtype, their axes counted."""
    expect_images(op, x)
    _expect_weight(op, weight)
    x, weight = in_one_dtype(x, weight)
    return x, weight


def _expect_weight(op: str, weight: Any) -> None:
    if not isinstance(weight, TensorBase):
        raise TypeError(f"[{op}] expected a weight that is a Tensor, got {type(weight).__name__}")
    if len(weight.shape) != 4:
        raise ValueError(f"[{op}] expected a weight of 4 axes, got {weight.shape}")


def _bias(op: str, bias: Tensor | None, channels: int, x: Tensor) -> tuple[Tensor, ...]:
    if bias is None:
        return ()
    if bias.shape != (channels,):
        raise ValueError(f"[{op}] expected a bias of shape ({channels},), got {bias.shape}")
    return (bias.astype(x.dtype),)
