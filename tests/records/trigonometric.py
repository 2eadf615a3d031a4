"""Records of ops/trigonometric.py."""

from __future__ import annotations

from typing import Any

import tinygrad_cupy.numpy as tnp
from support.elementwise import between, function, one, special, two, ufunc
from support.sampling import Error, nonzero
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import activation, arithmetic
from tinygrad_cupy.ops import trigonometric as trig

INSIDE = one(between(-0.45, 0.45))


def _sinc(torch: Any, x: Any) -> Any:
    """Of doubles: the slope of PyTorch's float32 is 1e-4 off near 0, ours 3e-7."""
    wide = torch.promote_types(x.dtype, torch.float64)
    return torch.sinc(x.to(wide)).to(x.dtype)


SAMPLES = [
    function("sin", trig.Sin),
    function("cos", trig.Cos),
    ufunc("tan", trig.Tan, one(between(-0.7, 0.7))),
    ufunc("arcsin", trig.Arcsin, INSIDE),
    ufunc("arccos", trig.Arccos, INSIDE),
    ufunc("arctan", (trig.Arctan, trig.Hypot)),
    ufunc("sinh", (trig.Sinh, trig.Cosh)),
    ufunc("cosh", (trig.Cosh, trig.Sinh)),
    ufunc("tanh", activation.Tanh),
    ufunc("arcsinh", (trig.Arcsinh, trig.Hypot)),
    ufunc("arccosh", trig.Arccosh, one(between(2.1, 4))),
    ufunc("arctanh", trig.Arctanh, INSIDE),
    ufunc(
        "hypot",
        (trig.Hypot, trig.Direction),
        two(nonzero),
        errors=(
            Error(
                lambda: tnp.hypot(Tensor.ones(2), Tensor.ones(3)),
                ValueError,
                "[Hypot] shapes (2,) and (3,) do not broadcast",
            ),
        ),
    ),
    ufunc("arctan2", (trig.Arctan2, trig.Hypot, trig.Direction), two(nonzero)),
    ufunc("sinc", trig.Sinc, one(between(-4, 4)), torch=_sinc),
    special("sinc", trig.Sinc, one(between(-4, 4)), torch=_sinc),
    special("cosm1", trig.Cosm1, torch=lambda t, x: t.sin(x / 2) ** 2 * -2),
    ufunc("deg2rad", arithmetic.Mul),
    ufunc("rad2deg", arithmetic.Mul),
    ufunc("radians", arithmetic.Mul, torch=lambda t, x: t.deg2rad(x)),
    ufunc("degrees", arithmetic.Mul, torch=lambda t, x: t.rad2deg(x)),
    ufunc("angle", trig.Arctan2, one(nonzero), kinks=True),
]
