"""Pooling: maxima and means of windows. Letters are explained in `windows`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array, array_module, expect_memory, is_cuda
from ..backend.dtypes import widest
from ..kernels.common.pool2x2 import MASKED, POOL
from ..kernels.common.windows import Pair, Windows, expect_images, pair
from .activation import ReluBackward
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


def _repeated(argmax: Array, count: int) -> Array:
    """``count`` copies of argmax (N, C, OH, OW), one after the other along N."""
    return array_module(argmax).concatenate([argmax] * count)


class MaxPool(Op):
    """The largest element of each window; the first of equal ones takes the gradient."""

    only_real = True

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        y, self.argmax = kernels.pool.max_pool(x, self.windows)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return MaxScatter(self.windows, self.argmax, self.size)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(MaxPool(self.windows)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


class MaxScatter(Op):
    """Each output's gradient put where its window had its maximum: the adjoint of `MaxGather`."""

    linear = ("grad",)

    def __init__(self, windows: Windows, argmax: Array, size: Pair) -> None:
        self.windows, self.argmax, self.size = windows, argmax, size

    def forward(self, grad: Array) -> Array:
        return kernels.pool.max_scatter(grad, self.argmax, self.windows, self.size)

    def backward(self, grad: Tensor) -> Tensor:
        return MaxGather(self.windows, self.argmax, self.size)(grad)

    def batch(self, b: BatchLevel, grad: Tensor) -> Tensor:
        argmax = _repeated(self.argmax, b.size)
        return b.split(MaxScatter(self.windows, argmax, self.size)(b.join(grad, 0)), 0)  # type: ignore[no-any-return]


