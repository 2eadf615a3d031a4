"""Floating-point numbers on arrays: neighbours, exponents, and logarithms of sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, Elementwise, array_module, kernel
from ..backend.dtypes import through_single

INTEGERS: dict[int, Any] = {2: np.int16, 4: np.int32, 8: np.int64}
MANTISSA = {"bfloat16": 7, "float16": 10, "float32": 23, "float64": 52}  # bits of it
BEYOND = 9999  # no exponent reaches as far


# --- neighbours ---------------------------------------------------------------------------------
# On a GPU by their bits: CuPy compiles with -ftz=true, by which arithmetic and comparisons of
# float32 take subnormals for 0, and its nextafter knows no bfloat16.


def next_by_bits(a: Array, b: Array) -> Array:
    """`nextafter`: the bits of floats of one sign count up with their magnitude."""
    xp, integer = array_module(a), INTEGERS[a.dtype.itemsize]
    sign = integer(np.iinfo(integer).min)
    bits, to = a.view(integer), b.view(integer)
    here, there = (xp.where(x < 0, sign - x, x) for x in (bits, to))  # in the order of the floats
    moved = here + xp.where(here < there, integer(1), integer(-1))
    moved = xp.where(moved < 0, sign - moved, moved | xp.where(moved == 0, bits & sign, integer(0)))
    moved = xp.where(here == there, to, moved)
    return xp.where(a != a, bits, xp.where(b != b, to, moved)).view(a.dtype)


@kernel(cpu=lambda a, b: np.nextafter(a, b), cuda=next_by_bits)
def nextafter(a: Array, b: Array) -> Array:
    """The float next to a on the way to b: b where they are equal."""


def _spacing(x: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):  # ∞ - ∞ is NaN; that of the largest is ∞
        away = np.where(x < 0, -np.inf, np.inf).astype(x.dtype)
        found: Array = np.nextafter(x, away) - x
        return found


def spacing_by_bits(x: Array) -> Array:
    """`spacing`: 2ᵉ⁻ᵐ where x has exponent e and m bits of mantissa, down to subnormals."""
    xp, integer, m = array_module(x), INTEGERS[x.dtype.itemsize], MANTISSA[x.dtype.name]
    sign, most = integer(np.iinfo(integer).min), integer(np.iinfo(integer).max)
    bits = x.view(integer)
    size = bits & most
    exponent = xp.right_shift(size, integer(m))
    small = xp.left_shift(integer(1), xp.clip(exponent - integer(1), 0, m - 1).astype(integer))
    found = xp.where(exponent > m, xp.left_shift(exponent - integer(m), integer(m)), small)
    infinity = np.array(np.inf, x.dtype).view(integer)[()]
    found = xp.where(size == infinity - integer(1), infinity, found)  # of the largest
    found = xp.where(size > 0, found | (bits & sign), found)  # away from 0, and positive there
    nan = np.array(np.nan, x.dtype).view(integer)[()]
    return xp.where(size >= infinity, nan, found).view(x.dtype)


@kernel(cpu=_spacing, cuda=spacing_by_bits)
def spacing(x: Array) -> Array:
    """The neighbour of x away from 0, less x. (NumPy's has no sign in float16.)"""


# --- logarithms and exponents -------------------------------------------------------------------

# CuPy's loses what is small beside 1.
_logaddexp2 = Elementwise(
    "T a, T b",
    "T y",
    "y = a == b ? a + 1 : fmax(a, b) + T(1.4426950408889634) * log1p(exp2(-fabs(a - b)))",
    "floating_logaddexp2",
)


def _logaddexp2_of_numpy(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore"):  # it warns of NaN, where others do not
        found: Array = np.logaddexp2(a, b)
        return found


@kernel(cpu=_logaddexp2_of_numpy, cuda=_logaddexp2)
def logaddexp2(a: Array, b: Array) -> Array:
    """log₂(2ᵃ + 2ᵇ), of float32 or float64."""


@through_single
def ldexp(x: Array, n: Array) -> Array:
    """x · 2ⁿ, n of any integer type."""
    xp = array_module(x)
    if n.dtype.itemsize > 2:
        n = xp.clip(n, 0 if n.dtype.kind == "u" else -BEYOND, BEYOND)
    return xp.ldexp(x, n.astype(np.int32))
