"""Pooling: maxima and means of windows. Letters are explained in `windows`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..backend import Array, Kernel, array_module, expect_memory, is_cuda
from . import pool_cuda, pool_kernels
from .elementwise import as_float, in_single
from .windows import Pair, Windows, expect_images, pair

if TYPE_CHECKING:
    from ..tensor import Tensor

# (x, windows) → (y, winner), the number of the winning tap of each window
_max_pool = Kernel(cpu=pool_kernels.max_pool, cuda=pool_cuda.max_pool)
# (grad, winner, windows, size) → gradient by an input of ``size``
_max_scatter = Kernel(cpu=pool_kernels.max_scatter, cuda=pool_cuda.max_scatter)
# (x, winner, windows) → y
_max_gather = Kernel(cpu=pool_kernels.max_gather, cuda=pool_cuda.max_gather)
# (x, windows) → y
_sum_pool = Kernel(cpu=pool_kernels.sum_pool, cuda=pool_cuda.sum_pool)
# (grad, windows, size) → gradient by an input of ``size``
_spread = Kernel(cpu=pool_kernels.spread, cuda=pool_cuda.spread)


class MaxPool(Op):
    """The largest element of each window; the first of equal ones takes the gradient."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        y, self.winner = _max_pool(x, self.windows)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return MaxScatter(self.windows, self.winner, self.size)(grad)


class MaxScatter(Op):
    """Each output's gradient put where its window had its maximum: the adjoint of `MaxGather`."""

    def __init__(self, windows: Windows, winner: Array, size: Pair) -> None:
        self.windows, self.winner, self.size = windows, winner, size

    def forward(self, grad: Array) -> Array:
        return _max_scatter(grad, self.winner, self.windows, self.size)

    def backward(self, grad: Tensor) -> Tensor:
        return MaxGather(self.windows, self.winner, self.size)(grad)


class MaxGather(Op):
    """The element of each window at the place where `MaxPool` found its maximum."""

    def __init__(self, windows: Windows, winner: Array, size: Pair) -> None:
        self.windows, self.winner, self.size = windows, winner, size

    def forward(self, x: Array) -> Array:
        return _max_gather(x, self.winner, self.windows)

    def backward(self, grad: Tensor) -> Tensor:
        return MaxScatter(self.windows, self.winner, self.size)(grad)


class SumPool(Op):
    """The sum of each window, the padding counting as zeros."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        return _sum_pool(x, self.windows)

    def backward(self, grad: Tensor) -> Tensor:
        return Spread(self.windows, self.size)(grad)


class Spread(Op):
    """Each element added to every pixel of its window: the adjoint of `SumPool`."""

    def __init__(self, windows: Windows, size: Pair) -> None:
        self.windows, self.size = windows, size

    def forward(self, grad: Array) -> Array:
        return _spread(grad, self.windows, self.size)

    def backward(self, grad: Tensor) -> Tensor:
        return SumPool(self.windows)(grad)


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
        of one size they are added up as by `mean`; else taking means is two matrix products, one
        for each direction, in float64: `set_precision` is for other products.
        """
        expect_images("adaptive_avg_pool2d", self)
        out = pair(output_size, "adaptive_avg_pool2d", "output_size", 1)
        x: Any = as_float(self)
        (n, c, h, w), (oh, ow) = x.shape, out
        if h and w and h % oh == 0 and w % ow == 0:
            return x.reshape(n, c, oh, h // oh, ow, w // ow).mean((3, 5))  # type: ignore[no-any-return]
        on_gpu = is_cuda(x.data)
        for shape in ((*x.shape[:2], *out), *zip(out, x.shape[2:], strict=True)):
            expect_memory("adaptive_avg_pool2d", shape, 8, on_gpu)
        rows, columns = (
            x._wrap(_averaging(array_module(x.data), n, o, np.float64))
            for n, o in zip(x.shape[2:], out, strict=True)
        )
        return (rows @ x.astype(np.float64) @ columns.T).astype(x.dtype)  # type: ignore[no-any-return]


def _averaging(xp: Any, size: int, out: int, dtype: Any) -> Array:
    """The matrix (out, size) that averages an axis of ``size`` down to ``out`` windows."""
    start = xp.arange(out) * size // out
    stop = -(-(xp.arange(out) + 1) * size // out)
    place = xp.arange(size)
    inside = (place >= start[:, None]) & (place < stop[:, None])
    return (inside / inside.sum(axis=1, keepdims=True)).astype(dtype)
