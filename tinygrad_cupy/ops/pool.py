"""Pooling: maxima and means of windows.

Every kernel walks over the KH · KW taps of a window, never over pixels or images: one tap is a
strided slice of the whole (padded) input. Letters are explained in `windows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..backend import Array, array_module
from ..parallel import by_parts
from .elementwise import as_float, is_float
from .masking import keep_where
from .windows import Pair, Windows, expect_images, pair

if TYPE_CHECKING:
    from ..tensor import Tensor

Shape = tuple[int, ...]


def _pad(x: Array, windows: Windows, value: float) -> Array:
    """x (N, C, H, W) with ``value`` around, in the memory layout of x."""
    if windows.padding == (0, 0):
        return x
    ph, pw = windows.padding
    return array_module(x).pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=value)


def _empty_like(x: Array, size: Shape, dtype: Any) -> Array:
    """An unset array (N, C, *size), N, H, W, C in memory where x is."""
    xp = array_module(x)
    n, c = x.shape[:2]
    if x.strides[1] <= x.strides[3]:
        return xp.empty((n, *size, c), dtype).transpose(0, 3, 1, 2)
    return xp.empty((n, c, *size), dtype)


class MaxPool(Op):
    """The largest element of each window; the first of equal ones takes the gradient."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        out = self.windows.output_size("max_pool2d", self.size)
        padded = _pad(x, self.windows, -np.inf if is_float(x.dtype) else np.iinfo(x.dtype).min)
        best = _empty_like(x, out, x.dtype)
        # The number of the winning tap: one byte an element, unless windows are huge.
        self.winner = self.xp.empty_like(best, np.uint8 if self.windows.taps <= 256 else np.int32)

        def task(part: slice) -> None:
            top, winner = best[part], self.winner[part]
            for k, vertical, horizontal in self.windows.each_tap(out):
                tap = padded[part, :, vertical, horizontal]
                if k == 0:
                    top[...] = tap
                    winner[...] = 0
                    continue
                better = tap > top
                self.xp.maximum(winner, better * winner.dtype.type(k), out=winner)
                self.xp.maximum(top, tap, out=top)

        by_parts(self.xp, task, x.shape[0])
        return best

    def backward(self, grad: Tensor) -> Tensor:
        return MaxScatter(self.windows, self.winner, self.size)(grad)


class MaxScatter(Op):
    """Each output's gradient put where its window had its maximum: the adjoint of `MaxGather`."""

    def __init__(self, windows: Windows, winner: Array, size: Pair) -> None:
        self.windows, self.winner, self.size = windows, winner, size

    def forward(self, grad: Array) -> Array:
        windows, winner = self.windows, self.winner
        padded = _empty_like(winner, windows.padded_size(self.size), grad.dtype)
        disjoint = all(
            s >= d * (k - 1) + 1
            for s, d, k in zip(windows.stride, windows.dilation, windows.kernel, strict=True)
        )

        def task(part: slice) -> None:
            padded[part] = 0
            values = self.xp.empty_like(winner[part], grad.dtype)
            values[...] = grad[part]  # one layout for all: a mixed one costs more at every tap
            for k, vertical, horizontal in windows.each_tap((grad.shape[2], grad.shape[3])):
                target = padded[part, :, vertical, horizontal]
                hit = winner[part] == k
                if disjoint:
                    keep_where(values, hit, target)
                else:
                    target += keep_where(values, hit)

        by_parts(self.xp, task, grad.shape[0])
        return padded[:, :, *windows.inside(self.size)]

    def backward(self, grad: Tensor) -> Tensor:
        return MaxGather(self.windows, self.winner, self.size)(grad)


class MaxGather(Op):
    """The element of each window at the place where `MaxPool` found its maximum."""

    def __init__(self, windows: Windows, winner: Array, size: Pair) -> None:
        self.windows, self.winner, self.size = windows, winner, size

    def forward(self, x: Array) -> Array:
        padded = _pad(x, self.windows, 0)
        y = self.xp.zeros(self.winner.shape, x.dtype)
        for k, vertical, horizontal in self.windows.each_tap((y.shape[2], y.shape[3])):
            y += keep_where(padded[:, :, vertical, horizontal], self.winner == k)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return MaxScatter(self.windows, self.winner, self.size)(grad)


class SumPool(Op):
    """The sum of each window, the padding counting as zeros."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = (x.shape[2], x.shape[3])
        out = self.windows.output_size("avg_pool2d", self.size)
        padded = _pad(x, self.windows, 0)
        y = _empty_like(x, out, x.dtype)
        y[...] = 0
        for _, vertical, horizontal in self.windows.each_tap(out):
            y += padded[:, :, vertical, horizontal]
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return Spread(self.windows, self.size)(grad)


class Spread(Op):
    """Each element added to every pixel of its window: the adjoint of `SumPool`."""

    def __init__(self, windows: Windows, size: Pair) -> None:
        self.windows, self.size = windows, size

    def forward(self, grad: Array) -> Array:
        padded = _empty_like(grad, self.windows.padded_size(self.size), grad.dtype)
        padded[...] = 0
        for _, vertical, horizontal in self.windows.each_tap((grad.shape[2], grad.shape[3])):
            padded[:, :, vertical, horizontal] += grad
        return padded[:, :, *self.windows.inside(self.size)]

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

        stride defaults to kernel_size; padding is at most half of it.
        """
        windows = self._windows("avg_pool2d", kernel_size, stride, padding, 1)
        return SumPool(windows)(self) / windows.taps

    def _windows(self, op: str, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
        expect_images(op, self)
        windows = Windows.parse(op, kernel, kernel if stride is None else stride, padding, dilation)
        if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
            raise ValueError(
                f"[{op}] expected padding of at most half the kernel {windows.kernel}, got "
                f"{windows.padding}"
            )
        return windows

    def adaptive_avg_pool2d(self, output_size: int | Pair) -> Tensor:
        """Means over a grid of output_size windows that cover self (N, C, H, W).

        Window i spans pixels ⌊i · H / OH⌋ up to ⌈(i + 1) · H / OH⌉, as in PyTorch. Taking means is
        linear, so it is done by two matrix products, one for each direction.
        """
        expect_images("adaptive_avg_pool2d", self)
        out = pair(output_size, "[adaptive_avg_pool2d] output_size", 1)
        x: Any = as_float(self)
        rows, columns = (
            x._wrap(_averaging(array_module(x.data), n, o, x.dtype))
            for n, o in zip(x.shape[2:], out, strict=True)
        )
        return rows @ x @ columns.T  # type: ignore[no-any-return]


def _averaging(xp: Any, size: int, out: int, dtype: Any) -> Array:
    """The matrix (out, size) that averages an axis of ``size`` down to ``out`` windows."""
    start = np.arange(out) * size // out
    stop = -(-(np.arange(out) + 1) * size // out)
    place = np.arange(size)
    inside = (place >= start[:, None]) & (place < stop[:, None])
    return xp.asarray((inside / inside.sum(axis=1, keepdims=True)).astype(dtype))