class MaxGather(Op):
    """The element of each window at the place where `MaxPool` found its maximum."""

    linear = ("x",)

    def __init__(self, windows: Windows, argmax: Array, size: Pair) -> None:
        self.windows, self.argmax, self.size = windows, argmax, size

    def forward(self, x: Array) -> Array:
        return kernels.pool.max_gather(x, self.argmax, self.windows)

    def backward(self, grad: Tensor) -> Tensor:
        return MaxScatter(self.windows, self.argmax, self.size)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        argmax = _repeated(self.argmax, b.size)
        return b.split(MaxGather(self.windows, argmax, self.size)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


class SumPool(Op):
    """The sum of each window, the padding counting as zeros."""

    linear = ("x",)

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        return kernels.pool.sum_pool(x, self.windows)

    def backward(self, grad: Tensor) -> Tensor:
        return Spread(self.windows, self.size)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(SumPool(self.windows)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


class Spread(Op):
    """Each element added to every pixel of its window: the adjoint of `SumPool`."""

    linear = ("grad",)

    def __init__(self, windows: Windows, size: Pair) -> None:
        self.windows, self.size = windows, size

    def forward(self, grad: Array) -> Array:
        return kernels.pool.spread(grad, self.windows, self.size)

    def backward(self, grad: Tensor) -> Tensor:
        return SumPool(self.windows)(grad)

    def batch(self, b: BatchLevel, grad: Tensor) -> Tensor:
        return b.split(Spread(self.windows, self.size)(b.join(grad, 0)), 0)  # type: ignore[no-any-return]


class Spans(Op):
    """Sums over ``count`` spans that cover ``axis``: from ⌊i n / count⌋ up to ⌈(i + 1) n / count⌉.

    The spans that hold a place are a span themselves, by the same formula: the adjoint is `Spans`
    to n. No product with zeros: NaN and infinity stay in the spans that hold them.
    """

    linear = ("x",)

    def __init__(self, count: int, axis: int) -> None:
        self.count, self.axis = count, axis

    def forward(self, x: Array) -> Array:
        xp, self.size = self.xp, x.shape[self.axis]
        longest = -(-self.size // self.count) + 1  # at most
        if self.count < longest:
            return self._one_by_one(x)
        start, stop = _spans(xp, self.size, self.count)
        y: Array = xp.take(x, start, self.axis)
        for k in range(1, longest):
            tap = xp.take(x, xp.minimum(start + k, self.size - 1), self.axis)
            y += xp.where(_along(start + k < stop, self.axis), tap, 0)
        return y

    def _one_by_one(self, x: Array) -> Array:
        before = (slice(None),) * self.axis
        y = self.xp.empty((*x.shape[: self.axis], self.count, *x.shape[self.axis + 1 :]), x.dtype)
        for i in range(self.count):
            stop = -(-(i + 1) * self.size // self.count)
            y[(*before, i)] = x[(*before, slice(i * self.size // self.count, stop))].sum(self.axis)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return Spans(self.size, self.axis)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(Spans(self.count, self.axis)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


def _spans(xp: Any, size: int, count: int) -> tuple[Array, Array]:
    """Where `count` spans of an axis of ``size`` start and stop."""
    place = xp.arange(count)
    return place * size // count, -(-(place + 1) * size // count)


def _along(values: Array, axis: int) -> Array:
    """Values for an axis of images (N, C, H, W), as they broadcast to those."""
    return values[:, None] if axis == 2 else values


def epilogue_as_found(y: Tensor, relu: bool, relu_y: Array | None, argmax: Array | None) -> Tensor:
    """ReLU and the 2 × 2 max-pool behind y (N, C, H, W), deciding as a fused kernel did.

    relu_y: the result, where there was ReLU alone; argmax: what the pool found, where there was one
    """
    if argmax is None:
        return y if relu_y is None else ReluBackward()(y, y._wrap(relu_y))
    place = argmax % MASKED  # any place where ReLU lets nothing through anyway
    y = MaxGather(POOL, place, (y.shape[2], y.shape[3]))(y)
    return ReluBackward()(y, y._wrap((argmax < MASKED).astype(y.dtype))) if relu else y


class PoolMixin(TensorBase):
    """Pooling as methods."""

    __slots__ = ()

    def max_pool2d(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> Tensor:
        """The largest element of each window of self (N, C, H, W), padded with -∞.

        stride defaults to kernel_size; padding is at most half of it. Ties give the whole gradient
        to the first maximum in C order, as PyTorch does.
        """
        return MaxPool(self._windows("max_pool2d", kernel_size, stride, padding, dilation))(self)

    def avg_pool2d(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
    ) -> Tensor:
        """The mean of each window of self (N, C, H, W), padding counted as zeros.

        stride defaults to kernel_size; padding is at most half of it. Windows are added up as by
        `sum`; of integers the means are float32.
        """
        windows = self._windows("avg_pool2d", kernel_size, stride, padding, 1)
        return in_single(as_float(self), lambda x: SumPool(windows)(x) / windows.taps)

    def _windows(self, op: str, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
        expect_images(op, self)
        windows = Windows.parse(op, kernel, kernel if stride is None else stride, padding, dilation)
        if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
            raise ValueError(
                f"[{op}] expected padding of at most half the kernel {windows.kernel}, got "
                f"{windows.padding}"
            )
        x = self.data
        return windows.fitted(op, x.shape, x, x.shape[1])

    def adaptive_avg_pool2d(self, output_size: int | Pair) -> Tensor:
        """Means over a grid of output_size windows that cover self (N, C, H, W).

        Window i spans pixels ⌊i · H / OH⌋ up to ⌈(i + 1) · H / OH⌉, as in PyTorch. Where all are
        of one size they are added up as by `mean`; else one direction after the other, in float64.
        """
        expect_images("adaptive_avg_pool2d", self)
        out = pair(output_size, "adaptive_avg_pool2d", "output_size", 1)
        x: Any = as_float(self)
        (n, c, h, w), (oh, ow), dtype = x.shape, out, x.data.dtype
        if h * w == 0:
            raise ValueError(
                f"[adaptive_avg_pool2d] expected images of at least one pixel, got shape {x.shape}"
            )
        if h % oh == 0 and w % ow == 0:
            return x.reshape(n, c, oh, h // oh, ow, w // ow).mean((3, 5))  # type: ignore[no-any-return]
        for shape in ((n, c, oh, w), (n, c, oh, ow)):
            expect_memory("adaptive_avg_pool2d", shape, 8, is_cuda(x.data))
        x = x.astype(widest(x.dtype))
        for axis, count in ((2, oh), (3, ow)):
            start, stop = _spans(array_module(x.data), x.shape[axis], count)
            x = Spans(count, axis)(x) / x._wrap(_along(stop - start, axis))
        return x.astype(dtype)  # type: ignore[no-any-return]
