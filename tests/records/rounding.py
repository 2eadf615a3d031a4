"""Records of ops/rounding.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.elementwise import off_steps, one, ufunc
from support.sampling import NUMBERS, Case, Draw, Sample, method, shapes
from tinygrad_cupy.ops import rounding


def _decimals(draw: Draw) -> Case:
    decimals = draw(st.sampled_from([0, 1, 2, -1]))
    steps = off_steps(draw, draw(shapes(min_side=0)))
    return Case((steps / 10.0**decimals,), {"decimals": decimals})


def _modf(torch: Any, x: Any) -> Any:
    return [x.frac(), x.trunc()]


STEPS: dict[str, Any] = {"kinks": True, "dtypes": NUMBERS}

SAMPLES = [
    ufunc("floor", rounding.Floor, one(off_steps), **STEPS),
    ufunc("ceil", rounding.Ceil, one(off_steps), **STEPS),
    ufunc("trunc", rounding.Trunc, one(off_steps), **STEPS),
    ufunc("fix", rounding.Trunc, one(off_steps), **STEPS),
    ufunc("rint", rounding.Rint, one(off_steps), kinks=True, torch=lambda t, x: t.round(x)),
    ufunc("modf", (rounding.Fraction, rounding.Trunc), one(off_steps), kinks=True, torch=_modf),
    Sample(
        "round",
        call=method("round"),
        cases=_decimals,
        torch=lambda t, x, decimals: t.round(x, decimals=decimals),
        ops=(rounding.Round,),
        covers=("round",),
        kinks=True,
    ),
    *[
        ufunc(
            name,
            rounding.Round,
            _decimals,
            torch=lambda t, x, decimals: t.round(x, decimals=decimals),
            kinks=True,
        )
        for name in ("round", "around")
    ],
]
