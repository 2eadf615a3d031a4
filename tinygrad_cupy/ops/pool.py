"""Pooling: maxima, means and norms of windows, in one to three dimensions.

The operations are those on images. A window is a box: what a volume's has is found over its planes
first and over the depth of the results then, and a sequence is an image of one row. Letters are
explained in `kernels.common.windows`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op
from ..backend import Array, array_module
from ..kernels.common.layout import lies_last
from ..kernels.common.pool2x2 import MASKED, POOL
from ..kernels.common.windows import Shape, Windows
from .activation import ReluBackward
from .comparison import where

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
        self.size = tuple(x.shape[2:])
        y, self.argmax = kernels.pool.max_pool(x, self.windows)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return MaxScatter(self.windows, self.argmax, self.size)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(MaxPool(self.windows)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


class MaxScatter(Op):
    """Each output's gradient put where its window had its maximum: the adjoint of `MaxGather`."""

    linear = ("grad",)

    def __init__(self, windows: Windows, argmax: Array, size: Shape) -> None:
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

    def __init__(self, windows: Windows, argmax: Array, size: Shape) -> None:
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
        self.size = tuple(x.shape[2:])
        return kernels.pool.sum_pool(x, self.windows)

    def backward(self, grad: Tensor) -> Tensor:
        return Spread(self.windows, self.size)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(SumPool(self.windows)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


class Spread(Op):
    """Each element added to every pixel of its window: the adjoint of `SumPool`."""

    linear = ("grad",)

    def __init__(self, windows: Windows, size: Shape) -> None:
        self.windows, self.size = windows, size

    def forward(self, grad: Array) -> Array:
        return kernels.pool.spread(grad, self.windows, self.size)

    def backward(self, grad: Tensor) -> Tensor:
        return SumPool(self.windows)(grad)

    def batch(self, b: BatchLevel, grad: Tensor) -> Tensor:
        return b.split(Spread(self.windows, self.size)(b.join(grad, 0)), 0)  # type: ignore[no-any-return]


class MaxIndices(Op):
    """Where each window of x (N, C, …) has its maximum: its place behind N and C in C order."""

    differentiable = False
    only_real = True

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        windows, ndim = self.windows, len(self.windows.kernel)
        if ndim == 1:
            return _places(x[:, :, None], ALONE.beside(windows))[1][:, :, 0]
        if ndim == 2:
            return _places(x, windows)[1]
        n, c, d, h, w = x.shape
        planes, depth = _planes_and_depth(windows)
        y, in_plane = _places(x.reshape(n, c * d, h, w), planes)
        oh, ow = y.shape[2:]
        _, place = _places(y.reshape(n, c, d, oh * ow), depth)
        plane = (place // max(oh * ow, 1)).clip(0, d - 1)  # of no tap in the image, any
        in_plane = self.xp.take_along_axis(in_plane.reshape(n, c, d, oh * ow), plane, 2)
        return (plane * (h * w) + in_plane).reshape(n, c, place.shape[2], oh, ow)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(MaxIndices(self.windows)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


def _places(x: Array, windows: Windows) -> tuple[Array, Array]:
    """The maxima of windows of images x, and their places row · W + column."""
    xp, width = array_module(x), x.shape[3]
    y, argmax = kernels.pool.max_pool(x, windows)
    taps = argmax.astype("int64")
    (sh, sw), (ph, pw), (dh, dw) = windows.stride, windows.padding, windows.dilation
    rows = xp.arange(y.shape[2])[:, None] * sh - ph + taps // windows.kernel[1] * dh
    columns = xp.arange(y.shape[3]) * sw - pw + taps % windows.kernel[1] * dw
    return y, rows * width + columns


# --- in one to three dimensions -----------------------------------------------------------------

ALONE = Windows((1,), (1,), (0,), (1,))  # of each element by itself


def _planes_and_depth(windows: Windows) -> tuple[Windows, Windows]:
    """Windows of volumes along their planes, and those of columns (D, H · W) along the depth."""
    return windows.along(slice(1, None)), windows.along(slice(1)).beside(ALONE)


def over(x: Tensor, windows: Windows, pool: Callable[[Windows], Any]) -> Any:
    """``pool``, an operation on images that may take an axis after the other, of x (N, C, …)."""
    ndim = len(windows.kernel)
    if ndim == 2:
        return pool(windows)(x)
    if ndim == 1:
        return pool(ALONE.beside(windows))(x.unsqueeze(2)).squeeze(2)
    n, c, d, h, w = x.shape
    planes, depth = _planes_and_depth(windows)
    if lies_last(x.data):  # views of it, either way
        y = pool(planes)(x.permute(0, 2, 1, 3, 4).reshape(n * d, c, h, w))
        oh, ow = y.shape[2:]
        columns = y.reshape(n, d, c, oh * ow).permute(0, 2, 1, 3)
    else:
        y = pool(planes)(x.reshape(n, c * d, h, w))
        oh, ow = y.shape[2:]
        columns = y.reshape(n, c, d, oh * ow)
    y = pool(depth)(columns)
    return y.reshape(n, c, y.shape[2], oh, ow)


def epilogue_as_found(
    y: Tensor,
    relu: bool,
    relu_y: Array | None,
    argmax: Array | None,
    cap: float | None = None,
) -> Tensor:
    """ReLU and the 2 × 2 max-pool behind y (N, C, H, W), deciding as a fused kernel did.

    relu_y: the result, where there was ReLU alone, of at most ``cap``; argmax: what the pool found,
    where there was one
    """
    if argmax is None:
        if relu_y is None:
            return y
        y = ReluBackward()(y, y._wrap(relu_y))
        return y if cap is None else where(y._wrap(relu_y >= cap), cap, y)
    place = argmax % MASKED  # any place where ReLU lets nothing through anyway
    y = MaxGather(POOL, place, tuple(y.shape[2:]))(y)
    return ReluBackward()(y, y._wrap((argmax < MASKED).astype(y.dtype))) if relu else y
