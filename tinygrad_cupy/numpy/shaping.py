"""Shapes, axes and joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import shape
from ..ops.protocols import implements
from .arrays import finished, tensors

__all__ = ["concatenate", "stack"]


@implements(np.concatenate)
def concatenate(
    arrays: Sequence[Any], /, axis: int | None = 0, out: Any = None, *, dtype: Any = None
) -> Any:
    """Arrays joined along an existing axis; flattened first where ``axis`` is None."""
    parts = tensors(*arrays)
    if axis is None:
        parts, axis = [part.flatten() for part in parts], 0
    return finished(shape.concat(parts, axis), dtype, out)


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, out: Any = None, *, dtype: Any = None) -> Any:
    """Arrays of one shape joined along a new axis."""
    return finished(shape.stack(tensors(*arrays), axis), dtype, out)
