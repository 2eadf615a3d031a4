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


def _function(name: str, fits: Callable[[Any], Any], doc: str) -> Callable[[Any], Any]:
    """NumPy's function of that name, of what ``fits`` alone."""

    def function(x: Any) -> Any:
        return ours_for(getattr(np, name))(_real(name, x, fits))

    function.__name__, function.__doc__ = name, doc
    return implements(getattr(emath, name))(function)


sqrt = _function("sqrt", _from_zero, "Square root of what is not negative.")
log = _function("log", _from_zero, "Natural logarithm of what is not negative.")
log2 = _function("log2", _from_zero, "Logarithm to the base 2 of what is not negative.")
log10 = _function("log10", _from_zero, "Logarithm to the base 10 of what is not negative.")
arccos = _function("arccos", _up_to_one, "Inverse cosine of numbers from -1 to 1.")
arcsin = _function("arcsin", _up_to_one, "Inverse sine of numbers from -1 to 1.")
arctanh = _function("arctanh", _up_to_one, "Inverse hyperbolic tangent of numbers from -1 to 1.")


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
