"""Cumulative sums and products, differences, and integrals of samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend.dtypes import common_dtype, is_float, is_narrow, resolve_dtype
from ..ops import shape
from ..ops.axes import normalize_axis
from ..ops.promotion import as_float, constant_like, in_single, of_list, single
from ..ops.protocols import implements
from ..ops.scan import Unwrapping
from .arrays import finished, first_tensor, tensor

__all__ = [
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "ediff1d",
    "gradient",
    "trapezoid",
    "unwrap",
]


# --- sums and products --------------------------------------------------------------------------


def _scanned(name: str, a: Any, axis: int | None, dtype: Any) -> Any:
    a = tensor(a)
    if dtype is not None and is_float(resolve_dtype(dtype)):
        a = a.astype(dtype)
    return getattr(a, name)(axis)


@implements(np.cumsum)
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Σ of the elements up to each one along ``axis``; see `Tensor.cumsum`."""
    return finished(_scanned("cumsum", a, axis, dtype), dtype, out)


@implements(np.cumprod)
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """Π of the elements up to each one along ``axis``; see `Tensor.cumprod`."""
    return finished(_scanned("cumprod", a, axis, dtype), dtype, out)


@implements(np.cumulative_sum)
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    """`cumsum` as the Array API has it: with ``include_initial`` there is a 0 in front."""
    found = _cumulative("cumulative_sum", "cumsum", x, axis, dtype, 0 if include_initial else None)
    return finished(found, dtype, out)


