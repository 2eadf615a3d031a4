"""Functions of SciPy's and CuPy's ``special``, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ...backend import Array, special_functions


def scipys(name: str) -> Callable[..., Array]:
    """``scipy.special``'s or ``cupyx.scipy.special``'s function, without NumPy's warnings."""
    return functools.partial(_call, name)


def _call(name: str, *arrays: Array) -> Array:
    with np.errstate(all="ignore"):
        found: Array = getattr(special_functions(arrays[-1]), name)(*arrays)
        return found
