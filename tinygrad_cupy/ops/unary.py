"""Functions of one tensor, element by element, as methods."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..autograd import Elementwise, TensorBase
from ..backend import Array, special_functions
from .complex_numbers import Modulus
from .exponential import Exp, Expm1, Log, Sqrt
from .functions import flat, function
from .promotion import as_float, in_single
from .trigonometric import Cos, Sin

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


FAR = 1e3  # beyond ±FAR the functions here are as at ±∞, in every dtype

Abs = function(
    "abs",
    "|x|; the gradient at 0 is 0.",
    lambda grad, x: grad * x.sign(),
    keeps=True,
    exact=True,
)
Positive = function(
    "positive", "x, a copy.", lambda grad: grad, lambda x: x.copy(), keeps=True, exact=True
)


class Sign(Elementwise):
    only_real = True

    def forward(self, x: Array) -> Array:
        return x.copy() if x.dtype == bool else self.xp.sign(x)

    def backward(self, grad: Tensor) -> Tensor:
        return flat(grad)


class Erf(Elementwise):
    only_real = True
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
        return Exp.of(self)

    def expm1(self) -> Tensor:
        """eˣ - 1, elementwise, exact near 0."""
        return Expm1.of(self)

    def log(self) -> Tensor:
        """Natural logarithm, elementwise."""
        return Log.of(self)

    def sqrt(self) -> Tensor:
        """Square root, elementwise; the gradient at 0 is infinite."""
        return Sqrt.of(self)

    def abs(self) -> Tensor:
        """Absolute value, elementwise; the gradient at 0 is 0."""
        return Modulus()(self) if self.data.dtype.kind == "c" else Abs.of(self)

    __abs__ = abs

    def __pos__(self) -> Tensor:
        if self._facts.dtype == bool:
            raise TypeError("[positive] expected numbers, got dtype bool")
        return Positive.of(self)

    def sign(self) -> Tensor:
        """-1, 0 or 1, elementwise, with a gradient of 0; of complex numbers z / |z|, 0 at 0."""
        if self._facts.dtype.kind != "c":
            return Sign()(self)
        x: Any = self
        size: Any = x.abs()
        there = size.detach() != 0
        return x.where(there, 0) / size.where(there, 1)  # type: ignore[no-any-return]

    def sin(self) -> Tensor:
        """Sine of radians, elementwise."""
        return Sin.of(self)

    def cos(self) -> Tensor:
        """Cosine of radians, elementwise."""
        return Cos.of(self)

    def erf(self) -> Tensor:
        """The error function 2/√π ∫₀ˣ exp(-t²) dt, elementwise."""
        return in_single(as_float(self), Erf())
