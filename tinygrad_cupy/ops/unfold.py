"""Windows as columns, im2col, and back, col2im, in one to three dimensions.

Letters are explained in `kernels.common.windows`; taps are the elements of a window.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array, expect_memory, is_cuda
from ..kernels.common.windows import Shape, Sizes, Windows, sizes
from .sliding import with_batch

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Unfold(Op):
    """im2col: windows of x (N, C, H, W) as columns, (N, C · KH · KW, L), L = OH · OW."""

    linear = ("x",)

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x: Array) -> Array:
        self.size = tuple(x.shape[2:])
        return kernels.unfold.unfold(x, self.windows)

    def backward(self, grad: Tensor) -> Tensor:
        return Fold(self.windows, self.size)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return b.split(Unfold(self.windows)(b.join(x, 0)), 0)  # type: ignore[no-any-return]


class Fold(Op):
    """col2im: columns (N, C · KH · KW, L) added up where their windows lie, (N, C, H, W)."""

    linear = ("columns",)

    def __init__(self, windows: Windows, size: Shape) -> None:
        self.windows, self.size = windows, size

    def forward(self, columns: Array) -> Array:
        return kernels.unfold.fold(columns, self.windows, self.size)

    def backward(self, grad: Tensor) -> Tensor:
        return Unfold(self.windows)(grad)

    def batch(self, b: BatchLevel, columns: Tensor) -> Tensor:
        return b.split(Fold(self.windows, self.size)(b.join(columns, 0)), 0)  # type: ignore[no-any-return]


class UnfoldMixin(TensorBase):
    """Windows as columns, as methods."""

    __slots__ = ()

    def unfold(
        self, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1
    ) -> Tensor:
        """im2col: the windows of self (N, C, H, W) as columns, (N, C · KH · KW, OH · OW).

        Of sequences (N, C, L) and volumes (N, C, D, H, W) too. One image (C, H, W) needs a
        kernel_size of as many numbers as it has axes behind C: it gives (C · KH · KW, OH · OW).
        Source: Chellapilla, Puri and Simard 2006, "High Performance Convolutional Neural Networks
        for Document Processing". OH and OW are those of `conv2d`, and so is what raises.
        """
        ndim = _axes_of(self, kernel_size)
        x, is_one = with_batch("unfold", self, ndim)
        windows = Windows.parse("unfold", kernel_size, stride, padding, dilation, ndim)
        windows = windows.fitted("unfold", x.shape, x.data, x.shape[1] * windows.taps)
        y = Unfold(windows)(x)
        return y.squeeze(0) if is_one else y

    def fold(
        self,
        output_size: Sizes,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
    ) -> Tensor:
        """col2im, the adjoint of `unfold`: (N, C · KH · KW, L) → (N, C, *output_size).

        Where windows overlap their values are added. output_size or kernel_size says by its
        numbers in how many dimensions; where both are one integer, in two. Columns without N give
        one image. Raises ``ValueError`` unless L is the number of windows that `unfold` finds in
        output_size.
        """
        ndim = max(_count(output_size), _count(kernel_size)) or 2
        windows = Windows.parse("fold", kernel_size, stride, padding, dilation, ndim)
        size = sizes(output_size, "fold", "output_size", 1, ndim)
        places = math.prod(windows.output_size("fold", size))
        shape = self.shape
        if len(shape) not in (2, 3) or shape[-2] % windows.taps or shape[-1] != places:
            raise ValueError(
                f"[fold] expected shape (N, C · {windows.taps}, {places}), got {shape}"
            )
        whole: Any = self
        columns = whole if len(shape) == 3 else whole.unsqueeze(0)
        images = (columns.shape[0], shape[-2] // windows.taps, *size)
        windows = windows.fitted("fold", images, self.data, 0)
        expect_memory("fold", images, self.data.itemsize, is_cuda(self.data))
        y = Fold(windows, size)(columns)
        return y if len(shape) == 3 else y.squeeze(0)


def _count(numbers: Any) -> int:
    """How many numbers were given for as many axes; 0 for one that stands for all."""
    return min(len(numbers), 3) if isinstance(numbers, tuple | list) else 0


def _axes_of(x: Any, kernel_size: Any) -> int:
    """Over how many axes windows slide: one for each number, or all behind N and C."""
    return _count(kernel_size) or min(max(len(x.shape) - 2, 1), 3)
