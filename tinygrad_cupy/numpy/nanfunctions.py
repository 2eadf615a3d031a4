"""Reductions and scans that leave NaN out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.levels import Tracer
from ..backend import is_cuda
from ..backend.dtypes import is_inexact
from ..ops import order_statistics
from ..ops.axes import nonempty_axes, normalize_axis
from ..ops.extrema import MaskedExtremum
from ..ops.masked import mask_of
from ..ops.protocols import implements
from . import reductions, scans
from .arrays import finished, tensor
from .statistics import quantiles_of

__all__ = [
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanpercentile",
    "nanprod",
    "nanquantile",
    "nanstd",
    "nansum",
    "nanvar",
]


def _numbers(a: Any, where: Any, name: str) -> Any:
    """Where a holds no NaN, and ``where`` holds; True where that is everywhere."""
    if not is_inexact(a.dtype):
        return where
    there = a == a
    return there if where is True else there.where(mask_of(a, where, name), False)


@implements(np.nansum)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Sum over ``axis`` of what is not NaN, 0 where nothing is."""
    a = tensor(a)
    return reductions.sum(a, axis, dtype, out, keepdims, initial, _numbers(a, where, "nansum"))


@implements(np.nanprod)
def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Product over ``axis`` of what is not NaN, 1 where nothing is."""
    a = tensor(a)
    return reductions.prod(a, axis, dtype, out, keepdims, initial, _numbers(a, where, "nanprod"))


@implements(np.nanmean)
def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Mean over ``axis`` of what is not NaN, NaN where nothing is."""
    a = tensor(a)
    return reductions.mean(a, axis, dtype, out, keepdims, where=_numbers(a, where, "nanmean"))


@implements(np.nanvar)
def nanvar(
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
    """Variance over ``axis`` of what is not NaN, NaN where that is ``ddof`` elements or fewer."""
    how = {"where": where, "mean": mean, "correction": correction}
    return _nan_spread("var", tensor(a), axis, dtype, out, ddof, keepdims, how)


@implements(np.nanstd)
def nanstd(
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
    """Standard deviation over ``axis`` of what is not NaN; see `nanvar`."""
    how = {"where": where, "mean": mean, "correction": correction}
    return _nan_spread("std", tensor(a), axis, dtype, out, ddof, keepdims, how)


def _nan_spread(
    name: str, a: Any, axis: Any, dtype: Any, out: Any, ddof: float, keepdims: bool, how: Any
) -> Any:
    there = _numbers(a, how.pop("where"), f"nan{name}")
    found = getattr(reductions, name)(a, axis, dtype, None, ddof, keepdims, where=there, **how)
    if there is not True:
        taken = ddof if how["correction"] is None else how["correction"]
        found = found.where(there.sum(axis, bool(keepdims)) > taken, math.nan)
    return finished(found, None, out)


def _nan_extremum(
    name: str, a: Any, axis: Any, out: Any, keepdims: bool, initial: Any, where: Any
) -> Any:
    a = tensor(a)
    there = _numbers(a, where, f"nan{name}")
    of_numbers = reductions.max if name == "max" else reductions.min
    if initial is not None or there is True:
        return of_numbers(a, axis, out, keepdims, initial, there)
    if where is not True:
        raise ValueError(f"[nan{name}] expected initial= beside where=: it may choose nothing")
    axes = nonempty_axes(a.shape, axis, f"nan{name}")
    found = MaskedExtremum(name, axes)(a, there).where(there.any(axes, True), math.nan)
    return finished(found if keepdims else found.squeeze(axes), None, out)


@implements(np.nanmax)
def nanmax(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Largest element along ``axis`` that is not NaN, NaN where none is.

    Equal ones share the gradient equally.
    """
    return _nan_extremum("max", a, axis, out, keepdims, initial, where)


@implements(np.nanmin)
def nanmin(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Smallest element along ``axis`` that is not NaN, NaN where none is; as `nanmax`."""
    return _nan_extremum("min", a, axis, out, keepdims, initial, where)


def _nan_position(name: str, a: Any, axis: int | None, out: Any, keepdims: bool) -> Any:
    a = tensor(a)
    axis = a._one_axis(axis, f"nanarg{name}")
    found = a
    if is_inexact(a.dtype):
        there = a == a
        seen = not isinstance(a, Tracer) and not is_cuda(a.data)
        if seen and not there.any(axis).all().item():
            raise ValueError(
                f"[nanarg{name}] expected a number in each row along axis {axis}, got only NaN"
            )
        best = MaskedExtremum(name, normalize_axis(axis, a.ndim, name))(a.detach(), there)
        found, name = (a == best).astype(np.int8), "max"
    place = found.argmax if name == "max" else found.argmin
    return finished(place(axis, bool(keepdims)), None, out)


@implements(np.nanargmax)
def nanargmax(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Position of the first largest element along ``axis`` that is not NaN.

    Raises ``ValueError`` where there is none; on a GPU, and in `vmap`, that is position 0.
    """
    return _nan_position("max", a, axis, out, keepdims)


@implements(np.nanargmin)
def nanargmin(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Position of the first smallest element along ``axis`` that is not NaN; as `nanargmax`."""
    return _nan_position("min", a, axis, out, keepdims)


# --- scans --------------------------------------------------------------------------------------


def _without(a: Any, neutral: int) -> Any:
    a = tensor(a)
    return a.where(a == a, neutral) if is_inexact(a.dtype) else a


@implements(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """`cumsum` with 0 in place of NaN."""
    return scans.cumsum(_without(a, 0), axis, dtype, out)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """`cumprod` with 1 in place of NaN."""
    return scans.cumprod(_without(a, 1), axis, dtype, out)


# --- order statistics ---------------------------------------------------------------------------


@implements(np.nanmedian)
def nanmedian(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """`median` along ``axis`` of what is not NaN, NaN where nothing is."""
    found = order_statistics.median(tensor(a), axis, bool(keepdims), "nanmedian", skip_nan=True)
    return finished(found, None, out)


@implements(np.nanquantile)
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """`quantile` along ``axis`` of what is not NaN, NaN where nothing is."""
    return quantiles_of("nanquantile", a, q, axis, out, method, keepdims, weights, skip_nan=True)


@implements(np.nanpercentile)
def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    """`percentile` along ``axis`` of what is not NaN, NaN where nothing is."""
    return quantiles_of("nanpercentile", a, q, axis, out, method, keepdims, weights, skip_nan=True)
