"""Functions that act element by element: more of NumPy's ufuncs, and what is like one."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..backend.dtypes import is_complex
from ..ops import bitwise, comparison, division, exponential, floating, logical, rounding
from ..ops import complex_numbers as numbers
from ..ops import trigonometric as trig
from ..ops.functions import Function, Pair
from ..ops.protocols import TABLE, implements
from .arrays import finished, first_tensor, operands, tensor
from .ufunc import Ufunc
from .ufuncs import _method as method
from .ufuncs import power

__all__ = [
    "acos",
    "acosh",
    "angle",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "around",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_count",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clip",
    "copysign",
    "cosh",
    "deg2rad",
    "degrees",
    "divmod",
    "exp2",
    "fabs",
    "fix",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "frexp",
    "gcd",
    "heaviside",
    "hypot",
    "imag",
    "invert",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "lcm",
    "ldexp",
    "left_shift",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "mod",
    "modf",
    "nan_to_num",
    "nextafter",
    "positive",
    "pow",
    "rad2deg",
    "radians",
    "real",
    "reciprocal",
    "remainder",
    "right_shift",
    "rint",
    "round",
    "signbit",
    "sinc",
    "sinh",
    "spacing",
    "square",
    "tan",
    "tanh",
    "trunc",
]


def ufunc(kind: type[Function] | type[Pair], *reductions: str, **options: Any) -> Ufunc:
    """NumPy's ufunc of the same name."""
    made = Ufunc(getattr(np, kind.name), kind.of, *reductions, **options)
    made.__doc__ = kind.__doc__
    return made


tan = ufunc(trig.Tan)
asin = arcsin = ufunc(trig.Arcsin)
acos = arccos = ufunc(trig.Arccos)
atan = arctan = ufunc(trig.Arctan)
atan2 = arctan2 = ufunc(trig.Arctan2)
hypot = ufunc(trig.Hypot)
sinh = ufunc(trig.Sinh)
cosh = ufunc(trig.Cosh)
tanh = Ufunc(np.tanh, method("tanh"))
asinh = arcsinh = ufunc(trig.Arcsinh)
acosh = arccosh = ufunc(trig.Arccosh, harmless=2.0)
atanh = arctanh = ufunc(trig.Arctanh)
deg2rad, radians = Ufunc(np.deg2rad, trig.deg2rad), Ufunc(np.radians, trig.deg2rad)
rad2deg, degrees = Ufunc(np.rad2deg, trig.rad2deg), Ufunc(np.degrees, trig.rad2deg)

exp2 = ufunc(exponential.Exp2)
log2 = ufunc(exponential.Log2)
log10 = ufunc(exponential.Log10)
log1p = ufunc(exponential.Log1p)
logaddexp = ufunc(exponential.Logaddexp)
logaddexp2 = ufunc(exponential.Logaddexp2)
square = ufunc(exponential.Square)
cbrt = ufunc(exponential.Cbrt)
reciprocal = ufunc(exponential.Reciprocal)
pow = power
float_power = Ufunc(np.float_power, exponential.float_power)

floor = ufunc(rounding.Floor)
ceil = ufunc(rounding.Ceil)
trunc = ufunc(rounding.Trunc)
rint = ufunc(rounding.Rint)
modf = Ufunc(np.modf, rounding.modf)

floor_divide = ufunc(division.FloorDivide)
mod = remainder = ufunc(division.Remainder)
fmod = ufunc(division.Fmod)
divmod = Ufunc(np.divmod, division.divmod)
gcd = ufunc(division.Gcd)
lcm = ufunc(division.Lcm)

positive = Ufunc(np.positive, operator.pos)
fabs = Ufunc(np.fabs, floating.fabs)
fmax = ufunc(comparison.Fmax)
fmin = ufunc(comparison.Fmin)
copysign = ufunc(floating.Copysign)
signbit = ufunc(floating.Signbit)
nextafter = ufunc(floating.Nextafter)
spacing = ufunc(floating.Spacing)
heaviside = ufunc(floating.Heaviside)
ldexp = Ufunc(np.ldexp, floating.ldexp, one=tensor)  # integers in a list stay integers
frexp = Ufunc(np.frexp, floating.frexp)
isfinite = ufunc(floating.Isfinite)
isinf = ufunc(floating.Isinf)
isnan = ufunc(floating.Isnan)

logical_and = ufunc(logical.LogicalAnd, "all")
logical_or = ufunc(logical.LogicalOr, "any")
logical_xor = ufunc(logical.LogicalXor)
logical_not = ufunc(logical.LogicalNot)

bitwise_and = ufunc(bitwise.BitwiseAnd)
bitwise_or = ufunc(bitwise.BitwiseOr)
bitwise_xor = ufunc(bitwise.BitwiseXor)
bitwise_not = bitwise_invert = invert = ufunc(bitwise.Invert)
bitwise_left_shift = left_shift = ufunc(bitwise.LeftShift)
bitwise_right_shift = right_shift = ufunc(bitwise.RightShift)
bitwise_count = ufunc(bitwise.BitwiseCount)

TABLE.update({value.like: value for value in list(globals().values()) if isinstance(value, Ufunc)})


# --- functions that are no ufuncs ---------------------------------------------------------------


@implements(np.round)
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """Rounded to ``decimals``, before the point where it is negative; the gradient is 0."""
    return finished(tensor(a).round(decimals), None, out)


@implements(np.around)
def around(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """The older name of `round`."""
    return round(a, decimals, out)


@implements(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    """x without what is behind the point, as `trunc`."""
    return finished(trunc(x), None, out)


@implements(np.clip)
def clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
) -> Any:
    """Limited to [a_min, a_max], or [min, max]; None leaves that side open. See `Tensor.clip`.

    Limits that are tensors have a gradient where ``a`` lies outside.
    """
    limits = (a_min if min is None else min), (a_max if max is None else max)
    a = tensor(a, first_tensor(limits))
    low, high = (None if v is None else operands(a, v)[1] for v in limits)
    return finished(+a if low is high is None else a.clip(low, high), None, out)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Any:
    """Numbers for NaN and ±∞, by default 0 and the largest; the gradient passes elsewhere.

    Written into x itself where ``copy`` is False.
    """
    x = tensor(x)
    return finished(floating.nan_to_num(x, nan, posinf, neginf), None, None if copy else x)


@implements(np.sinc)
def sinc(x: Any) -> Any:
    """sin(πx) / (πx), 1 at 0, where all derivatives are regular, too."""
    return trig.sinc(tensor(x))


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """The angle in the plane from -π to π, at 0 zero with no slope; degrees where ``deg`` holds."""
    x = tensor(z)
    found = numbers.angle(x) if is_complex(x.dtype) else arctan2(0, x)
    return rad2deg(found) if deg else found


@implements(np.real)
def real(val: Any) -> Any:
    """The real part, a view; real numbers themselves."""
    return tensor(val).real


@implements(np.imag)
def imag(val: Any) -> Any:
    """The imaginary part, a view; of real numbers 0 throughout."""
    return tensor(val).imag


@implements(np.isposinf)
def isposinf(x: Any, out: Any = None) -> Any:
    """Whether x is ∞."""
    return finished(tensor(x) == math.inf, None, out)


@implements(np.isneginf)
def isneginf(x: Any, out: Any = None) -> Any:
    """Whether x is -∞."""
    return finished(tensor(x) == -math.inf, None, out)
