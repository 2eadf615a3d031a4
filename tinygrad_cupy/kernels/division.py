"""Quotients and remainders on arrays; CuPy's lose digits of large ones, of int64 too."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, Elementwise, array_module, kernel

# As NumPy does: the remainder is exact, and the quotient is what is left rounded to an integer.
_floor_divide = Elementwise(
    "T a, T b",
    "T y",
    """
    T rest = fmod(a, b);
    y = a / b;
    if (b != 0) {
        T quotient = (a - rest) / b - ((rest != 0 && (rest < 0) != (b < 0)) ? 1 : 0);
        T whole = floor(quotient);
        y = quotient == 0 ? copysign(T(0), y) : quotient - whole > T(0.5) ? whole + 1 : whole;
    }
    """,
    "division_floor_divide",
)
_remainder = Elementwise(
    "T a, T b",
    "T y",
    """
    y = fmod(a, b);
    if (y == 0) {
        y = copysign(T(0), b);
    } else if ((y < 0) != (b < 0)) {
        y += b;
    }
    """,
    "division_remainder",
)
_fmod = Elementwise("T a, T b", "T y", "y = b == 0 ? T(0) : T(a % b)", "division_fmod")


def _cuda(of_floats: Any, of_integers: Any) -> Any:
    def body(a: Array, b: Array) -> Array:
        if a.dtype.kind == "f":
            return of_floats(a, b)
        if a.dtype == bool:  # as NumPy, in bytes
            a, b = a.astype(np.int8), b.astype(np.int8)
        return of_integers(a, b)

    return body


def _of(name: str) -> Any:
    return lambda a, b: getattr(array_module(a), name)(a, b)


@kernel(cpu=_of("floor_divide"), cuda=_cuda(_floor_divide, _of("floor_divide")))
def floor_divide(a: Array, b: Array) -> Array:
    """⌊a / b⌋."""


@kernel(cpu=_of("remainder"), cuda=_cuda(_remainder, _of("remainder")))
def remainder(a: Array, b: Array) -> Array:
    """a - b · ⌊a / b⌋."""


@kernel(cpu=_of("fmod"), cuda=_cuda(_of("fmod"), _fmod))
def fmod(a: Array, b: Array) -> Array:
    """a - b · the quotient towards 0."""


def _lcm_of_magnitudes(a: Array, b: Array) -> Array:
    """CuPy's takes the magnitude of what has wrapped around, where NumPy wraps the magnitude."""
    xp = array_module(a)
    if a.dtype.kind == "u":
        return xp.lcm(a, b)
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    return xp.lcm(xp.abs(a).view(unsigned), xp.abs(b).view(unsigned)).view(a.dtype)


@kernel(cpu=_of("lcm"), cuda=_lcm_of_magnitudes)
def lcm(a: Array, b: Array) -> Array:
    """The least common multiple, wrapped around where it does not fit."""
