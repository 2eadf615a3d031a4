"""Functions that the standard defines otherwise than NumPy: what they take, or what they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import numpy as ours
from ..backend.dtypes import resolve_dtype

# --- data types -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating-point type, or of a complex type's parts, as Python's floats."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


def finfo(type: Any, /) -> FloatInfo:
    """Limits of the floating-point or complex type, or of that of a tensor."""
    found = np.finfo(getattr(type, "dtype", type))
    limits = float(found.max), float(found.min), float(found.smallest_normal)
    return FloatInfo(int(found.bits), float(found.eps), *limits, np.dtype(found.dtype))


# --- sums -----------------------------------------------------------------------------------------


def _wide(x: Any, dtype: Any) -> Any:
    """The data type of a sum or product: of unsigned integers uint64, where ours is int64."""
    return np.dtype(np.uint64) if dtype is None and x.dtype.kind == "u" else dtype


def sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The sum over ``axis``; of integers in 64 bits, signed or not as they are."""
    return ours.sum(x, axis=axis, dtype=_wide(x, dtype), keepdims=keepdims)


def prod(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The product over ``axis``; of integers in 64 bits, signed or not as they are."""
    return ours.prod(x, axis=axis, dtype=_wide(x, dtype), keepdims=keepdims)


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Sums up to each element along ``axis``; a 0 in front with ``include_initial``."""
    options: Any = {"axis": axis, "dtype": _wide(x, dtype), "include_initial": include_initial}
    return ours.cumulative_sum(x, **options)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Products up to each element along ``axis``; a 1 in front with ``include_initial``."""
    options: Any = {"axis": axis, "dtype": _wide(x, dtype), "include_initial": include_initial}
    return ours.cumulative_prod(x, **options)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """x, no less than ``min`` and no more than ``max``, in x's data type."""
    return ours.clip(x, min, max).astype(x.dtype)


# --- products -------------------------------------------------------------------------------------


def _kept(found: Any, x1: Any, x2: Any) -> Any:
    """Integers in the data type that both promote to, where ours are 64 bits long."""
    return found if found.dtype.kind in "fc" else found.astype(ours.result_type(x1, x2))


def matmul(x1: Any, x2: Any, /) -> Any:
    """The matrix product."""
    return _kept(ours.matmul(x1, x2), x1, x2)


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """Sums of products over ``axes``: so many of x1 from its end and of x2, or two sequences."""
    return _kept(ours.tensordot(x1, x2, axes), x1, x2)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Sums of products of x1's conjugate and x2 over ``axis``, counted from the last."""
    return _kept(ours.vecdot(x1, x2, axis=axis), x1, x2)


def outer(x1: Any, x2: Any, /) -> Any:
    """Every element of the vector x1 by every element of the vector x2."""
    return _kept(ours.linalg.outer(x1, x2), x1, x2)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sums of diagonals of matrices; of integers in 64 bits, signed or not as they are."""
    return ours.linalg.trace(x, offset=offset, dtype=_wide(x, dtype))


# --- order ----------------------------------------------------------------------------------------


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """x sorted along ``axis``."""
    found = ours.sort(x, axis=axis, stable=stable)
    return ours.flip(found, axis=axis) if descending else found


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Positions that sort x along ``axis``; of equal elements the first comes first."""
    if not descending:
        return ours.argsort(x, axis=axis, stable=stable)
    backwards = ours.argsort(ours.flip(x, axis=axis), axis=axis, stable=stable)
    return x.shape[axis] - 1 - ours.flip(backwards, axis=axis)


# --- lists of arrays ------------------------------------------------------------------------------


def broadcast_arrays(*arrays: Any) -> list[Any]:
    """Views of one shape."""
    return list(ours.broadcast_arrays(*arrays))


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Any]:
    """The coordinates of a grid, an array for each axis."""
    return list(ours.meshgrid(*arrays, indexing=indexing))


# --- frequencies ----------------------------------------------------------------------------------


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Any:
    """The frequencies of the elements of ``fft``, in cycles per unit of the spacing d."""
    found = ours.fft.fftfreq(n, d, device)
    return found if dtype is None else found.astype(resolve_dtype(dtype))


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Any:
    """The frequencies of the elements of ``rfft``, in cycles per unit of the spacing d."""
    found = ours.fft.rfftfreq(n, d, device)
    return found if dtype is None else found.astype(resolve_dtype(dtype))
