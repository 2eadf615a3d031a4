"""Records of ops/exponential.py."""

from __future__ import annotations

from typing import Any

from support.elementwise import between, function, one, special, two, ufunc
from support.sampling import NUMBERS, nonzero, positive
from tinygrad_cupy.ops import arithmetic, exponential


def _cbrt(_: Any, x: Any) -> Any:
    return x.sign() * x.abs() ** (1 / 3)


SAMPLES = [
    function("exp", exponential.Exp),
    function("expm1", exponential.Expm1),
    function("log", exponential.Log, positive),
    function("sqrt", exponential.Sqrt, positive),
    ufunc("exp2", exponential.Exp2),
    ufunc("log2", exponential.Log2, one(positive)),
    ufunc("log10", exponential.Log10, one(positive)),
    ufunc("log1p", exponential.Log1p, one(between(-0.45, 2))),
    ufunc("square", exponential.Square, dtypes=NUMBERS),
    ufunc("reciprocal", exponential.Reciprocal, one(nonzero)),
    ufunc("cbrt", exponential.Cbrt, one(nonzero), torch=_cbrt),
    special("exp2", exponential.Exp2),
    special("exp10", exponential.Exp10, torch=lambda t, x: 10**x),
    special("expm1", exponential.Expm1),
    special("log1p", exponential.Log1p, one(between(-0.45, 2))),
    special("cbrt", exponential.Cbrt, one(nonzero), torch=_cbrt),
    ufunc("logaddexp", exponential.Logaddexp, two()),
    ufunc("logaddexp2", exponential.Logaddexp2, two()),
    ufunc(
        "float_power",
        arithmetic.Pow,
        two(positive),
    ),
]
