"""Random counts: the smallest integer whose distribution function reaches a uniform number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Array, array_module, special_functions


def poisson(u: Array, rate: Array) -> Array:
    """Counts of rate λ ≥ 0 as float64: P(X ≤ k) = Q(k + 1, λ)."""
    xp, special = array_module(u), special_functions(u)
    most = xp.ceil(rate + 12 * xp.sqrt(rate)) + 64  # beyond it 1 - P is below 2⁻⁵³
    return _smallest(u, lambda k: special.gammaincc(k + 1, rate), most)


def binomial(u: Array, trials: Array, p: Array) -> Array:
    """Successes of n trials as float64: P(X ≤ k) = I₁₋ₚ(n - k, k + 1)."""
    xp, special = array_module(u), special_functions(u)

    def reached(k: Array) -> Array:
        inside = k < trials
        parts = xp.where(inside, trials - k, 1), xp.where(inside, k + 1, 1)
        return xp.where(inside, special.betainc(*parts, 1 - p), 1)

    return _smallest(u, reached, trials + 0 * p)


def geometric(u: Array, p: Array) -> Array:
    """Trials up to the first success as float64: P(X ≤ k) = 1 - (1 - p)ᵏ."""
    xp = array_module(u)
    safe = xp.where(p < 1, p, 0.5)
    return xp.where(p < 1, xp.maximum(xp.ceil(xp.log1p(-u) / xp.log1p(-safe)), 1), 1)


def _smallest(u: Array, reached: Callable[[Array], Array], most: Array) -> Array:
    """The smallest k from 0 to ``most`` with ``reached(k) > u``, by bisection.

    As often as the largest of 53 bits asks: nothing is read on the host, so that it is captured.
    """
    xp = array_module(u)
    low = xp.zeros(np.broadcast_shapes(u.shape, most.shape), np.float64)
    high: Any = low + most
    for _ in range(53):
        middle = xp.floor((low + high) / 2)
        enough = reached(middle) > u
        high = xp.where(enough, middle, high)
        low = xp.where(enough, low, xp.minimum(middle + 1, high))
    return high
