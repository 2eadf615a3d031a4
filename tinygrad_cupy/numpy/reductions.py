"""Sums, products, means, extrema and truth over axes.

Arguments are NumPy's: ``where`` chooses elements by booleans that broadcast, ``initial`` is one
element more, ``dtype`` is computed in, and ``out`` is written. Sums and products of unsigned
integers are int64, as the tensors' own methods give them.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ..backend.dtypes import common_dtype, is_narrow
from ..ops.axes import normalize_axis
from ..ops.promotion import single
from ..ops.protocols import implements
from .arrays import finished, tensor, terms

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "average",
    "count_nonzero",
    "max",
    "mean",
    "min",
    "prod",
    "ptp",
    "std",
    "sum",
    "var",
]


@implements(np.sum)
def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Sum over ``axis``; see `Tensor.sum`."""
    found = tensor(a).sum(axis, bool(keepdims), dtype=dtype, initial=initial, where=where)
    return finished(found, None, out)


@implements(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Product over ``axis``; see `Tensor.prod`."""
    found = tensor(a).prod(axis, bool(keepdims), dtype=dtype, initial=initial, where=where)
    return finished(found, None, out)


# --- means --------------------------------------------------------------------------------------


@implements(np.mean)
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Arithmetic mean over ``axis``; see `Tensor.mean`."""
    return finished(tensor(a).mean(axis, bool(keepdims), dtype=dtype, where=where), None, out)


@implements(np.var)
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Variance over ``axis``, Σ (a - mean)² / (n - ddof); see `Tensor.var`."""
    found = tensor(a).var(
        axis,
        _one_of("var", ddof, correction),
        bool(keepdims),
        dtype=dtype,
        where=where,
        mean=mean,
    )
    return finished(found, None, out)


@implements(np.std)
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Standard deviation over ``axis``; see `Tensor.std`. Where it is 0 its gradient is 0."""
    found = tensor(a).std(
        axis,
        _one_of("std", ddof, correction),
        bool(keepdims),
        dtype=dtype,
        where=where,
        mean=mean,
    )
    return finished(found, None, out)


def _one_of(name: str, ddof: float, correction: float | None) -> float:
    """The Array API's ``correction``, or ``ddof``, its name in NumPy."""
    if correction is None:
        return ddof
    if ddof:
        raise ValueError(f"[{name}] expected correction= or ddof=, not both")
    return correction


@implements(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """Mean over ``axis`` by ``weights``: Σ w a / Σ w, differentiable in both.

    Weights have a's shape, or that of the axes alone. With ``returned`` also Σ w, of the same shape
    as the result. Weights that sum to 0 give NaN or infinity: NumPy's error would need the values.
    """
    if weights is None:
        a = tensor(a)
        found = a.mean(axis, bool(keepdims))
        scale: Any = found.detach()._zeros() + a.size / builtins.max(found.size, 1)
        return (found, scale) if returned else found
    a, weights = terms(a, weights)
    dtype = common_dtype(a.dtype, weights.dtype)
    a, weights = single(a), single(weights)  # before they are stretched, whose gradient is a sum
    if weights.shape != a.shape:
        weights = _along(axis, weights, a)
    else:
        weights = weights.broadcast_to(a.shape)
    scale = weights.sum(axis, bool(keepdims))
    found = (a * weights).sum(axis, bool(keepdims)) / scale
    if is_narrow(dtype):
        found, scale = found.astype(dtype), scale.astype(dtype)
    return (found, scale.broadcast_to(found.shape)) if returned else found


def _along(axis: Any, weights: Any, a: Any) -> Any:
    """Weights of the shape of ``axis`` of ``a``, for all of its elements."""
    if axis is None:
        raise TypeError(
            f"[average] expected an axis, or weights of shape {a.shape}, got shape {weights.shape}"
        )
    given = axis if isinstance(axis, tuple | list) else (axis,)
    axes = normalize_axis(axis, a.ndim, "average")
    order = builtins.sorted(range(len(given)), key=lambda i: given[i] % a.ndim)
    expected = tuple([a.shape[i % a.ndim] for i in given])
    if weights.shape != expected:
        raise ValueError(
            f"[average] expected weights of shape {expected}, that of axis {axis}, got "
            f"{weights.shape}"
        )
    ordered = weights.permute(order) if len(order) > 1 else weights
    kept = [a.shape[i] if i in axes else 1 for i in range(a.ndim)]
    return ordered.reshape(kept).broadcast_to(a.shape)


# --- extrema and truth --------------------------------------------------------------------------


@implements(np.max, np.amax)
def max(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Largest element along ``axis``; see `Tensor.max`."""
    return finished(tensor(a).max(axis, bool(keepdims), initial=initial, where=where), None, out)


@implements(np.min, np.amin)
def min(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Smallest element along ``axis``; see `Tensor.min`."""
    return finished(tensor(a).min(axis, bool(keepdims), initial=initial, where=where), None, out)


amax, amin = max, min


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """Largest less smallest element along ``axis``."""
    a = tensor(a)
    return finished(a.max(axis, bool(keepdims)) - a.min(axis, bool(keepdims)), None, out)


@implements(np.argmax)
def argmax(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Position of the first largest element along ``axis``, of all when None."""
    return finished(tensor(a).argmax(axis, bool(keepdims)), None, out)


@implements(np.argmin)
def argmin(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Position of the first smallest element along ``axis``, of all when None."""
    return finished(tensor(a).argmin(axis, bool(keepdims)), None, out)


@implements(np.all)
def all(
    a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Whether all elements along ``axis`` are other than 0."""
    return finished(tensor(a).all(axis, bool(keepdims), where=where), None, out)


@implements(np.any)
def any(
    a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    """Whether any element along ``axis`` is other than 0."""
    return finished(tensor(a).any(axis, bool(keepdims), where=where), None, out)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """How many elements along ``axis`` are other than 0; NaN is."""
    return (tensor(a) != 0).sum(axis, bool(keepdims))
