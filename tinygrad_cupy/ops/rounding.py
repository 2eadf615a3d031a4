"""Rounding: to integers, to decimals. The gradient is 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import Elementwise, TensorBase
from ..backend import Array, array_module
from ..backend.dtypes import through_single
from .functions import Body, flat, function
from .promotion import as_float

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


def _whole(name: str) -> Body:
    """The array library's function; integers are rounded already."""

    def body(x: Array) -> Array:
        return x.copy() if x.dtype.kind in "biu" else getattr(array_module(x), name)(x)

    return body


Floor = function("floor", "The integer ≤ x.", flat, _whole("floor"), keeps=True, exact=True)
Ceil = function("ceil", "The integer ≥ x.", flat, _whole("ceil"), keeps=True, exact=True)
Trunc = function(
    "trunc", "x without what is behind the point.", flat, _whole("trunc"), keeps=True, exact=True
)
Rint = function("rint", "The nearest integer, of two the even one.", flat, exact=True)
Fraction = function(
    "fraction",
    "What is behind the point, with the sign of x; the gradient is that of x.",
    lambda grad: grad,
    body=lambda x: array_module(x).modf(x)[0],
)


def modf(x: Any) -> tuple[Tensor, Tensor]:
    """What is behind the point, and what before, both with the sign of x."""
    x = as_float(x)
    return Fraction.of(x), Trunc.of(x)


class Round(Elementwise):
    """Rounded to that many ``decimals``; what lies in the middle, to the even neighbour."""

    def __init__(self, decimals: int) -> None:
        self.decimals = decimals

    def forward(self, x: Array) -> Array:
        return through_single(lambda x: x.round(self.decimals))(x)

    def backward(self, grad: Tensor) -> Tensor:
        return flat(grad)


class RoundingMixin(TensorBase):
    """Rounding as a method."""

    __slots__ = ()

    def round(self, decimals: int = 0) -> Tensor:
        """Rounded to ``decimals``, before the point where it is negative; the gradient is 0.

        What lies in the middle goes to the even neighbour. Integers stay integers.
        """
        return Round(decimals)(as_float(self) if self.data.dtype == bool else self)
