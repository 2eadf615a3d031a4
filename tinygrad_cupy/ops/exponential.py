"""Exponentials, logarithms, powers with a fixed exponent, and roots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import TensorBase
from ..backend import Array, array_module
from ..backend.dtypes import widest
from ..kernels.common.special import scipys
from .floating import Isinf
from .functions import WIDE, function, operands, pair

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

LN2, LN10 = math.log(2), math.log(10)

Exp = function("exp", "eˣ.", lambda grad, y: grad * y, exact=True, **WIDE)
Exp2 = function("exp2", "2ˣ.", lambda grad, y: grad * (y * LN2))
Exp10 = function(
    "exp10", "10ˣ.", lambda grad, y: grad * (y * LN10), scipys("exp10"), only_real=True
)
Expm1 = function("expm1", "eˣ - 1, exact near 0.", lambda grad, y: grad * (y + 1), **WIDE)

Log = function("log", "Natural logarithm.", lambda grad, x: grad / x, exact=True, **WIDE)
Log2 = function("log2", "Logarithm to base 2.", lambda grad, x: grad / (x * LN2), **WIDE)
Log10 = function(
    "log10", "Logarithm to base 10.", lambda grad, x: grad / (x * LN10), autocast="wide"
)
Log1p = function(
    "log1p", "log(1 + x), exact near 0.", lambda grad, x: grad / (x + 1), autocast="wide"
)

Square = function("square", "x².", lambda grad, x: grad * x * 2, keeps=True, exact=True)
Reciprocal = function(
    "reciprocal",
    "1 / x; of integers the integer, as NumPy's.",
    lambda grad, y: -(grad * (y * y)),
    keeps=True,
    **WIDE,
)
Sqrt = function(
    "sqrt",
    "Square root; the gradient at 0 is infinite.",
    lambda grad, y: grad / (y * 2),
    exact=True,
)
Cbrt = function(
    "cbrt",
    "Cube root, of negative numbers too; the gradient at 0 is infinite.",
    lambda grad, y: grad / (y * 3) / y,
)


# --- of two -------------------------------------------------------------------------------------


def _share(a: Any, b: Any, scale: float = 1.0) -> Any:
    """eᵃ / (eᵃ + eᵇ), in units of ``scale``; half where both are the same infinity."""
    apart = ~((a == b) & Isinf.of(a))
    return ((a.where(apart, 0) - b.where(apart, 0)) * scale).sigmoid()


def _logaddexp(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore"):  # NumPy's warns of NaN, where others do not
        found: Array = array_module(a).logaddexp(a, b)
        return found


Logaddexp = pair(
    "logaddexp",
    "log(eᵃ + eᵇ), without overflow; the same infinities share the gradient equally.",
    lambda grad, a, b: grad * _share(a, b),
    lambda grad, a, b: grad * _share(b, a),
    body=_logaddexp,
)
Logaddexp2 = pair(
    "logaddexp2",
    "log₂(2ᵃ + 2ᵇ), without overflow; the same infinities share the gradient equally.",
    lambda grad, a, b: grad * _share(a, b, LN2),
    lambda grad, a, b: grad * _share(b, a, LN2),
    body=kernels.floating.logaddexp2,
)


def float_power(a: Any, b: Any) -> Tensor:
    """aᵇ in float64, or complex128, whatever a and b are."""
    a, b = (
        x.astype(widest(x.dtype))  # type: ignore[attr-defined]
        if isinstance(x, TensorBase)
        else x * 1.0
        for x in operands(a, b, "float_power")
    )
    power: Tensor = a**b
    return power
