"""The gamma function and what follows it: polygamma, zeta and beta functions, incomplete gamma."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import kernels
from ..autograd import Elementwise
from ..backend import Array, array_module
from ..kernels.common.special import scipys
from .exponential import Log
from .floating import Isinf
from .functions import Function, Pair, flat
from .functions import real_function as function
from .functions import real_pair as pair
from .rounding import Floor, Rint

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

FAR = 1e3  # from here on 1 / Γ is 0 in every dtype


def undifferentiated(name: str, argument: str) -> Any:
    """A rule that raises: by this argument there is no derivative here."""

    def rule(grad: Tensor) -> NoReturn:
        raise NotImplementedError(
            f"[{name}] has no gradient by {argument}: give it as a number, or a tensor that wants "
            "none (.detach())"
        )

    return rule


# --- log Γ and its derivatives ------------------------------------------------------------------

Gammaln: type[Function] = function(
    "gammaln",
    "log |Γ(x)|; ∞ at 0, -1, -2, …, where the gradient is NaN.",
    lambda grad, x: grad * Digamma.of(x),
    scipys("gammaln"),
)
Loggamma: type[Function] = function(
    "loggamma",
    "log Γ(x) of x ≥ 0, else NaN: the logarithm is complex there.",
    lambda grad, x: grad * Digamma.of(x.where(x >= 0, math.nan)),
    scipys("loggamma"),
)
Digamma: type[Function] = function(
    "digamma",
    "ψ(x) = Γ'(x) / Γ(x); NaN at -1, -2, ….",
    lambda grad, x: grad * Polygamma.of(1, x),
    scipys("digamma"),
)


def _polygamma(n: Array, x: Array) -> Array:
    """(-1)ⁿ⁺¹ n! ζ(n + 1, x) for n ≥ 1 (DLMF 25.11.12)."""
    xp = array_module(x)
    with np.errstate(all="ignore"):
        order = xp.maximum(n, n.dtype.type(1))
        sign = 2 * (order % 2) - 1
        found = sign * scipys("gamma")(order + 1) * scipys("zeta")(order + 1, x)
        found = xp.where(n == 0, scipys("digamma")(x), found)
        return xp.where(n >= 0, found, n.dtype.type(math.nan))


Polygamma: type[Pair] = pair(
    "polygamma",
    "The n-th derivative of digamma at x, n a whole number.",
    undifferentiated("polygamma", "n"),
    lambda grad, a, b: grad * Polygamma.of(a + 1, b),
    _polygamma,
)
Zeta: type[Pair] = pair(
    "zeta",
    "Hurwitz's Σ 1 / (k + q)ˣ over k ≥ 0; ∞ at x = 1 and at q = 0, -1, -2, ….",
    undifferentiated("zeta", "x"),
    lambda grad, a, b: -(grad * a * Zeta.of(a + 1, b)),
    scipys("zeta"),
)

# --- Γ itself -----------------------------------------------------------------------------------

Gamma = function(
    "gamma",
    "Γ(x).",
    lambda grad, x, y: grad * (y * Digamma.of(x)),
    scipys("gamma"),
)
Gammasgn = function("gammasgn", "The sign of Γ(x).", flat, scipys("gammasgn"))


def _rgamma_slope(grad: Any, x: Any, y: Any) -> Any:
    """At 0, -1, -2, … 1 / Γ is 0 and ψ infinite: there by the reflection formula's derivative."""
    low = x < 0.5
    above, below = x.where(~low, 1).clip(high=FAR), x.where(low, 0)
    whole = Rint.of(below.detach())
    sign = 1 - 2 * (whole - 2 * Floor.of(whole * 0.5))
    angle = (below - whole) * math.pi
    turned = angle.cos() - Digamma.of(1 - below) * angle.sin() * (1 / math.pi)
    return grad * (Gamma.of(1 - below) * turned * sign).where(low, -(Digamma.of(above) * y))


Rgamma = function(
    "rgamma",
    "1 / Γ(x): 0 at 0, -1, -2, ….",
    _rgamma_slope,
    scipys("rgamma"),
)

# --- beta ---------------------------------------------------------------------------------------

