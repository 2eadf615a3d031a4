"""Records of ops/bessel.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import special as scipys

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.elementwise import between, by_derivatives, of_order, one, special
from support.sampling import Case, Draw, Error, Sample, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import bessel

POSITIVE = one(between(0.5, 6))
ORDERS = [-2, -1, 0, 1, 2, 3]


def _derivatives(function: Any, *order: float) -> Any:
    """Of SciPy's function that gives the n-th derivative: jvp, yvp, ivp, kvp."""
    return by_derivatives(*[lambda *at, n=n: function(*order, *at, n) for n in range(3)])


def _scaled(function: Any, sign: int, *order: float) -> Any:
    plain = _derivatives(function, *order)
    return lambda t, *at: plain(t, *at) * t.exp(sign * at[-1].abs())


def _spherical(n: int, x: Any, times: int = 0) -> Any:
    if not times:
        return scipys.spherical_jn(n, x)
    below = _spherical(n - 1, x, times - 1) * n if n else 0
    return (below - (n + 1) * _spherical(n + 1, x, times - 1)) / (2 * n + 1)


def _spherical_case(draw: Draw) -> Case:
    values = between(-5, 5)(draw, draw(shapes(min_side=0)))
    options = {"n": draw(st.integers(0, 3)), "derivative": draw(st.booleans())}
    return Case((values,), options)


def _spherical_by_scipy(t: Any, x: Any, n: int, derivative: bool) -> Any:
    first = int(derivative)
    calls = [lambda z, k=k: np.asarray(_spherical(n, z, k)) for k in range(first, first + 3)]
    return by_derivatives(*calls)(t, x)


SAMPLES = [
    Sample(
        "np.i0",
        lambda x: tnp.i0(x),
        one(normal),
        lambda torch, x: torch.i0(x),
        (bessel.I0, bessel.I1),
        ("np.i0",),
    ),
    special("i0", (bessel.I0, bessel.I1)),
    special("i1", (bessel.I0, bessel.I1)),
    special("i0e", (bessel.I0e, bessel.I1e)),
    special("i1e", (bessel.I0e, bessel.I1e)),
    *[
        special(name, ops, cases, torch=_derivatives(getattr(scipys, f"{name[0]}vp"), int(name[1])))
        for ops, cases, names in (
            ((bessel.J0, bessel.J1), one(normal), ("j0", "j1")),
            ((bessel.Y0, bessel.Y1), POSITIVE, ("y0", "y1")),
            ((bessel.K0, bessel.K1), POSITIVE, ("k0", "k1")),
        )
        for name in names
    ],
    special("k0e", (bessel.K0e, bessel.K1e), POSITIVE, torch=_scaled(scipys.kvp, 1, 0)),
    special("k1e", (bessel.K0e, bessel.K1e), POSITIVE, torch=_scaled(scipys.kvp, 1, 1)),
    of_order(
        "jv",
        bessel.Jv,
        ORDERS,
        one(between(-6, 6)),
        _derivatives(scipys.jvp),
        "v",
        covers=("special.jv", "special.jn"),
    ),
    of_order("yv", bessel.Yv, ORDERS, POSITIVE, _derivatives(scipys.yvp), "v"),
    of_order("yn", bessel.Yv, ORDERS, POSITIVE, _derivatives(scipys.yvp)),
    of_order("iv", bessel.Iv, [-0.5, 1, 2.5], POSITIVE, _derivatives(scipys.ivp), "v"),
    of_order("ive", bessel.Ive, [-0.5, 1, 2.5], POSITIVE, _scaled(scipys.ivp, -1), "v"),
    of_order("kv", bessel.Kv, [0, 0.5, 2], POSITIVE, _derivatives(scipys.kvp), "v"),
    of_order("kn", bessel.Kv, ORDERS, POSITIVE, _derivatives(scipys.kvp)),
    of_order("kve", bessel.Kve, [0, 0.5, 2], POSITIVE, _scaled(scipys.kvp, 1), "v"),
    special(
        "spherical_jn",
        bessel.SphericalJn,
        _spherical_case,
        call=lambda x, n, derivative: tg.special.spherical_jn(n, x, derivative),
        torch=_spherical_by_scipy,
        errors=(
            Error(
                lambda: tg.special.spherical_jn(-1, Tensor([1.0])),
                ValueError,
                "[spherical_jn] expected an order n of 0, 1, 2, …, got -1",
            ),
        ),
    ),
]
