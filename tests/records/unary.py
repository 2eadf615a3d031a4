"""Records of ops/unary.py."""

from __future__ import annotations

from support.elementwise import function, one, special, ufunc
from support.sampling import NUMBERS, Error, Sample, nonzero, normal
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import unary

SAMPLES = [
    function("abs", unary.Abs, nonzero, kinks=True, dtypes=NUMBERS),
    Sample("abs()", abs, one(nonzero), lambda _, x: abs(x), (unary.Abs,), ("__abs__",), kinks=True),
    Sample(
        "pos",
        lambda x: +x,
        one(normal),
        lambda _, x: +x,
        (unary.Positive,),
        ("__pos__",),
        dtypes=NUMBERS,
        errors=(
            Error(
                lambda: +Tensor([True]), TypeError, "[positive] expected numbers, got dtype bool"
            ),
        ),
    ),
    ufunc("positive", unary.Positive, dtypes=NUMBERS),
    ufunc("real", (), dtypes=NUMBERS),
    ufunc("imag", (), torch=lambda t, x: t.zeros_like(x), dtypes=NUMBERS, order=0),
    function("conj", (), dtypes=NUMBERS),
    function("conjugate", (), torch=lambda t, x: t.conj(x), dtypes=NUMBERS),
    function("sign", unary.Sign, nonzero, kinks=True, dtypes=NUMBERS),
    function("erf", unary.Erf),
    special("erf", unary.Erf),
]
