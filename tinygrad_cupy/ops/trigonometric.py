"""Trigonometric and hyperbolic functions, their inverses, and what goes with angles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Elementwise
from ..backend import Array
from ..kernels.common.special import scipys
from .functions import WIDE, Function, Pair, function, pair
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

Sin = function("sin", "Sine of radians.", lambda grad, x: grad * x.cos(), exact=True)
Cos = function("cos", "Cosine of radians.", lambda grad, x: -(grad * x.sin()), exact=True)
Tan = function("tan", "Tangent of radians.", lambda grad, y: grad * (y * y + 1), **WIDE)

Cosm1 = function(
    "cosm1",
    "cos(x) - 1, exact near 0.",
    lambda grad, x: -(grad * x.sin()),
    scipys("cosm1"),
    only_real=True,
)


def _by_square(grad: Any, x: Any) -> Any:
    """``grad`` / x², where x² would overflow, too."""
    return grad / x / x


def _beside_one(x: Any) -> Any:
    """√(x² + 1); x + (1 + 0i) would make 0 of an imaginary part of -0, a side of the cut."""
    return (x * x - -1).sqrt() if x.dtype.kind == "c" else Hypot.of(x, 1)


# 1 - x² would lose digits near ±1.
Arcsin = function(
    "arcsin",
    "The angle from -π/2 to π/2 whose sine is x; the gradient at ±1 is infinite.",
    lambda grad, x: grad / ((1 - x) * (1 + x)).sqrt(),
    **WIDE,
)
Arccos = function(
    "arccos",
    "The angle from 0 to π whose cosine is x; the gradient at ±1 is infinite.",
    lambda grad, x: -grad / ((1 - x) * (1 + x)).sqrt(),
    **WIDE,
)
Arctan = function(
    "arctan",
    "The angle from -π/2 to π/2 whose tangent is x.",
    lambda grad, x: _by_square(grad, _beside_one(x)),
)

Sinh = function("sinh", "Hyperbolic sine.", lambda grad, x: grad * Cosh.of(x), **WIDE)
Cosh: type[Function] = function(
    "cosh", "Hyperbolic cosine.", lambda grad, x: grad * Sinh.of(x), **WIDE
)
Arcsinh = function("arcsinh", "Inverse of sinh.", lambda grad, x: grad / _beside_one(x))
Arccosh = function(
    "arccosh",
    "Inverse of cosh, ≥ 0; the gradient at 1 is infinite.",
    lambda grad, x: grad / (x - 1).sqrt() / (x - -1).sqrt(),
)
Arctanh = function(
    "arctanh",
    "Inverse of tanh; the gradient at ±1 is infinite.",
    lambda grad, x: grad / ((1 - x) * (1 + x)),
)


# --- the plane ----------------------------------------------------------------------------------


def _over_radius(grad: Any, a: Any, b: Any) -> Any:
    """``grad`` / √(a² + b²), 0 at the origin."""
    radius = Hypot.of(a, b)
    return grad / radius.where(radius != 0, math.inf)


# The cosine of the angle; with a and b exchanged, the sine. A family that is closed: both are what
# the rules of all three are made of, and nothing overflows on the way.
Direction: type[Pair] = pair(
    "direction",
    "a / √(a² + b²); 0 at the origin, and the limit along the diagonal at infinity.",
    lambda grad, a, b: _over_radius(grad * Direction.of(b, a) * Direction.of(b, a), a, b),
    lambda grad, a, b: _over_radius(-grad * Direction.of(a, b) * Direction.of(b, a), a, b),
    body=kernels.trigonometric.direction,
)
Hypot: type[Pair] = pair(
    "hypot",
    "√(a² + b²), without overflow; the gradient at the origin is 0, a subgradient.",
    lambda grad, a, b: grad * Direction.of(a, b),
    lambda grad, a, b: grad * Direction.of(b, a),
)
Arctan2 = pair(
    "arctan2",
    "The angle, from -π to π, of the point (b, a); the gradient at the origin is 0.",
    lambda grad, a, b: _over_radius(grad * Direction.of(b, a), a, b),
    lambda grad, a, b: _over_radius(-grad * Direction.of(a, b), a, b),
)


class Sinc(Elementwise):
    """jₙ(πx), of spherical Bessel functions; j₀ is the sine over its angle, 1 at 0.

    jₙ' = (n jₙ₋₁ - (n + 1) jₙ₊₁) / (2n + 1): derivatives of all orders are regular at 0.
    """

    saves = ("x",)

    def __init__(self, order: int = 0) -> None:
        self.order = order

    def forward(self, x: Array) -> Array:
        return kernels.trigonometric.spherical_bessel(x * math.pi, self.order)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        n = self.order
        slope = Sinc(n + 1)(x) * -(n + 1)
        if n:
            slope = slope + Sinc(n - 1)(x) * n
        return grad * (slope * (math.pi / (2 * n + 1)))


def sinc(x: Any) -> Tensor:
    """sin(πx) / (πx), 1 at 0."""
    return in_single(as_float(x), Sinc())


def deg2rad(x: Any) -> Tensor:
    """Degrees as radians."""
    return as_float(x) * (math.pi / 180)


def rad2deg(x: Any) -> Tensor:
    """Radians as degrees."""
    return as_float(x) * (180 / math.pi)
