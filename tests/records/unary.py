"""Records of ops/unary.py."""

from __future__ import annotations

from support.elementwise import function, one
from support.sampling import NUMBERS, Sample, nonzero, positive
from tinygrad_cupy.ops import unary

SAMPLES = [
    function("exp", unary.Exp),
    function("expm1", unary.Expm1),
    function("log", unary.Log, positive),
    function("sqrt", unary.Sqrt, positive),
    function("abs", unary.Abs, nonzero, kinks=True, dtypes=NUMBERS),
    Sample("abs()", abs, one(nonzero), lambda _, x: abs(x), (unary.Abs,), ("__abs__",), kinks=True),
    function("sign", unary.Sign, nonzero, kinks=True, dtypes=NUMBERS),
    function("sin", unary.Sin),
    function("cos", unary.Cos),
    function("erf", unary.Erf),
]
