"""Floating-point numbers on arrays: neighbours and exponents."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, array_module, kernel
from ..backend.dtypes import through_single

INTEGERS: dict[int, Any] = {2: np.int16, 4: np.int32, 8: np.int64}
BEYOND = 9999  # no exponent reaches as far


def by_bits(a: Array, b: Array) -> Array:
    """`nextafter` where CuPy's would lose subnormals, and knows no bfloat16.

    The bits of floats of one sign count up with their magnitude.
    """
    xp, integer = array_module(a), INTEGERS[a.dtype.itemsize]
    bits, to = a.view(integer), b.view(integer)
    step = xp.where((a < b) == (a > 0), integer(1), integer(-1))
    least = (to & np.iinfo(integer).min) | integer(1)
    moved = xp.where(a == b, to, xp.where(a == 0, least, bits + step))
    return xp.where(a != a, bits, xp.where(b != b, to, moved)).view(a.dtype)


@kernel(cpu=lambda a, b: np.nextafter(a, b), cuda=by_bits)
def nextafter(a: Array, b: Array) -> Array:
    """The float next to a on the way to b: b where they are equal."""


def spacing(x: Array) -> Array:
    """The neighbour of x away from 0, less x. (NumPy's has no sign in float16.)"""
    xp = array_module(x)
    with np.errstate(invalid="ignore", over="ignore"):  # ∞ - ∞ is NaN; that of the largest is ∞
        away = xp.where(x < 0, -np.inf, np.inf).astype(x.dtype)
        return nextafter(x, away) - x


@through_single
def ldexp(x: Array, n: Array) -> Array:
    """x · 2ⁿ, n of any integer type."""
    xp = array_module(x)
    if n.dtype.itemsize > 2:
        n = xp.clip(n, 0 if n.dtype.kind == "u" else -BEYOND, BEYOND)
    return xp.ldexp(x, n.astype(np.int32))
