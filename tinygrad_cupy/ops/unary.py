"""Functions of one tensor, element by element: exponentials, roots, sines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..autograd import Elementwise, TensorBase
from ..backend import Array, special_functions
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


FAR = 1e3  # beyond ±FAR the functions here are as at ±∞, in every dtype


class Exp(Elementwise):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.exp(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * y


class Expm1(Elementwise):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.expm1(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * (y + 1)


class Log(Elementwise):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.log(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad / x


class Sqrt(Elementwise):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.sqrt(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad / (y * 2)


class Abs(Elementwise):
    """|x|; the gradient at 0 is 0."""

    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.abs(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * x.sign()


class Sign(Elementwise):
    def forward(self, x: Array) -> Array:
        return x.copy() if x.dtype == bool else self.xp.sign(x)

    def backward(self, grad: Tensor) -> Tensor:
        return grad._wrap(self.xp.zeros_like(grad.data))


class Sin(Elementwise):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.sin(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * x.cos()


class Cos(Elementwise):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.cos(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return -(grad * x.sin())


class Erf(Elementwise):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return special_functions(x).erf(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        x = x.clip(-FAR, FAR)  # at ±∞ the next derivative would be ∞ · 0
        return grad * (-(x * x)).exp() * (2 / math.sqrt(math.pi))


# --- the methods --------------------------------------------------------------------------------


class UnaryMixin(TensorBase):
    """Functions of one tensor as methods."""

    __slots__ = ()

    def exp(self) -> Tensor:
        """eˣ, elementwise."""
        return Exp()(as_float(self))

    def expm1(self) -> Tensor:
        """eˣ - 1, elementwise, exact near 0."""
        return in_single(as_float(self), Expm1())

    def log(self) -> Tensor:
        """Natural logarithm, elementwise."""
        return Log()(as_float(self))

    def sqrt(self) -> Tensor:
        """Square root, elementwise; the gradient at 0 is infinite."""
        return Sqrt()(as_float(self))

    def abs(self) -> Tensor:
        """Absolute value, elementwise; the gradient at 0 is 0."""
        return Abs()(self)

    __abs__ = abs

    def sign(self) -> Tensor:
        """-1, 0 or 1, elementwise; the gradient is 0."""
        return Sign()(self)

    def sin(self) -> Tensor:
        """Sine of radians, elementwise."""
        return Sin()(as_float(self))

    def cos(self) -> Tensor:
        """Cosine of radians, elementwise."""
        return Cos()(as_float(self))

    def erf(self) -> Tensor:
        """The error function 2/√π ∫₀ˣ exp(-t²) dt, elementwise."""
        return in_single(as_float(self), Erf())
