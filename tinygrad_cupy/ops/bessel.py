"""Bessel functions: J, Y, the modified I and K, and the spherical j."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Elementwise
from ..backend import Array
from ..kernels.common.special import scipys
from .functions import Function, Pair
from .functions import real_function as function
from .functions import real_pair as pair
from .gamma import undifferentiated
from .promotion import as_float, in_single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


def _over(y: Any, x: Any) -> Any:
    """y / x of an odd function with slope ½ at 0: there ½."""
    there = x != 0
    return (y / x.where(there, 1)).where(there, 0.5)


# --- of order 0 and 1 ---------------------------------------------------------------------------

I0: type[Function] = function("i0", "I₀(x).", lambda grad, x: grad * I1.of(x), scipys("i0"))
I1: type[Function] = function(
    "i1", "I₁(x).", lambda grad, x, y: grad * (I0.of(x) - _over(y, x)), scipys("i1")
)
I0e: type[Function] = function(
    "i0e",
    "e^(-|x|) I₀(x).",
    lambda grad, x, y: grad * (I1e.of(x) - x.sign() * y),
    kernels.bessel.i0e,
)
I1e: type[Function] = function(
    "i1e",
    "e^(-|x|) I₁(x).",
    lambda grad, x, y: grad * (I0e.of(x) - _over(y, x) - x.sign() * y),
    kernels.bessel.i1e,
)
K0: type[Function] = function(
    "k0", "K₀(x): ∞ at 0, NaN below.", lambda grad, x: -(grad * K1.of(x)), scipys("k0")
)
K1: type[Function] = function(
    "k1",
    "K₁(x): ∞ at 0, NaN below.",
    lambda grad, x, y: -(grad * (K0.of(x) + y / x)),
    scipys("k1"),
)
K0e: type[Function] = function(
    "k0e",
    "eˣ K₀(x).",
    lambda grad, x, y: grad * (y.where(x != 0, 0) - K1e.of(x)),
    kernels.bessel.k0e,
)
K1e: type[Function] = function(
    "k1e",
    "eˣ K₁(x).",
    lambda grad, x, y: grad * (y * (1 - 1 / x) - K0e.of(x)),
    kernels.bessel.k1e,
)
J0: type[Function] = function("j0", "J₀(x).", lambda grad, x: -(grad * J1.of(x)), scipys("j0"))
J1: type[Function] = function(
    "j1", "J₁(x).", lambda grad, x, y: grad * (J0.of(x) - _over(y, x)), scipys("j1")
)
Y0: type[Function] = function(
    "y0", "Y₀(x): -∞ at 0, NaN below.", lambda grad, x: -(grad * Y1.of(x)), scipys("y0")
)
Y1: type[Function] = function(
    "y1",
    "Y₁(x): -∞ at 0, NaN below.",
    lambda grad, x, y: grad * (Y0.of(x).where(x != 0, 0) - y / x),
    scipys("y1"),
)

# --- of any order, by which there is no derivative -----------------------------------------------

Jv: type[Pair] = pair(
    "jv",
    "J of order a at b; on a GPU of whole orders, NaN of others.",
    undifferentiated("jv", "v"),
    lambda grad, a, b: grad * ((Jv.of(a - 1, b) - Jv.of(a + 1, b)) * 0.5),
    kernels.bessel.jv,
)
Yv: type[Pair] = pair(
    "yv",
    "Y of order a at b; on a GPU of whole orders, NaN of others.",
    undifferentiated("yv", "v"),
    lambda grad, a, b: grad * ((Yv.of(a - 1, b) - Yv.of(a + 1, b)) * 0.5),
    kernels.bessel.yv,
)
Iv: type[Pair] = pair(
    "iv",
    "I of order a at b.",
    undifferentiated("iv", "v"),
    lambda grad, a, b: grad * ((Iv.of(a - 1, b) + Iv.of(a + 1, b)) * 0.5),
    kernels.bessel.iv,
)
Ive: type[Pair] = pair(
    "ive",
    "e^(-|b|) I of order a at b.",
    undifferentiated("ive", "v"),
    lambda grad, a, b, y: grad * ((Ive.of(a - 1, b) + Ive.of(a + 1, b)) * 0.5 - b.sign() * y),
    kernels.bessel.ive,
)
Kv: type[Pair] = pair(
    "kv",
    "K of order a at b.",
    undifferentiated("kv", "v"),
    lambda grad, a, b: grad * ((Kv.of(a - 1, b) + Kv.of(a + 1, b)) * -0.5),
    kernels.bessel.kv,
)
Kve: type[Pair] = pair(
    "kve",
    "eᵇ K of order a at b.",
    undifferentiated("kve", "v"),
    lambda grad, a, b, y: grad * (y - (Kve.of(a - 1, b) + Kve.of(a + 1, b)) * 0.5),
    kernels.bessel.kve,
)


class SphericalJn(Elementwise):
    """jₙ(x); j₀ is sin(x) / x.

    jₙ' = (n jₙ₋₁ - (n + 1) jₙ₊₁) / (2n + 1): derivatives of all orders are regular at 0.
    """

    only_real = True
    saves = ("x",)

    def __init__(self, order: int) -> None:
        self.order = order

    def forward(self, x: Array) -> Array:
        xp = self.xp
        far = xp.isinf(x)
        near = xp.where(far, x.dtype.type(1), x)
        y = kernels.trigonometric.spherical_bessel(near, self.order)
        return xp.where(far, x.dtype.type(0), y)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        n = self.order
        slope = SphericalJn(n + 1)(x) * -(n + 1)
        if n:
            slope = slope + SphericalJn(n - 1)(x) * n
        return grad * (slope * (1 / (2 * n + 1)))


def spherical_jn(n: int, x: Any) -> Tensor:
    """jₙ(x), for a Python number n."""
    return in_single(as_float(x), SphericalJn(n))


def i0(x: Tensor) -> Tensor:
    """I₀(x), the modified Bessel function of the first kind and order 0."""
    return I0.of(x)
