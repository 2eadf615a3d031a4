"""Exponential integrals."""

from __future__ import annotations

import math
from typing import Any

from ..kernels.common.special import scipys
from .functions import Function, Pair
from .functions import real_function as function
from .functions import real_pair as pair
from .gamma import undifferentiated

Exp1: type[Function] = function(
    "exp1",
    "E₁(x) = ∫ e⁻ᵗ / t dt from x to ∞: ∞ at 0, NaN below.",
    lambda grad, x: -(grad * (-x).exp() / x.where(x >= 0, math.nan)),
    scipys("exp1"),
)
Expi: type[Function] = function(
    "expi",
    "Ei(x) = ∫ eᵗ / t dt from -∞ to x, the principal value; -∞ at 0.",
    lambda grad, x: grad * x.exp() / x,
    scipys("expi"),
)


def _expn_slope(grad: Any, a: Any, b: Any, y: Any) -> Any:
    """-Eₙ₋₁; E₀ is e⁻ˣ / x."""
    before = Expn.of(a.where(a > 0, 1) - 1, b)
    return -(grad * before.where(a > 0, y * (1 / b + 1)))


Expn: type[Pair] = pair(
    "expn",
    "Eₙ(x) = ∫ e^(-x t) / tⁿ dt from 1 to ∞, (n, x) = (a, b), n = 0, 1, 2, ….",
    undifferentiated("expn", "n"),
    _expn_slope,
    scipys("expn"),
)
