"""Modified Bessel functions of the first kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..autograd import Elementwise
from ..backend import Array, special_functions
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class I0(Elementwise):
    """I₀(x), whose derivative is I₁(x)."""

    only_real = True
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            return special_functions(x).i0(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * I1()(x)


class I1(Elementwise):
    """I₁(x), whose derivative is I₀(x) - I₁(x) / x, at 0 one half."""

    only_real = True
    saves = ("x", "y")

    def forward(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            return special_functions(x).i1(x)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        there = x != 0
        return grad * (I0()(x) - (y / x.where(there, 1)).where(there, 0.5))


def i0(x: Tensor) -> Tensor:
    """I₀(x), the modified Bessel function of the first kind and order 0."""
    return in_single(as_float(x), I0())
