"""Records of ops/floating.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy.numpy as tnp
from support.elementwise import between, one, two, ufunc
from support.sampling import (
    FLOATS,
    Case,
    Draw,
    Error,
    Sample,
    broadcastable,
    nonzero,
    normal,
    rng_of,
    shapes,
)
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import floating, unary


def _not_finite(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    return rng_of(draw).choice([-np.inf, -2.0, -0.0, 0.0, 1.0, np.inf, np.nan], shape)


def _exponents(draw: Draw) -> Case:
    first, second = broadcastable(draw, 2)
    n = rng_of(draw).integers(-3, 4, second)
    return Case((normal(draw, first),), {"x2": n})


def _filled(draw: Draw) -> Case:
    options = draw(
        st.sampled_from([{}, {"nan": 1.5}, {"posinf": 2.5, "neginf": -2.5}, {"posinf": 3.0}])
    )
    return Case((normal(draw, draw(shapes(min_side=0))),), options)


def _gap(torch: Any, x: Any, towards: Any) -> Any:
    """How far it is to the next number, exactly; not every PyTorch has a derivative of that."""
    x = x.detach()
    return torch.nextafter(x, towards.detach()) - x


def _spacing(torch: Any, x: Any) -> Any:
    return _gap(torch, x, x.sign() * np.inf) + 0 * x


def _heaviside(torch: Any, a: Any, b: Any) -> Any:
    return torch.where(a == 0, b, (a > 0).to(b.dtype))


SAMPLES = [
    ufunc("fabs", unary.Abs, one(nonzero), kinks=True, torch=lambda t, x: x.abs()),
    ufunc("copysign", floating.Copysign, two(nonzero, nonzero), kinks=True),
    ufunc(
        "nextafter",
        floating.Nextafter,
        two(nonzero, between(3, 4)),
        torch=lambda torch, a, b: a + _gap(torch, a, b),
    ),
    ufunc("spacing", floating.Spacing, one(nonzero), torch=_spacing, kinks=True),
    ufunc("heaviside", floating.Heaviside, two(nonzero), torch=_heaviside, kinks=True),
    ufunc(
        "ldexp",
        floating.Ldexp,
        _exponents,
        call=lambda x, x2: tnp.ldexp(x, Tensor(x2)),
        torch=lambda _, x, x2: x * 2.0 ** x2.to(x.dtype),
        errors=(
            Error(
                lambda: tnp.ldexp(Tensor([1.0]), 1.0),
                TypeError,
                "[ldexp] expected integers or booleans, got dtype float64",
            ),
        ),
    ),
    ufunc(
        "frexp",
        (floating.Mantissa, floating.Exponent, floating.Ldexp),
        one(nonzero),
        call=lambda x: tnp.frexp(x)[0],
        torch=lambda t, x: t.frexp(x)[0],
        kinks=True,
    ),
    Sample(
        "np.frexp exponent",
        lambda x: tnp.frexp(x)[1],
        one(normal),
        lambda t, x: t.frexp(x)[1],
        (floating.Exponent,),
        ("np.frexp",),
        order=0,
    ),
    ufunc("nan_to_num", floating.NanToNum, _filled),
    *[
        ufunc(name, op, one(_not_finite), order=0, torch=torch, dtypes=("float16", *FLOATS))
        for name, op, torch in (
            ("isfinite", floating.Isfinite, lambda t, x: t.isfinite(x)),
            ("isinf", floating.Isinf, lambda t, x: t.isinf(x)),
            ("isnan", floating.Isnan, lambda t, x: t.isnan(x)),
            ("signbit", floating.Signbit, lambda t, x: t.signbit(x)),
        )
    ],
]
