"""B-splines: their polynomials, and the poles of the filter that gives a spline's coefficients.

The central B-spline of order n is n! βₙ(t) = Σₖ (-1)ᵏ C(n+1, k) (t + (n+1)/2 - k)₊ⁿ, where ₊ sets
negative numbers to 0. Source: Unser, Aldroubi and Eden 1993, "B-spline signal processing".
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

ORDERS = (2, 3, 4, 5)


@functools.cache
def pieces(order: int) -> tuple[tuple[float, ...], ...]:
    """The weights of order + 1 neighbours as polynomials of b, from the constant term on.

    b is how far the point is beyond the neighbour that it is counted from: the one below it if the
    order is odd, the nearest one if it is even. order // 2 neighbours come before that one.
    """
    found = []
    for j in range(-(order // 2), order - order // 2 + 1):
        powers = [Fraction(0)] * (order + 1)
        for k in range((order + 1) // 2 - j + 1):  # those whose bracket is positive
            shift = Fraction(order + 1, 2) - j - k
            times = Fraction((-1) ** k * math.comb(order + 1, k), math.factorial(order))
            for i in range(order + 1):
                powers[i] += times * math.comb(order, i) * shift ** (order - i)
        found.append(tuple([float(c) for c in powers]))
    return tuple(found)


@functools.cache
def poles(order: int) -> tuple[float, ...]:
    """The filter's, between -1 and 0: the roots of Σ βₙ(k) zᵏ, which come as pairs z, 1 / z."""
    sums = {2: (-6.0,), 3: (-4.0,), 4: _pair(76.0, 228.0), 5: _pair(26.0, 64.0)}[order]
    return tuple([2 / (total - math.sqrt(total**2 - 4)) for total in sums])  # of z + 1 / z


def _pair(b: float, c: float) -> tuple[float, float]:
    """The roots of x² + b x + c."""
    far = -b / 2 - math.sqrt(b**2 / 4 - c)
    return far, c / far
