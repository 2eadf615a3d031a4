"""Softmax, its logarithm, and log Σ exp."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op, TensorBase
from ..backend import Array
from ..kernels.common import sums
from .axes import Axis, behind_batch, kept_shape, nonempty_axes, normalize_axis
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class LogSumExp(Op):
    """log Σ exp(x) along axes, the largest element taken out first so that nothing overflows."""

    saves = ("x", "y")

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        xp = self.xp
        if not x.size:
            return xp.full(kept_shape(x.shape, self.axes), -math.inf, x.dtype)
        top = x.max(axis=self.axes, keepdims=True)
        top = xp.where(xp.isfinite(top), top, top.dtype.type(0))
        total = sums.total(xp.exp(x - top), self.axes, keepdims=True)
        with np.errstate(divide="ignore"):  # a row of -inf gives -inf
            return xp.log(total) + top

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        # Where y is infinite, the elements that are as infinite share the gradient.
        there = (x.data == y.data) & self.xp.isinf(y.data)
        share = there / self.xp.maximum(there.sum(axis=self.axes, keepdims=True), 1)
        softmax = (x.where(~there, 0) - y.where(y.data != -math.inf, 0)).exp().where(~there, 0)
        return grad * (softmax + grad._wrap(share.astype(grad.dtype)))

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return LogSumExp(behind_batch(self.axes))(b.whole(x))


class LogSoftmax(FusedOp):
    """(x - max) - log Σ exp(x - max): the largest goes first, so that large x lose no digits."""

    autocast = "wide"
    saves = ("y",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        self.also_on_gpu = kernels.softmax.has_kernel(x, self.axes)
        return kernels.softmax.forward(x, self.axes, log=True)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad - y.exp() * grad.sum(axis=self.axes, keepdims=True)

    def backward_arrays(self, grad: Array, y: Array) -> Array:
        return kernels.softmax.backward(grad, y, self.axes, log=True)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return LogSoftmax(behind_batch(self.axes))(b.whole(x))


class Softmax(FusedOp):
    """exp(x - max) / Σ exp(x - max)."""

    autocast = "wide"
    saves = ("y",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        self.also_on_gpu = kernels.softmax.has_kernel(x, self.axes)
        return kernels.softmax.forward(x, self.axes, log=False)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return y * (grad - (grad * y).sum(axis=self.axes, keepdims=True))

    def backward_arrays(self, grad: Array, y: Array) -> Array:
        return kernels.softmax.backward(grad, y, self.axes, log=False)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Softmax(behind_batch(self.axes))(b.whole(x))


class SoftmaxMixin(TensorBase):
    """Softmax and its kin as methods."""

    __slots__ = ()

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """log Σ exp(x) over ``axis``, without overflow; of no elements -∞.

        Where all are -∞, so is the result, and they share its gradient equally.
        """
        axes = normalize_axis(axis, len(self.shape), "logsumexp")
        total = in_single(as_float(self), LogSumExp(axes))
        return total if keepdims else total.squeeze(axes)

    def softmax(self, axis: Axis = -1) -> Tensor:
        """exp(x) / Σ exp(x), the sum over ``axis``."""
        return in_single(as_float(self), Softmax(nonempty_axes(self.shape, axis, "softmax")))

    def log_softmax(self, axis: Axis = -1) -> Tensor:
        """log(softmax(x)), over ``axis``, without its cancellation."""
        return in_single(as_float(self), LogSoftmax(nonempty_axes(self.shape, axis, "log_softmax")))