@implements(np.cumulative_prod)
def cumulative_prod(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    """`cumprod` as the Array API has it: with ``include_initial`` there is a 1 in front."""
    initial = 1 if include_initial else None
    found = _cumulative("cumulative_prod", "cumprod", x, axis, dtype, initial)
    return finished(found, dtype, out)


def _cumulative(
    name: str, scan: str, x: Any, axis: int | None, dtype: Any, initial: int | None
) -> Any:
    x = tensor(x)
    x = x if x.ndim else x.reshape(1)
    if axis is None and x.ndim > 1:
        raise ValueError(f"[{name}] expected an axis for a tensor of {x.ndim} axes, got None")
    (place,) = normalize_axis(0 if axis is None else axis, x.ndim, name)
    found = _scanned(scan, x, place, dtype)
    if initial is None:
        return found
    return found.pad([(int(i == place), 0) for i in range(x.ndim)], initial)


# --- differences --------------------------------------------------------------------------------


def _cut(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """x[start:stop] along ``axis``."""
    return x[(*(slice(None),) * axis, slice(start, stop))]


def _differences(x: Any, axis: int) -> Any:
    if x.dtype == bool:
        return _cut(x, axis, 1, None) != _cut(x, axis, None, -1)
    return _cut(x, axis, 1, None) - _cut(x, axis, None, -1)


def _beside(value: Any, x: Any) -> Any:
    """``value`` as a tensor: a number, or a list of them, does not widen x."""
    if isinstance(value, list | tuple):
        return of_list(value, x)
    return tensor(value, x) if hasattr(value, "ndim") else constant_like(x, value)


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th differences aᵢ₊₁ - aᵢ along ``axis``.

    ``prepend`` and ``append`` are joined to a first: tensors or arrays, or numbers that stand for
    one element each. Of booleans, whether neighbours differ.
    """
    x = tensor(a, first_tensor([prepend, append]))
    if n < 0:
        raise ValueError(f"[diff] expected a number of differences ≥ 0, got {n}")
    if n == 0:
        return x
    if not x.ndim:
        raise ValueError("[diff] expected at least one axis, got a tensor of none")
    (place,) = normalize_axis(axis, x.ndim, "diff")
    one = (*x.shape[:place], 1, *x.shape[place + 1 :])
    before, behind = (None if v is None else _beside(v, x) for v in (prepend, append))
    parts = [
        part.broadcast_to(one) if not part.ndim else part
        for part in (before, x, behind)
        if part is not None
    ]
    x = shape.concat(parts, place) if len(parts) > 1 else x
    dtype = x.dtype
    if n > 1 and is_narrow(dtype):  # rounded once, not after each of the n differences
        x = x.astype(np.float32)
    for _ in range(n):
        x = _differences(x, place)
    return x.astype(dtype)


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of the flattened ``ary``, with ``to_begin`` in front and ``to_end`` behind."""
    x = tensor(ary, first_tensor([to_end, to_begin]))
    before, behind = (None if v is None else _beside(v, x).reshape(-1) for v in (to_begin, to_end))
    parts = [v for v in (before, _differences(x.reshape(-1), 0), behind) if v is not None]
    return parts[0] if len(parts) == 1 else shape.concat(parts)


@implements(np.unwrap)
def unwrap(
    p: Any, discont: float | None = None, axis: int = -1, *, period: float = math.tau
) -> Any:
    """p with multiples of ``period`` added so that neighbours differ by half of it at most.

    Only jumps larger than ``discont`` are mended, by default half a period. The gradient passes
    through: what is added does not move.
    """
    x = tensor(p)
    x = x if isinstance(period, int) else as_float(x)
    (place,) = normalize_axis(axis, x.ndim, "unwrap")
    return in_single(x, lambda x: x + Unwrapping(place, discont, period)(x))


# --- integrals and derivatives of samples ---------------------------------------------------------


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """∫ y dx along ``axis`` by the trapezoidal rule, at points x or ``dx`` apart.

    x has y's shape, or is one-dimensional; the result is differentiable in it, and in ``dx``.
    """
    y = as_float(tensor(y, first_tensor([x, dx])))
    (place,) = normalize_axis(axis, y.ndim, "trapezoid")
    step, dtype = dx, y.dtype
    if x is not None:
        points = _beside(x, y)
        along = normalize_axis(axis if points.ndim > 1 else 0, points.ndim, "trapezoid")[0]
        step, dtype = _differences(single(points), along), common_dtype(dtype, points.dtype)
        step = _on_axis(step, place, y.ndim) if points.ndim == 1 else step
    y = single(y)
    heights = _cut(y, place, 1, None) + _cut(y, place, None, -1)
    area = (heights * step).sum(place) / 2
    return area.astype(dtype) if is_narrow(dtype) else area


def _on_axis(line: Any, axis: int, ndim: int) -> Any:
    """The one axis of ``line`` as ``axis`` of ``ndim``."""
    return line.reshape([line.shape[0] if i == axis else 1 for i in range(ndim)])


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """The derivative of samples f along ``axis``, or a tuple of one for each axis.

    By differences of second order inside, of order ``edge_order``, 1 or 2, at the ends. ``varargs``
    are the distances of samples: one number for all axes, or one for each axis, a number or a
    tensor of the places along it. The result is differentiable in these, too.
    """
    f = as_float(tensor(f, first_tensor(varargs)))
    axes = [normalize_axis(a, f.ndim, "gradient")[0] for a in _listed(axis, f.ndim)]
    if edge_order not in (1, 2):
        raise ValueError(f"[gradient] expected edge_order 1 or 2, got {edge_order}")
    given = list(varargs)
    if not given or (len(given) == 1 and not _ndim(given[0])):
        given = (given or [1.0]) * len(axes)
    if len(given) != len(axes):
        raise TypeError(
            f"[gradient] expected distances for {len(axes)} axes, got {len(given)} of them"
        )
    places = [_places(f, h, place) if _ndim(h) else h for place, h in zip(axes, given, strict=True)]
    dtype = common_dtype(f.dtype, *[h.dtype for h in places if _ndim(h)])
    found = [_slope(single(f), a, h, edge_order) for a, h in zip(axes, places, strict=True)]
    found = [y.astype(dtype) for y in found] if is_narrow(dtype) else found
    return found[0] if len(found) == 1 else tuple(found)


def _ndim(x: Any) -> int:
    """Of a tensor, an array, a number or a list."""
    return int(x.ndim if hasattr(x, "ndim") else np.ndim(x))


def _listed(axis: Any, ndim: int) -> list[int]:
    if axis is None:
        return list(range(ndim))
    return list(axis) if isinstance(axis, tuple | list) else [axis]


def _places(f: Any, places: Any, axis: int) -> Any:
    """The places of samples f along an axis."""
    found = as_float(_beside(places, f))
    if found.shape != (f.shape[axis],):
        raise ValueError(
            f"[gradient] expected {f.shape[axis]} places along axis {axis}, got shape {found.shape}"
        )
    return found


def _slope(f: Any, axis: int, distance: Any, edge_order: int) -> Any:
    """The derivative along one axis, of samples one ``distance`` apart or at such places."""
    if f.shape[axis] < edge_order + 1:
        raise ValueError(
            f"[gradient] expected at least {edge_order + 1} elements along axis {axis}, got shape "
            f"{f.shape}"
        )
    steps = distance
    if _ndim(distance):
        steps = _on_axis(_differences(single(distance), 0), axis, f.ndim)
    inner = _inner_slope(f, axis, steps)
    first, last = _end_slopes(f, axis, steps, edge_order)
    return shape.concat([first, inner, last], axis)


def _inner_slope(f: Any, axis: int, steps: Any) -> Any:
    """Of second order, from the neighbours on both sides."""
    below, here, above = _cut(f, axis, None, -2), _cut(f, axis, 1, -1), _cut(f, axis, 2, None)
    if not _ndim(steps):
        return (above - below) / (steps * 2)
    left, right = _cut(steps, axis, None, -1), _cut(steps, axis, 1, None)
    both = left + right
    return (
        above * (left / (right * both))
        - below * (right / (left * both))
        + here * ((right - left) / (left * right))
    )


def _end_slopes(f: Any, axis: int, steps: Any, edge_order: int) -> tuple[Any, Any]:
    """At the first and at the last sample, from those next to it."""
    ends = []
    for sign, places in ((1, (0, 1, 2)), (-1, (-1, -2, -3))):
        near, next_to, far = (_cut(f, axis, i, i + 1 or None) for i in places)
        one, two = steps, steps
        if _ndim(steps):
            one, two = (_cut(steps, axis, i, i + 1 or None) for i in places[:2])
        if edge_order == 1:
            ends.append((next_to - near) * sign / one)
            continue
        both = one + two
        slope = (next_to - near) * (both / (one * two)) - (far - near) * (one / (two * both))
        ends.append(slope * sign)
    return ends[0], ends[1]
