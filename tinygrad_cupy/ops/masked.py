"""What NumPy's reductions take beside axes: ``dtype=``, ``out=``, and ``where=`` to choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..backend.dtypes import is_float, resolve_dtype
from .comparison import _mask

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


def mask_of(x: TensorBase, where: Any, name: str) -> Tensor:
    """The booleans ``where`` as a tensor of x's shape. Raises where they do not broadcast to it."""
    if isinstance(where, np.generic):
        where = where.item()
    mask: Any = _mask(where, x)
    try:
        fits = np.broadcast_shapes(mask.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"[{name}] expected where= of a shape that broadcasts to {x.shape}, got {mask.shape}"
        )
    found: Tensor = mask if mask.shape == x.shape else mask.broadcast_to(x.shape)
    return found


def prepared(x: Any, name: str, dtype: Any, where: Any, neutral: Any) -> Tensor:
    """x in the ``dtype`` to compute in, and ``neutral`` where ``where`` does not hold."""
    if dtype is not None and is_float(resolve_dtype(dtype)):
        x = x.astype(dtype)
    if where is not True:
        x = x.where(mask_of(x, where, name), neutral)
    found: Tensor = x
    return found


def delivered(result: Any, dtype: Any, out: Any) -> Tensor:
    """``result`` as ``dtype``, written into ``out`` where there is one."""
    if dtype is not None:
        result = result.astype(dtype)
    if out is not None:
        out[...] = result
        result = out
    found: Tensor = result
    return found
