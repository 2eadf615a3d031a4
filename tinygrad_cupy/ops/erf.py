"""Error functions, and the normal distribution's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Elementwise
from ..backend import Array
from ..kernels.common.special import scipys
from .functions import WIDE, Function
from .functions import real_function as function
from .unary import FAR

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

ROOT_PI = math.sqrt(math.pi)
LEAST = -1e9  # below it the hazard's slope is -1 in every dtype


def _bell(x: Any) -> Any:
    """exp(-x²); at ±∞ the derivatives of x² would be ∞ · 0."""
    near = x.clip(-FAR, FAR)
    return (-(near * near)).exp()


def _normal_density(x: Any) -> Any:
    near = x.clip(-FAR, FAR)
    return (near * near * -0.5).exp() * (1 / math.sqrt(2 * math.pi))


Erfc = function(
    "erfc",
    "1 - erf(x), exact where it is small.",
    lambda grad, x: grad * (_bell(x) * (-2 / ROOT_PI)),
    scipys("erfc"),
)


class ErfcIntegral(Elementwise):
    """exp(x²) times the n-fold integral of erfc from x to ∞; its slope is -2 (n + 1) the next.

    2 x erfcx(x) - 2/√π, the slope of the first by itself, would lose all digits for large x.
    """

    only_real = True
    saves = ("x",)

    def __init__(self, order: int) -> None:
        self.order = order

    def forward(self, x: Array) -> Array:
        return kernels.erf.erfc_integral(x, self.order)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (ErfcIntegral(self.order + 1)(x) * (-2 * (self.order + 1)))


Erfcx = function(
    "erfcx",
    "exp(x²) erfc(x), for large x 1 / (√π x).",
    lambda grad, x: grad * (ErfcIntegral(1)(x) * -2),
    scipys("erfcx"),
)
Erfinv = function(
    "erfinv",
    "The inverse of erf; ±∞ at ±1, with an infinite gradient.",
    lambda grad, y: grad * ((y * y).exp() * (ROOT_PI / 2)),
    scipys("erfinv"),
    **WIDE,
)
Erfcinv = function(
    "erfcinv",
    "The inverse of erfc; ∞ at 0 and -∞ at 2, with an infinite gradient.",
    lambda grad, y: grad * ((y * y).exp() * (-ROOT_PI / 2)),
    scipys("erfcinv"),
)

# --- the normal distribution --------------------------------------------------------------------

Ndtr = function(
    "ndtr",
    "Φ(x), the area under the normal density to the left of x.",
    lambda grad, x: grad * _normal_density(x),
    scipys("ndtr"),
)
Ndtri = function(
    "ndtri",
    "The inverse of Φ: -∞ at 0, ∞ at 1, with an infinite gradient.",
    lambda grad, y: grad * ((y * y * 0.5).exp() * math.sqrt(2 * math.pi)),
    scipys("ndtri"),
)
LogNdtr = function(
    "log_ndtr",
    "log Φ(x), far to the left too.",
    lambda grad, x: grad * Hazard.of(x),
    scipys("log_ndtr"),
)


def _hazard_slope(grad: Any, x: Any) -> Any:
    near = x.clip(LEAST, FAR)  # the limits at ±∞ are -1 and 0
    return -(grad * (Hazard.of(near) * Excess.of(near)))


Hazard: type[Function] = function(
    "hazard", "φ(x) / Φ(x), φ the normal density.", _hazard_slope, kernels.erf.hazard
)
Excess: type[Function] = function(
    "excess",
    "x + φ(x) / Φ(x), without cancellation to the left.",
    lambda grad, x, y: grad * (1 - Hazard.of(x) * y),
    kernels.erf.excess,
)
