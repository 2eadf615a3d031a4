"""Discrete Fourier transforms over axes, unscaled; `numpy.fft` has the functions that users call.

A gradient in a rule is the c of dL = Re(c dz), see `autograd.backward`: the matrix of a transform
is symmetric, so each full one is its own adjoint. Of the half spectra of real numbers one is the
other's, but for how often the whole spectrum has each element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import kernels
from ..autograd import FusedOp, Op
from ..backend import Array
from .axes import behind_batch

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

Axes = tuple[int, ...]


class Fft(FusedOp):
    """Σ x[n] exp(∓2πi k n / N) over ``axes``, + where ``inverse``, of real or complex x."""

    saves = ()
    linear = ("x",)

    def __init__(self, axes: Axes, inverse: bool) -> None:
        self.axes, self.inverse = axes, inverse

    def forward(self, x: Array) -> Array:
        return kernels.fft.full(x, self.axes, self.inverse)

    def backward_arrays(self, grad: Array) -> tuple[Array]:
        return (kernels.fft.full(grad, self.axes, self.inverse),)

    def backward(self, grad: Tensor) -> Tensor:
        return Fft(self.axes, self.inverse)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Fft(behind_batch(self.axes), self.inverse)(b.whole(x))


class HalfFft(FusedOp):
    """`Fft` of real x: the first N // 2 + 1 elements along the last of ``axes``."""

    only_real = True
    saves = ()
    linear = ("x",)

    def __init__(self, axes: Axes) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        self.size = x.shape[self.axes[-1]]
        return kernels.fft.half(x, self.axes)

    def backward_arrays(self, grad: Array) -> tuple[Array]:
        return (kernels.fft.half_backward(grad, self.axes, self.size),)

    def backward(self, grad: Tensor) -> Tensor:
        # Re Σ c exp(-iθ) over the half; the whole would count most of it twice.
        once = Weighted(self.axes[-1], self.size, divided=True)(grad.conj())
        return FromHalfFft(self.axes, self.size)(once)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return HalfFft(behind_batch(self.axes))(b.whole(x))


class FromHalfFft(FusedOp):
    """The real inverse of `HalfFft`, unscaled, of ``size`` elements along the last of ``axes``."""

    saves = ()
    linear = ("x",)

    def __init__(self, axes: Axes, size: int) -> None:
        self.axes, self.size = axes, size

    def forward(self, x: Array) -> Array:
        return kernels.fft.from_half(x, self.axes, self.size)

    def backward_arrays(self, grad: Array) -> tuple[Array]:
        return (kernels.fft.from_half_backward(grad, self.axes, self.size),)

    def backward(self, grad: Tensor) -> Tensor:
        return Weighted(self.axes[-1], self.size)(HalfFft(self.axes)(grad)).conj()

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return FromHalfFft(behind_batch(self.axes), self.size)(b.whole(x))


class Weighted(Op):
    """A half spectrum, each element times how often the whole has it; or divided by that."""

    linear = ("x",)

    def __init__(self, axis: int, size: int, divided: bool = False) -> None:
        self.axis, self.size, self.divided = axis, size, divided

    def forward(self, x: Array) -> Array:
        often = kernels.fft.weights(x, self.size)
        often = often.reshape(-1, *[1] * (x.ndim - 1 - self.axis))
        return x / often if self.divided else x * often

    def backward(self, grad: Tensor) -> Tensor:
        return Weighted(self.axis, self.size, self.divided)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Weighted(self.axis + 1, self.size, self.divided)(b.whole(x))
