"""Sums, means and extrema over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.protocols import implements
from .arrays import finished, tensor

__all__ = ["mean", "sum"]


@implements(np.sum)
def sum(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """Sum over ``axis``; see `Tensor.sum`."""
    a = tensor(a)
    return finished((a if dtype is None else a.astype(dtype)).sum(axis, bool(keepdims)), None, out)


@implements(np.mean)
def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """Arithmetic mean over ``axis``; see `Tensor.mean`."""
    a = tensor(a)
    return finished((a if dtype is None else a.astype(dtype)).mean(axis, bool(keepdims)), None, out)
