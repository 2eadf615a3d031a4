"""The gamma function's density and incomplete integrals, on arrays."""

from __future__ import annotations

import math

import numpy as np

from ..backend import Array, Elementwise, array_module, kernel, special_functions
from .common import quadrature

LARGE = 10.0  # from where on Stirling's series gives log Γ
SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)  # DLMF 5.11.1


def density(b: Array, x: Array) -> Array:
    """xᵇ⁻¹ e⁻ˣ / Γ(b) for b ≥ 0 and x ≥ 0, else NaN; 0 for b = 0.

    For large b by (x - b) / b and Stirling's series: (b - 1) log x - x - log Γ(b) would lose as
    many digits as b log b has.
    """
    xp, special = array_module(b), special_functions(b)
    with np.errstate(all="ignore"):
        small = special.xlogy(b - 1, x) - x - special.gammaln(b)
        wide = xp.maximum(b, b.dtype.type(LARGE))
        ratio = x / wide
        near = xp.maximum((x - wide) / wide, b.dtype.type(-0.5))
        log = xp.where(ratio < 0.5, xp.log(ratio), xp.log1p(near))
        square, rest = wide * wide, xp.zeros_like(ratio)
        for coefficient in reversed(SERIES):
            rest = rest / square + coefficient
        root = 0.5 * xp.log(wide * (2 * math.pi))
        large = (wide - 1) * log - (x - wide) - root - rest / wide
        y = xp.exp(xp.where(b < LARGE, small, large))
        y = xp.where((b == 0) | (x == math.inf), b.dtype.type(0), y)
        inside = (b >= 0) & (x >= 0)
        return xp.where(inside, y, b.dtype.type(math.nan))


# --- the integrals ------------------------------------------------------------------------------


def _tail_cpu(a: Array, x: Array, upper: bool, by_x: int, by_a: int) -> Array:
    sign, b = (1.0, a) if upper else (-1.0, a + 1)
    total = np.zeros(np.broadcast_shapes(a.shape, x.shape), a.dtype)
    with np.errstate(all="ignore"):
        width = sign / (np.abs(x - b) + np.sqrt(x))
        for v, weight in quadrature.nodes(quadrature.step_of(a.dtype)):
            r = width * v
            less = -np.expm1(r)
            term = np.exp(b * r + x * less)
            term *= weight
            for _ in range(by_a):
                term *= r
            for _ in range(by_x):
                term *= less
            total += term
        found: Array = total * np.abs(width)
        return found


_tail = Elementwise(
    "T a, T x, float64 sign, float64 step, int32 first, int32 last, int32 by_x, int32 by_a",
    "T y",
    """
    const T b = sign > 0 ? a : T(a + 1), width = T(sign) / (fabs(x - b) + sqrt(x));
    T total = 0;
    for (int k = first; k <= last; ++k) {
        const T t = T(k * step), back = exp(-t), v = exp(t - back);
        const T r = width * v, less = -expm1(r);
        T term = T(step) * v * (1 + back) * exp(b * r + x * less);
        for (int j = 0; j < by_a; ++j) term *= r;
        for (int j = 0; j < by_x; ++j) term *= less;
        total += term;
    }
    y = total * fabs(width);
    """,
    "gamma_tail",
)


def _tail_cuda(a: Array, x: Array, upper: bool, by_x: int, by_a: int) -> Array:
    step = quadrature.step_of(a.dtype)
    sign = 1.0 if upper else -1.0
    found: Array = _tail(a, x, sign, step, *quadrature.ends(step), by_x, by_a)
    return found


@kernel(cpu=_tail_cpu, cuda=_tail_cuda)
def tail(a: Array, x: Array, upper: bool, by_x: int, by_a: int) -> Array:
    """The part of ∫ exp(b r - x (eʳ - 1)) dr above r = 0, b = a, or below, b = a + 1.

    Γ(a, x) = xᵃ e⁻ˣ · upper and γ(a, x) = xᵃ e⁻ˣ / a · (1 + x · lower): t = x eʳ in Euler's
    integral, and for the lower one an integration by parts. Differentiated ``by_x`` and ``by_a``
    times; the integrand keeps its sign, so that nothing cancels.
    """
