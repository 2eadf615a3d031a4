"""Resizing on the CPU: in C where there is a compiler, else through NumPy."""

from __future__ import annotations

import numpy as np

from ...backend import Array
from . import native, reference
from .plan import Line, is_long


def resize(x: Array, lines: tuple[Line | None, ...]) -> Array:
    """See the declaration."""
    if x.dtype == np.float32 and is_long(lines):
        return resize(x.astype(np.float64), lines).astype(x.dtype)
    return native.resize(x, lines) if native.suits(x) else reference.resize(x, lines)
