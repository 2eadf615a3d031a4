"""What follows the error function, on arrays."""

from __future__ import annotations

import math

import numpy as np

from ..backend import Array, Elementwise, array_module, kernel, special_functions
from .common import quadrature

NEAR = 0.5  # below it the recurrence loses nothing, above it the integral is taken
FAR = 1e18  # beyond it the integrals are those at FAR, 0 to rounding


def _integral_cpu(x: Array, order: int) -> Array:
    far = np.clip(x, NEAR, FAR)
    width = 1 / (2 * far + x.dtype.type(math.sqrt(2)))
    total = np.zeros_like(far)
    with np.errstate(under="ignore"):
        for v, weight in quadrature.nodes(quadrature.step_of(x.dtype)):
            t = width * v
            term = np.exp(-t * (t + 2 * far))
            term *= weight
            for k in range(order):
                term *= t / (k + 1)
            total += term
    total *= width * (2 / math.sqrt(math.pi))
    return total


_integral = Elementwise(
    "T x, float64 near, float64 far, float64 step, int32 first, int32 last, int32 order",
    "T y",
    """
    const T z = x < T(near) ? T(near) : x > T(far) ? T(far) : x;
    const T width = 1 / (2 * z + T(1.4142135623730951));
    T total = 0;
    for (int k = first; k <= last; ++k) {
        const T u = T(k * step), back = exp(-u), v = exp(u - back), t = width * v;
        T term = T(step) * v * (1 + back) * exp(-t * (t + 2 * z));
        for (int j = 1; j <= order; ++j) term *= t / j;
        total += term;
    }
    y = total * width * T(1.1283791670955126);
    """,
    "erfc_integral",
)


def _integral_cuda(x: Array, order: int) -> Array:
    step = quadrature.step_of(x.dtype)
    found: Array = _integral(x, NEAR, FAR, step, *quadrature.ends(step), order)
    return found


@kernel(cpu=_integral_cpu, cuda=_integral_cuda)
def _integral_above(x: Array, order: int) -> Array:
    """2/√π ∫₀^∞ tⁿ / n! exp(-t² - 2 x t) dt, for x ≥ `NEAR`."""


def erfc_integral(x: Array, order: int) -> Array:
    """exp(x²) times the n-fold integral of erfc from x to ∞, n ≥ 1 (DLMF 7.18).

    Below `NEAR` by the recurrence 2 n Eₙ = Eₙ₋₂ - 2 x Eₙ₋₁, from E₋₁ = 2/√π and E₀ = erfcx.
    """
    xp = array_module(x)
    with np.errstate(all="ignore"):
        near = xp.minimum(x, x.dtype.type(NEAR))
        last = xp.full_like(near, 2 / math.sqrt(math.pi))
        found = special_functions(x).erfcx(near)
        for n in range(1, order + 1):
            last, found = found, (last - 2 * near * found) / (2 * n)
        return xp.where(x < NEAR, found, _integral_above(x, order))


def hazard(x: Array) -> Array:
    """φ(x) / Φ(x), of the normal density and distribution function."""
    with np.errstate(all="ignore"):
        found: Array = math.sqrt(2 / math.pi) / special_functions(x).erfcx(x * -math.sqrt(0.5))
        return found


def excess(x: Array) -> Array:
    """x + φ(x) / Φ(x), which falls to 0 as -1/x at -∞."""
    xp = array_module(x)
    z = x * -math.sqrt(0.5)
    with np.errstate(all="ignore"):
        above = xp.maximum(z, x.dtype.type(NEAR))
        ratio = _integral_above(above, 1) / special_functions(x).erfcx(above)
        return xp.where(z < NEAR, x + hazard(x), ratio * math.sqrt(2))
