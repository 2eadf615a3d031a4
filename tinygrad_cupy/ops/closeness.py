"""Nearness of elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Elementwise
from ..backend import Array
from ..backend.dtypes import is_narrow


class IsClose(Elementwise):
    """|a - b| ≤ atol + rtol |b|, or a = b (infinities); NaN is close to NaN with ``equal_nan``."""

    differentiable = False
    broadcasts = True

    def __init__(self, rtol: float, atol: float, equal_nan: bool) -> None:
        self.rtol, self.atol, self.equal_nan = rtol, atol, equal_nan

    def forward(self, a: Any, b: Any) -> Array:
        a, b = _wide(a), _wide(b)
        with np.errstate(invalid="ignore", over="ignore"):
            near = abs(a - b) <= self.atol + self.rtol * abs(b)
            close = (near & (abs(b) < np.inf)) | (a == b)
        return close | ((a != a) & (b != b)) if self.equal_nan else close


def _wide(x: Any) -> Any:
    """An array as one that can be subtracted without wrapping or much rounding."""
    if not hasattr(x, "dtype"):
        return x
    if x.dtype.kind in "biu":
        return x.astype(np.float64)
    return x.astype(np.float32) if is_narrow(x.dtype) else x
