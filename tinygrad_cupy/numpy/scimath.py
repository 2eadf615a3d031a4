"""`numpy.emath`: functions that give complex numbers where real ones do not do.

Tensors hold no complex numbers: where there would be one, they raise. They look for it on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops.protocols import implements, ours_for
from .arrays import tensor

__all__ = [
    *("arccos", "arcsin", "arctanh", "log", "log10", "log2", "logn", "power", "sqrt"),
]

emath: Any = np.emath


def _real(name: str, x: Any, fits: Callable[[Any], Any]) -> Any:
    """``x``, of which all elements fit (or are NaN), or ``TypeError``."""
    x = tensor(x)
    if not bool((fits(x.detach()) + (x != x)).sum().item() == x.size):
        raise TypeError(f"[emath.{name}] would give complex numbers, which tensors do not hold")
    return x


def _from_zero(x: Any) -> Any:
    return x >= 0


def _up_to_one(x: Any) -> Any:
    return abs(x) <= 1


@implements(emath.sqrt)
def sqrt(x: Any) -> Any:
    """Square root of what is not negative."""
    return ours_for(np.sqrt)(_real("sqrt", x, _from_zero))


@implements(emath.log)
def log(x: Any) -> Any:
    """Natural logarithm of what is not negative."""
    return ours_for(np.log)(_real("log", x, _from_zero))


@implements(emath.log2)
def log2(x: Any) -> Any:
    """Logarithm to the base 2 of what is not negative."""
    return ours_for(np.log2)(_real("log2", x, _from_zero))


@implements(emath.log10)
def log10(x: Any) -> Any:
    """Logarithm to the base 10 of what is not negative."""
    return ours_for(np.log10)(_real("log10", x, _from_zero))


@implements(emath.logn)
def logn(n: Any, x: Any) -> Any:
    """Logarithm to the base n of what is not negative."""
    x = _real("logn", x, _from_zero)
    base = math.log(n) if isinstance(n, int | float) and n > 0 else None
    if base is None:
        base = ours_for(np.log)(_real("logn", tensor(n, x), _from_zero))
    return ours_for(np.log)(x) / base


@implements(emath.power)
def power(x: Any, p: Any) -> Any:
    """x to the power p, for x that is not negative."""
    x = _real("power", x, _from_zero)
    if isinstance(p, int) and p < 0:
        p = float(p)
    return ours_for(np.power)(x, p)


@implements(emath.arccos)
def arccos(x: Any) -> Any:
    """Inverse cosine of numbers from -1 to 1."""
    return ours_for(np.arccos)(_real("arccos", x, _up_to_one))


@implements(emath.arcsin)
def arcsin(x: Any) -> Any:
    """Inverse sine of numbers from -1 to 1."""
    return ours_for(np.arcsin)(_real("arcsin", x, _up_to_one))


@implements(emath.arctanh)
def arctanh(x: Any) -> Any:
    """Inverse hyperbolic tangent of numbers from -1 to 1."""
    return ours_for(np.arctanh)(_real("arctanh", x, _up_to_one))
