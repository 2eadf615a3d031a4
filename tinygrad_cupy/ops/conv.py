"""Convolution and its two gradients, in one to three dimensions.

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
from ..autograd.autocast import as_of_products
from ..autograd.batching import joined_axis, split_axis
from ..autograd.mode import mode
from ..backend import Array, expect_memory, is_cuda
from ..kernels.common import sums
from ..kernels.common.windows import Geometry, Shape, Sizes, Windows, whole
from .promotion import in_one_dtype
from .sliding import of_batch

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


def _grouped(geometry: Geometry, count: int) -> Geometry:
    """``count`` convolutions side by side, as groups of one."""
    return geometry._replace(groups=count * geometry.groups)


class Conv(FusedOp):
    """y = x ⋆ w + bias, of sequences, images or volumes.

    ``size`` is that of the result where it is known: as a derivative of a transposed convolution
    whose output_padding reaches the stride, there are fewer windows than would fit.
    """

    autocast = "narrow"
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
        if self.size in ((), y.shape[2:]):
            return y
        return y[:, :, *[slice(n) for n in self.size]]

    def backward_arrays(self, grad: Array, x: Array | None, weight: Array | None) -> Any:
        if x is not None and weight is not None and self.size == ():  # both are asked for
            by_bias = self.needs[2:] == (True,)
            found = kernels.conv.backward(grad, x, weight, self.geometry, by_bias)
            return found[: len(self.needs)]
        dx, dw, db, by_bias = None, None, None, self.needs[2:] == (True,)  # there may be none
        if self.needs[0]:
            dx = kernels.conv.dgrad(grad, weight, self.geometry, self.x_shape)
        if self.needs[1] and by_bias:
            dw, db = kernels.conv.wgrad_and_bias(x, grad, self.geometry, self.w_shape)
        elif self.needs[1]:
            dw = kernels.conv.wgrad(x, grad, self.geometry, self.w_shape)
        elif by_bias:
            db = sums.total(grad, (0, *range(2, grad.ndim)))
        return (dx, dw, db)[: len(self.needs)]

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (
            ConvInput(self.geometry, self.x_shape)(grad, weight) if self.needs[0] else None,
            ConvWeight(self.geometry, self.w_shape)(x, grad) if self.needs[1] else None,
            grad.sum(axis=(0, *range(2, grad.ndim))) if self.needs[2:] == (True,) else None,
        )
        return gradients[: len(self.needs)]

    def batch(self, b: BatchLevel, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        given = () if bias is None else (bias,)
        if not b.has(weight, *given):  # the batch goes into N
            return b.split(Conv(self.geometry, self.size)(b.join(x, 0), weight, *given), 0)  # type: ignore[no-any-return]
        if self.geometry.groups == 1 and self.size == () and b.repeats(weight, *given):
            return EachConv(self.geometry)(*[b.whole(one) for one in (x, weight, *given)])
        op = Conv(_grouped(self.geometry, b.size), self.size)  # into the groups
        y = op(b.join(x, 1), b.join(weight, 0), *[b.join(one, 0) for one in given])
        return b.split(y, 1)  # type: ignore[no-any-return]


class ConvInput(Op):
    """The gradient of convolution by its input; also transposed convolution."""

    autocast = "narrow"
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
            Conv(self.geometry, self.size)(grad, weight) if self.needs[0] else None,
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

    autocast = "narrow"
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
            Conv(self.geometry, self.size)(x, grad) if self.needs[1] else None,
        )

    def batch(self, b: BatchLevel, x: Tensor, g: Tensor) -> Tensor:
        o, *rest = self.w_shape
        op = ConvWeight(_grouped(self.geometry, b.size), (b.size * o, *rest))
        return b.split(op(b.join(x, 1), b.join(g, 1)), 0)  # type: ignore[no-any-return]


class EachConv(FusedOp):
    """Convolutions of a batch x (B, N, C, …) by one weight, whose gradients are each their own.

    weight (B, O, C, …) and bias (B, O) repeat one: so is what makes gradients by sample fast.
    """

    autocast = "narrow"
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
        db = sums.total(grad, (1, *range(3, grad.ndim))) if self.needs[2:] == (True,) else None
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
        db = grad.sum((1, *range(3, grad.ndim))) if self.needs[2:] == (True,) else None
        return (dx, dw, db)[: len(self.needs)]


class ConvMixin(TensorBase):
    """Convolutions as methods."""

    __slots__ = ()

    def conv1d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """`conv2d` of sequences: self (N, C, L) with weight (O, C/groups, K), to (N, O, OL)."""
        return _conv("conv1d", 1, self, weight, bias, stride, padding, dilation, groups)

    def conv2d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """Cross-correlation of self (N, C, H, W) with weight (O, C/groups, KH, KW), plus bias (O,).

        stride, padding (zeros, on both sides) and dilation are in pixels, one number or one for
        each axis. padding may be "valid", which is 0, or "same": as much as keeps the size, behind
        the image one more than before where the sum is odd, for a stride of 1. Result:
        (N, O, OH, OW) with OH = ⌊(H + 2 padding - dilation (KH - 1) - 1) / stride⌋ + 1, OW
        likewise. One image (C, H, W) gives (O, OH, OW).

        Raises ``TypeError`` when weight is no Tensor, ``ValueError`` when shapes do not fit, a
        number of pixels is out of range or the kernel is larger than the padded input, and
        ``MemoryError`` before more is asked for than there is.
        """
        return _conv("conv2d", 2, self, weight, bias, stride, padding, dilation, groups)

    def conv3d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """`conv2d` of volumes: self (N, C, D, H, W) with weight (O, C/groups, KD, KH, KW).

        The KD planes that a plane of the result sees are copied behind each other, so that memory
        for KD times the input is taken on the way.
        """
        return _conv("conv3d", 3, self, weight, bias, stride, padding, dilation, groups)


def _conv(op: str, ndim: int, x: Any, weight: Any, bias: Any, *where: Any) -> Tensor:
    def compute(x: Tensor) -> Any:
        geometry, inputs = conv_inputs(op, ndim, x, weight, bias, *where)
        return Conv(geometry)(*inputs)

    return of_batch(op, x, ndim, compute)


def conv_inputs(
    op: str,
    ndim: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> tuple[Geometry, tuple[Tensor, ...]]:
    """Geometry and inputs of a convolution, the inputs in one dtype and checked to fit."""
    x, weight = same_dtype(op, x, weight, ndim)
    groups = whole(groups, op, "groups", 1)
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"[{op}] expected {weight.shape[1] * groups} input channels and output channels "
            f"divisible by groups={groups} for weight {weight.shape}, got {x.shape[1]} input "
            f"channels (input shape {x.shape})"
        )
    if isinstance(padding, str):
        x, padding = _padded(op, x, weight.shape[2:], stride, padding, dilation)
    windows = Windows.parse(op, weight.shape[2:], stride, padding, dilation, ndim)
    windows = windows.fitted(op, x.shape, x.data, weight.shape[0])
    if ndim == 3:
        expect_stacks(op, windows, x.shape[0], x.shape[1], x.shape[2:], x.data)
    return Geometry(windows, groups), (x, weight, *bias_of(op, bias, weight.shape[0], x))


def _padded(
    op: str, x: Tensor, kernel: Shape, stride: Any, padding: str, dilation: Any
) -> tuple[Tensor, Shape]:
    """The padding on both sides that a word stands for, and x with what is more behind it."""
    windows = Windows.parse(op, kernel, stride, 0, dilation, len(kernel))
    if padding == "valid":
        return x, windows.padding
    if padding != "same":
        raise ValueError(f'[{op}] padding: expected numbers, "same" or "valid", got {padding!r}')
    if any(s > 1 for s in windows.stride):
        raise ValueError(f'[{op}] expected a stride of 1 for padding="same", got {windows.stride}')
    around = [d * (k - 1) for d, k in zip(windows.dilation, kernel, strict=True)]
    if any(n % 2 for n in around):
        x = x.pad(((0, 0), (0, 0), *[(0, n % 2) for n in around]))
    return x, tuple(n // 2 for n in around)


def expect_stacks(op: str, windows: Windows, n: int, c: int, size: Shape, array: Array) -> None:
    """Raise ``MemoryError`` where the planes that the result's planes see are too many."""
    out = windows.output_size(op, size)[0]
    expect_memory(op, (n * out, c * windows.kernel[0], *size[1:]), array.itemsize, is_cuda(array))


def same_dtype(op: str, x: Any, weight: Any, ndim: int) -> tuple[Tensor, Tensor]:
    """Both in one dtype, that of products under `autocast`; the axes of the weight counted."""
    _expect_weight(op, weight, ndim)
    x, weight = in_one_dtype(*as_of_products(x, weight))
    return x, weight


def _expect_weight(op: str, weight: Any, ndim: int) -> None:
    if not isinstance(weight, TensorBase):
        raise TypeError(f"[{op}] expected a weight that is a Tensor, got {type(weight).__name__}")
    if len(weight.shape) != ndim + 2:
        raise ValueError(f"[{op}] expected a weight of {ndim + 2} axes, got {weight.shape}")


def bias_of(op: str, bias: Tensor | None, channels: int, x: Tensor) -> tuple[Tensor, ...]:
    """The bias, if there is one, in x's dtype."""
    if bias is None:
        return ()
    if bias.shape != (channels,):
        raise ValueError(f"[{op}] expected a bias of shape ({channels},), got {bias.shape}")
    return (bias.astype(x.dtype),)
