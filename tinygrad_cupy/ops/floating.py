"""Floating-point numbers: their signs, neighbours, exponents, and those that are not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Elementwise, TensorBase
from ..backend import Array, array_module, device_of, full
from ..backend.dtypes import choose, is_float, largest
from .complex_numbers import from_parts
from .functions import beside, expect_kinds, flat, function, operands, pair, question
from .promotion import as_float

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

Isfinite = question("isfinite", "Whether x is neither infinite nor NaN.")
Isinf = question("isinf", "Whether x is ∞ or -∞.")
Isnan = question("isnan", "Whether x is NaN.")
Signbit = question("signbit", "Whether the sign of x is negative, -0 and -NaN among them.")


# --- signs and neighbours -----------------------------------------------------------------------


def _with_sign(grad: Any, a: Any, b: Any) -> Any:
    """``grad``, negative where a and b differ in sign; 0 where a is."""
    same = Signbit.of(a) == Signbit.of(b)
    return grad.where(same, -grad).where(a != 0, 0)  # a product would make NaN of ∞


Copysign = pair(
    "copysign",
    "The magnitude of a with the sign of b; the gradient by a is 0 where a is, by b throughout.",
    _with_sign,
    flat,
)
Nextafter = pair(
    "nextafter",
    "The neighbour of a on the way to b; the gradient is that of a.",
    lambda grad: grad,
    flat,
    body=kernels.floating.nextafter,
    exact=True,
)
Spacing = function(
    "spacing",
    "How far x is from its neighbour away from 0; the gradient is 0.",
    flat,
    body=kernels.floating.spacing,
    exact=True,
)
Heaviside = pair(
    "heaviside",
    "0 where a < 0, 1 where a > 0, and b where a = 0: the gradient by b is there, that by a 0.",
    flat,
    lambda grad, a: grad.where(a == 0, 0),
)


def fabs(x: Any) -> Tensor:
    """|x| as a float; the gradient at 0 is 0."""
    return as_float(x).abs()


# --- exponents ----------------------------------------------------------------------------------


class Ldexp(Elementwise):
    """x · 2ⁿ, n integers."""

    only_real = True
    broadcasts = True
    saves = ("n",)
    saved_for = (0,)
    linear = ("x",)

    def forward(self, x: Array, n: Array) -> Array:
        return kernels.floating.ldexp(x, n)

    def backward(self, grad: Tensor, n: Tensor) -> tuple[Tensor, None]:
        return Ldexp()(grad, n), None


def ldexp(x: Any, n: Any) -> Tensor:
    """x · 2ⁿ; the exponents n are integers, and have no gradient."""
    x, n = operands(x, n, "ldexp")
    if not isinstance(x, TensorBase):
        x = beside(n, x, "ldexp")
    if isinstance(n, int):
        n = x._wrap(full((), n, np.int64, device_of(x.data)))
    dtype = np.dtype(float) if isinstance(n, float) else n.dtype
    expect_kinds("ldexp", "biu", dtype)
    return Ldexp()(as_float(x), n)


Exponent = question("exponent", "The e of x = m · 2ᵉ.", lambda x: array_module(x).frexp(x)[1])
Mantissa = function(
    "mantissa",
    "The m of x = m · 2ᵉ, 0.5 ≤ |m| < 1.",
    lambda grad, x: Ldexp()(grad, -Exponent.of(x)),
    body=lambda x: array_module(x).frexp(x)[0],
)


def frexp(x: Any) -> tuple[Tensor, Tensor]:
    """m and e of x = m · 2ᵉ, with 0.5 ≤ |m| < 1; e are integers."""
    x = as_float(x)
    return Mantissa.of(x), Exponent.of(x)


# --- what is not finite -------------------------------------------------------------------------


class NanToNum(Elementwise):
    """x, numbers in place of NaN and ±∞; the gradient passes where x is finite."""

    only_real = True

    def __init__(self, nan: float, above: float | None, below: float | None) -> None:
        self.nan, self.above, self.below = nan, above, below

    def forward(self, x: Array) -> Array:
        self.finite = self.xp.isfinite(x)
        above = largest(x.dtype) if self.above is None else self.above
        below = -largest(x.dtype) if self.below is None else self.below
        y = x
        for found, value in ((x != x, self.nan), (x == np.inf, above), (x == -np.inf, below)):
            y = choose(found, x.dtype.type(value), y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        self.chosen = (grad._wrap(self.finite),)
        return grad.where(self.finite, 0)


def nan_to_num(
    x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """x with numbers for NaN and ±∞, where these are None the largest that the dtype holds."""
    if x.dtype.kind == "c":
        return from_parts(*(nan_to_num(part, nan, posinf, neginf) for part in (x.real, x.imag)))
    return NanToNum(nan, posinf, neginf)(x) if is_float(x.dtype) else x.clone()
