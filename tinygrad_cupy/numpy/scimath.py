"""`numpy.emath`: functions that give complex numbers where real ones do not do.

They look for them on the host: whether the result is complex depends on the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend.dtypes import is_complex, with_imaginary
from ..ops.promotion import as_float
from ..ops.protocols import implements, ours_for
from .arrays import tensor

__all__ = [
    *("arccos", "arcsin", "arctanh", "log", "log10", "log2", "logn", "power", "sqrt"),
]

emath: Any = np.emath


def _wide(x: Any, fits: Callable[[Any], Any]) -> Any:
    """``x``, as complex numbers unless all elements fit (or are NaN)."""
    x = tensor(x)
    if is_complex(x.dtype) or bool((fits(x.detach()) + (x != x)).sum().item() == x.size):
        return x
    x = as_float(x)
    return x.astype(with_imaginary(x.dtype))


def _from_zero(x: Any) -> Any:
    return x >= 0


def _up_to_one(x: Any) -> Any:
    return abs(x) <= 1


def _function(name: str, fits: Callable[[Any], Any], doc: str) -> Callable[[Any], Any]:
    """NumPy's function of that name, of complex numbers unless all ``fits``."""

    def function(x: Any) -> Any:
        return ours_for(getattr(np, name))(_wide(x, fits))

    function.__name__, function.__doc__ = name, doc
    return implements(getattr(emath, name))(function)


sqrt = _function("sqrt", _from_zero, "Square root.")
log = _function("log", _from_zero, "Natural logarithm.")
log2 = _function("log2", _from_zero, "Logarithm to the base 2.")
log10 = _function("log10", _from_zero, "Logarithm to the base 10.")
arccos = _function("arccos", _up_to_one, "Inverse cosine.")
arcsin = _function("arcsin", _up_to_one, "Inverse sine.")
arctanh = _function("arctanh", _up_to_one, "Inverse hyperbolic tangent.")


@implements(emath.logn)
def logn(n: Any, x: Any) -> Any:
    """Logarithm to the base n."""
    x = _wide(x, _from_zero)
    base = math.log(n) if isinstance(n, int | float) and n > 0 else None
    if base is None:
        base = ours_for(np.log)(_wide(tensor(n, x), _from_zero))
    return ours_for(np.log)(x) / base


@implements(emath.power)
def power(x: Any, p: Any) -> Any:
    """x to the power p."""
    x = _wide(x, _from_zero)
    if isinstance(p, int) and p < 0:
        p = float(p)
    return ours_for(np.power)(x, p)