Beta: type[Pair] = pair(
    "beta",
    "Γ(a) Γ(b) / Γ(a + b).",
    lambda grad, a, b, y: grad * (y * (Digamma.of(a) - Digamma.of(a + b))),
    lambda grad, a, b, y: grad * (y * (Digamma.of(b) - Digamma.of(a + b))),
    scipys("beta"),
)
Betaln: type[Pair] = pair(
    "betaln",
    "log |Γ(a) Γ(b) / Γ(a + b)|.",
    lambda grad, a, b: grad * (Digamma.of(a) - Digamma.of(a + b)),
    lambda grad, a, b: grad * (Digamma.of(b) - Digamma.of(a + b)),
    scipys("betaln"),
)

# --- incomplete gamma ---------------------------------------------------------------------------


class GammaTail(Elementwise):
    """One of the two integrals of `kernels.gamma.tail`, or a derivative of it, which is alike."""

    only_real = True
    broadcasts = True
    saves = ("a", "x")

    def __init__(self, upper: bool, by_x: int = 0, by_a: int = 0) -> None:
        self.upper, self.by_x, self.by_a = upper, by_x, by_a

    def forward(self, a: Array, x: Array) -> Array:
        return kernels.gamma.tail(a, x, self.upper, self.by_x, self.by_a)

    def backward(self, grad: Tensor, a: Tensor, x: Tensor) -> tuple[Tensor | None, ...]:
        by_a = GammaTail(self.upper, self.by_x, self.by_a + 1)
        by_x = GammaTail(self.upper, self.by_x + 1, self.by_a)
        return (
            grad * by_a(a, x) if self.needs[0] else None,
            grad * by_x(a, x) if self.needs[1] else None,
        )


# Of order a + 1, by x: (density of a) - (density of a + 1), which is right at x = 0, too.
GammaDensity: type[Pair] = pair(
    "gamma_density",
    "xᵃ⁻¹ e⁻ˣ / Γ(a), for a ≥ 0 and x ≥ 0, at (a, x) = (a, b) of the rules.",
    lambda grad, a, b, y: grad * y * (_log_above_zero(b) - Digamma.of(a)),
    lambda grad, a, b, y: grad * (_density_before(a, b, y) - y),
    kernels.gamma.density,
)


def _log_above_zero(x: Any) -> Any:
    return Log.of(x.where(x != 0, 1))


def _density_before(a: Any, x: Any, y: Any) -> Any:
    """The density of a - 1, which below a = 1 is y (a - 1) / x."""
    high = a >= 1
    return GammaDensity.of(a.where(high, 1) - 1, x).where(high, y * ((a - 1) / x.where(~high, 1)))


def _by_shape(a: Any, x: Any) -> Any:
    """∂P/∂a: below x = a + 1 from γ, above from Γ, so that either is right where it is small."""
    low, inside = x < a + 1, ~Isinf.of(x)
    below, above = x.where(low, 0), x.where(~low & inside, a.detach() + 2)
    log = _log_above_zero(x)
    part, slope = GammaTail(False)(a, below), GammaTail(False, by_a=1)(a, below)
    lower = (log - Digamma.of(a + 1)) * (below * part + 1) + below * slope
    part, slope = GammaTail(True)(a, above), GammaTail(True, by_a=1)(a, above)
    upper = -(a * ((log - Digamma.of(a)) * part + slope))
    return GammaDensity.of(a + 1, x) * lower.where(low, upper.where(inside, 0))


Gammainc: type[Pair] = pair(
    "gammainc",
    "P(a, x) = ∫₀ˣ tᵃ⁻¹ e⁻ᵗ dt / Γ(a).",
    lambda grad, a, b: grad * _by_shape(a, b),
    lambda grad, a, b: grad * GammaDensity.of(a, b),
    scipys("gammainc"),
)
Gammaincc: type[Pair] = pair(
    "gammaincc",
    "Q(a, x) = 1 - P(a, x).",
    lambda grad, a, b: -(grad * _by_shape(a, b)),
    lambda grad, a, b: -(grad * GammaDensity.of(a, b)),
    scipys("gammaincc"),
)
