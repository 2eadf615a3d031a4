"""Functions of SciPy's and CuPy's ``special``, by name; CuPy's where they err, mended."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array, array_module, special_functions


def scipys(name: str) -> Callable[..., Array]:
    """``scipy.special``'s or ``cupyx.scipy.special``'s function, without NumPy's warnings."""
    return functools.partial(_call, name)


def _call(name: str, *arrays: Array) -> Array:
    module = special_functions(arrays[-1])
    function = getattr(module, name)
    if name in MENDED and array_module(arrays[-1]) is not np:
        function = functools.partial(MENDED[name], function)
    with np.errstate(all="ignore"):
        found: Array = function(*arrays)
        return found


def exp1(cupys: Any, x: Array) -> Array:
    """NaN apart: of a float64 one CuPy's series would take 2³¹ terms."""
    xp = array_module(x)
    there = x == x
    return xp.where(there, cupys(xp.where(there, x, x.dtype.type(1))), x)


def expi(cupys: Any, x: Array) -> Array:
    """∞ at ∞, where CuPy's series has none."""
    xp, far = array_module(x), x == math.inf
    return xp.where(far, x, cupys(xp.where(far, x.dtype.type(1), x)))


def gammasgn(cupys: Any, x: Array) -> Array:
    """As SciPy's 1.15 and later: that of 0 is x's sign; of whole numbers below and -∞, NaN."""
    xp, floor = array_module(x), array_module(x).floor(x)
    below = 1 - 2 * (floor - 2 * xp.floor(floor * x.dtype.type(0.5)))
    below = xp.where(floor == x, x.dtype.type(math.nan), below)
    return xp.where(x < 0, below, xp.where(x == x, xp.copysign(x.dtype.type(1), x), x))


def pseudo_huber(cupys: Any, a: Array, b: Array) -> Array:
    """CuPy's takes the difference of the root and 1, which leaves nothing of a small b."""
    xp, q = array_module(b), b / a
    exact = a * a * (q * (q / (1 + xp.hypot(q, q.dtype.type(1)))))
    return xp.where((a > 0) & (b != 0) & xp.isfinite(q), exact, cupys(a, b))


MENDED: dict[str, Callable[..., Array]] = {
    "exp1": exp1,
    "expi": expi,
    "gammasgn": gammasgn,
    "pseudo_huber": pseudo_huber,
}
