"""Records of ops/gamma.py."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from scipy import special as scipys

import tinygrad_cupy as tg
from support.elementwise import between, by_derivatives, of_order, one, special, two
from support.sampling import Case, Draw, Error, positive, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import exponential, gamma
from tinygrad_cupy.ops.functions import Function, Pair

POSITIVE = one(between(0.3, 4))
BELOW = one(between(-1.8, -1.2))
PSI: tuple[type[Function] | type[Pair], ...] = (gamma.Digamma, gamma.Polygamma)

# PyTorch's trigamma is off by 5e-10 in float64, and with it whatever has a second derivative here.
_lgamma = by_derivatives(scipys.gammaln, scipys.psi, lambda x: scipys.polygamma(1, x))
_digamma = by_derivatives(scipys.psi, *[lambda x, n=n: scipys.polygamma(n, x) for n in (1, 2)])
_polygamma = by_derivatives(*[lambda n, x, k=k: scipys.polygamma(n + k, x) for k in range(3)])


def _log_beta(t: Any, a: Any, b: Any) -> Any:
    return _lgamma(t, a) + _lgamma(t, b) - _lgamma(t, a + b)


def _multigammaln(t: Any, x: Any, d: int) -> Any:
    return sum(_lgamma(t, x - j / 2) for j in range(d)) + d * (d - 1) / 4 * math.log(math.pi)


def _multi_case(draw: Draw) -> Case:
    d = draw(st.integers(1, 4))
    values = between(d, d + 3)(draw, draw(shapes(min_side=0)))
    return Case((values,), {"d": d})


def _series(torch: Any, a: Any, x: Any) -> Any:
    """P(a, x) by its power series, DLMF 8.7.1, which PyTorch differentiates by a, too."""
    term, total = torch.ones_like(a + x), torch.ones_like(a + x)
    for n in range(1, 90):
        term = term * x / (a + n)
        total = total + term
    return torch.exp(a * torch.log(x) - x - _lgamma(torch, a + 1)) * total


def _incomplete(name: str, complement: bool, values: Any) -> Any:
    def torch(t: Any, a: Any, x: Any) -> Any:
        # 1 - P is as good as P where neither is small.
        return 1 - _series(t, a, x) if complement else _series(t, a, x)

    op = gamma.Gammaincc if complement else gamma.Gammainc
    ops = (op, gamma.GammaDensity, gamma.GammaTail, *PSI, exponential.Log)
    return special(name, ops, two(values, values), torch=torch)


def _by_x(name: str, op: Any) -> Any:
    """As PyTorch has it: a wants no gradient."""
    return of_order(
        name,
        (op, gamma.GammaDensity),
        [0.3, 1.0, 2.5, 7.0],
        one(between(0.2, 9)),
        lambda t, a, x: getattr(t.special, name)(a, x),
        "a",
        record=f"special.{name} by x",
    )


SAMPLES = [
    special("gammaln", (gamma.Gammaln, *PSI), POSITIVE, torch=_lgamma),
    special(
        "gammaln", (gamma.Gammaln, *PSI), BELOW, torch=_lgamma, record="special.gammaln below 0"
    ),
    special(
        "loggamma",
        (gamma.Loggamma, *PSI),
        POSITIVE,
        torch=_lgamma,
    ),
    special("digamma", PSI, POSITIVE, torch=_digamma, covers=("special.digamma", "special.psi")),
    special("psi", PSI, BELOW, torch=_digamma),
    of_order(
        "polygamma",
        gamma.Polygamma,
        [0, 1, 2, 3],
        POSITIVE,
        _polygamma,
    ),
    special(
        "gamma",
        (gamma.Gamma, *PSI),
        POSITIVE,
        torch=lambda t, x: t.exp(_lgamma(t, x)),
    ),
    special(
        "gammasgn",
        gamma.Gammasgn,
        one(between(-1.9, -1.1)),
        torch=lambda t, x: t.ones_like(x) + 0 * x,
    ),
    special(
        "rgamma",
        (gamma.Rgamma, *PSI),
        POSITIVE,
        torch=lambda t, x: t.exp(-_lgamma(t, x)),
    ),
    special(
        "rgamma",
        (gamma.Rgamma, gamma.Gamma, *PSI),
        one(between(-1.3, -0.7)),
        torch=lambda t, x: t.exp(_lgamma(t, 1 - x)) * t.sin(math.pi * x) / math.pi,
        record="special.rgamma near a zero",
    ),
    special(
        "beta",
        (gamma.Beta, *PSI),
        two(positive, positive),
        torch=lambda t, a, b: _log_beta(t, a, b).exp(),
    ),
    special(
        "betaln",
        (gamma.Betaln, *PSI),
        two(positive, positive),
        torch=_log_beta,
    ),
    special(
        "multigammaln",
        (gamma.Gammaln, *PSI),
        _multi_case,
        torch=_multigammaln,
        errors=(
            Error(
                lambda: tg.special.multigammaln(Tensor([2.0]), 0),
                ValueError,
                "[multigammaln] expected a dimension d of 1, 2, …, got 0",
            ),
        ),
    ),
    of_order(
        "zeta",
        gamma.Zeta,
        [1.5, 2.0, 4.5],
        POSITIVE,
        lambda t, x, q: t.special.zeta(x, q),
        "x",
    ),
    _incomplete("gammainc", False, between(0.4, 4)),
    _incomplete("gammaincc", True, between(0.4, 4)),
    _by_x("gammainc", gamma.Gammainc),
    _by_x("gammaincc", gamma.Gammaincc),
]
