"""Random numbers as functions of uniform ones: quantiles of the gamma distribution, and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..autograd import Elementwise
from ..backend import Array, special_functions

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

STEP = 1e-3  # relative, of the differences that give the slope: their error is of its fourth power


class GammaQuantile(Elementwise):
    """x with P(a, x) = u, of scale 1: its slope by a is that of the draw (Figurnov et al. 2018)."""

    broadcasts = True
    saves = ("a", "u")

    def forward(self, a: Array, u: Array) -> Array:
        return _quantile(a, u)

    def backward(self, grad: Tensor, a: Tensor, u: Tensor) -> tuple[Tensor | None, None]:
        return (grad * GammaSlope()(a, u.detach()) if self.needs[0] else None), None


class GammaSlope(Elementwise):
    """∂x/∂a of `GammaQuantile`, by differences of fourth order; it has no derivative of its own."""

    broadcasts = True

    def forward(self, a: Array, u: Array) -> Array:
        wide = a.astype(np.float64)
        step = wide * STEP
        near, far = (_quantile(wide + k * step, u) - _quantile(wide - k * step, u) for k in (1, 2))
        return ((8 * near - far) / (12 * step)).astype(a.dtype)

    def backward(self, grad: Tensor) -> Tensor:
        raise RuntimeError("[gamma] a draw has a first derivative by its shape, and no second")


def _quantile(a: Array, u: Array) -> Array:
    found: Array = special_functions(a).gammaincinv(a.astype(np.float64), u.astype(np.float64))
    return found.astype(a.dtype)


class Count(Elementwise):
    """The smallest integer whose distribution function reaches u: see `random.counts`."""

    differentiable = False
    broadcasts = True

    def __init__(self, quantile: Callable[..., Array]) -> None:
        self.quantile = quantile

    def forward(self, u: Array, *parameters: Array) -> Array:
        return self.quantile(u, *parameters).astype(np.int64)
