"""Bessel functions on arrays, where CuPy's are not SciPy's."""

from __future__ import annotations

from collections.abc import Callable

from ..backend import Array, Elementwise, array_module, kernel
from .common.special import scipys

FAR = 20.0  # from where on 32 terms of Hankel's expansion give all digits


# --- scaled modified functions ------------------------------------------------------------------
# CuPy's are the product of an exponential and the function, one of which overflows.

# DLMF 10.40.1 and 10.40.2, mu = 4 ν²
_hankel = Elementwise(
    "T x, T near, float64 mu, float64 sign, float64 far",
    "T y",
    """
    const T size = sign < 0 ? fabs(x) : x;
    if (size < T(far)) {
        y = near;
    } else {
        T term = 1, total = 1;
        for (int k = 1; k <= 32; ++k) {
            const T odd = 2 * k - 1;
            term *= T(sign) * (T(mu) - odd * odd) / (8 * k * size);
            total += term;
        }
        y = total * sqrt(T(sign < 0 ? 0.15915494309189535 : 1.5707963267948966) / size);
        if (sign < 0 && mu > 0 && x < 0) y = -y;
    }
    """,
    "bessel_hankel",
)


def _of_one(name: str) -> Callable[[Array], Array]:
    def cpu(x: Array) -> Array:
        return scipys(name)(x)

    return cpu


def _of_order(name: str) -> Callable[[Array, Array], Array]:
    def cpu(v: Array, x: Array) -> Array:
        return scipys(name)(v, x)

    return cpu


def _scaled(name: str, order: int, sign: float) -> Callable[[Array], Array]:
    """The function times e^(-|x|) for I, of sign -1, times eˣ for K, of sign 1."""
    plain = scipys(name)

    def cuda(x: Array) -> Array:
        near = plain(array_module(x).clip(x, -FAR, FAR))
        found: Array = _hankel(x, near, 4.0 * order * order, sign, FAR)
        return found

    return cuda


@kernel(cpu=_of_one("i0e"), cuda=_scaled("i0e", 0, -1.0))
def i0e(x: Array) -> Array:
    """e^(-|x|) I₀(x)."""


@kernel(cpu=_of_one("i1e"), cuda=_scaled("i1e", 1, -1.0))
def i1e(x: Array) -> Array:
    """e^(-|x|) I₁(x)."""


@kernel(cpu=_of_one("k0e"), cuda=_scaled("k0e", 0, 1.0))
def k0e(x: Array) -> Array:
    """eˣ K₀(x)."""


@kernel(cpu=_of_one("k1e"), cuda=_scaled("k1e", 1, 1.0))
def k1e(x: Array) -> Array:
    """eˣ K₁(x)."""


# --- of any order -------------------------------------------------------------------------------

_ORDERS = """
__device__ double bessel_jv(double v, double x) {
    const int order = int(v), size = order < 0 ? -order : order;
    if (double(order) != v) return nan("");
    const double y = jn(size, fabs(x));
    return size % 2 && (order < 0) != (x < 0) ? -y : y;
}
__device__ double bessel_yv(double v, double x) {
    const int order = int(v), size = order < 0 ? -order : order;
    if (double(order) != v || x < 0) return nan("");
    const double y = yn(size, x);
    return size % 2 && order < 0 ? -y : y;
}
"""
_jv = Elementwise("T v, T x", "T y", "y = T(bessel_jv(v, x))", "bessel_jv_of_integers", _ORDERS)
_yv = Elementwise("T v, T x", "T y", "y = T(bessel_yv(v, x))", "bessel_yv_of_integers", _ORDERS)


# CuPy has none. I by its power series (DLMF 10.25.2), in units of a power of e so that nothing
# overflows, and far out by Hankel's expansion; eˣ K by ∫ exp(-x (cosh t - 1)) cosh(v t) dt from 0
# (10.32.9) by the trapezoidal rule, whose error falls with an exponential of 1 / step here.
_MODIFIED = """
__device__ double bessel_ive(double v, double x) {
    const bool whole = v == floor(v);
    if (x != x || v != v || (x < 0 && !whole)) return nan("");
    const double side = x < 0 && fmod(v, 2.0) != 0 ? -1 : 1;
    x = fabs(x);
    if (v < 0 && whole) v = -v;
    if (x > 1e300) return 0;
    if (x > 30 && x > v * v) {
        double term = 1, total = 1;
        for (int k = 1; k <= 60; ++k) {
            const double odd = 2 * k - 1;
            term *= (odd * odd - 4 * v * v) / (8 * k * x);
            total += term;
            if (fabs(term) < 1e-17 * fabs(total)) break;
        }
        return side * total / sqrt(6.283185307179586 * x);
    }
    const double sign = v > -1 || fmod(floor(v), 2.0) != 0 ? 1 : -1;
    if (x == 0) return v == 0 ? 1 : v > 0 ? 0 : sign / x;
    double term = 1, total = 1, scale = v * log(x / 2) - lgamma(v + 1) - x;
    for (int k = 1; k <= 100000; ++k) {
        term *= x * x / 4 / (k * (k + v));
        total += term;
        if (total > 1e200) {
            term *= 1e-200;
            total *= 1e-200;
            scale += 460.51701859880916;
        }
        if (k + v > 0 && fabs(term) < 1e-17 * fabs(total)) break;
    }
    return side * sign * total * exp(scale);
}
__device__ double bessel_kve(double v, double x) {
    if (x != x || v != v || x < 0) return nan("");
    if (x == 0) return 1 / x;
    if (x > 1e300) return 0;
    v = fabs(v);
    double last = 1;
    for (int k = 0; k < 12; ++k) last = acosh(1 + (45 + v * last) / x);
    const double most = fmin(0.2, 0.6 / sqrt(hypot(x, v)));
    const int count = int(last / most) + 1;
    const double step = last / count;
    double total = 0.5;
    for (int k = 1; k <= count; ++k) {
        const double t = k * step, root = sinh(t / 2), fall = 2 * x * root * root;
        total += 0.5 * (exp(v * t - fall) + exp(-v * t - fall));
    }
    return total * step;
}
"""
_iv = Elementwise(
    "T v, T x",
    "T y",
    "y = T(bessel_ive(v, x) * exp(fabs(double(x))))",
    "bessel_iv",
    _MODIFIED,
)
_ive = Elementwise("T v, T x", "T y", "y = T(bessel_ive(v, x))", "bessel_ive", _MODIFIED)
_kv = Elementwise(
    "T v, T x", "T y", "y = T(bessel_kve(v, x) * exp(-double(x)))", "bessel_kv", _MODIFIED
)
_kve = Elementwise("T v, T x", "T y", "y = T(bessel_kve(v, x))", "bessel_kve", _MODIFIED)


@kernel(cpu=_of_order("jv"), cuda=_jv)
def jv(v: Array, x: Array) -> Array:
    """J of order v at x; in CUDA of whole orders, NaN of others."""


@kernel(cpu=_of_order("yv"), cuda=_yv)
def yv(v: Array, x: Array) -> Array:
    """Y of order v at x; in CUDA of whole orders, NaN of others."""


@kernel(cpu=_of_order("iv"), cuda=_iv)
def iv(v: Array, x: Array) -> Array:
    """I of order v at x."""


@kernel(cpu=_of_order("ive"), cuda=_ive)
def ive(v: Array, x: Array) -> Array:
    """e^(-|x|) times I of order v at x."""


@kernel(cpu=_of_order("kv"), cuda=_kv)
def kv(v: Array, x: Array) -> Array:
    """K of order v at x."""


@kernel(cpu=_of_order("kve"), cuda=_kve)
def kve(v: Array, x: Array) -> Array:
    """eˣ times K of order v at x."""
