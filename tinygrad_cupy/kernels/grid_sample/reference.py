"""Sampling grids at points on either kind of array: all neighbours of all points at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array, array_module
from ..common import rows, sums
from .plan import Points

FAR = float(1 << 40)  # from a grid: a coordinate beyond is as one there


def neighbours(points: Array, how: Points, sizes: tuple[int, ...]) -> tuple[Array, Array]:
    """Of each point: places (N, P, T) in the flattened grid, and weights, 0 where none is there."""
    xp, axes = array_module(points), len(sizes)
    by_axis = []
    for axis, size in enumerate(sizes):
        column = points[..., axes - 1 - axis if how.backwards else axis]
        by_axis.append(_along(xp, column * how.scale[axis] + how.shift[axis], how, axis, size))
    places, weights = [], []
    for taps in itertools.product(*by_axis):
        place: Any = 0
        weight: Any = how.factor
        for (index, share), size in zip(taps, sizes, strict=True):
            place, weight = place * size + index, share * weight
        places.append(place)
        weights.append(weight)
    return xp.stack(places, -1), xp.stack(weights, -1).astype(points.dtype, copy=False)


def _along(xp: Any, at: Array, how: Points, axis: int, size: int) -> list[tuple[Array, Array]]:
    """The neighbours along one axis: index and weight of each."""
    first = (xp.floor, xp.rint, lambda at: xp.floor(at + 0.5))[how.round](at)
    beyond = at - first
    whole = xp.where(first == first, xp.clip(first, -FAR, FAR), 0).astype(np.int64) - how.lead
    found = []
    for k, polynomial in enumerate(how.weights(axis)):
        share = beyond * 0 + polynomial[-1]  # NaN stays
        for c in polynomial[-2::-1]:
            share = share * beyond + c
        index = whole + k
        if how.rule == "zeros":
            share = xp.where((index >= 0) & (index < size), share, 0)
        found.append((_inside(xp, index, how.rule, size), share))
    return found


def _inside(xp: Any, index: Array, rule: str, size: int) -> Array:
    """Which of 0 … size - 1 stands for an index."""
    if rule == "wrap":
        return index % size
    if rule in ("mirror", "reflect"):
        period = max(2 * size - 2, 1) if rule == "mirror" else 2 * size
        index = index % period
        last = period - (rule == "reflect")
        return xp.minimum(index, last - index)
    return xp.clip(index, 0, size - 1)


def sample(x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    xp, (n, c, *sizes), count = array_module(x), x.shape, points.shape[1]
    y = xp.zeros((n, c, count), x.dtype)
    if not y.size:
        return y
    places, weights = neighbours(points, how, tuple(sizes))
    flat = x.reshape(n, c, -1)
    for k in range(places.shape[2]):
        share = weights[:, None, :, k]
        found = xp.take_along_axis(flat, places[:, None, :, k], 2)
        y += xp.where(share != 0, found * share, 0)  # no NaN of an infinity that does not count
    return y


def splat(values: Array, points: Array, how: Points, sizes: tuple[int, ...]) -> Array:
    """See the declaration."""
    xp, (n, c, _) = array_module(values), values.shape
    size = math.prod(sizes)
    if not values.size or not size:
        return xp.zeros((n, c, *sizes), values.dtype)
    places, weights = neighbours(points, how, sizes)
    places = places + (xp.arange(n) * size)[:, None, None]  # of all batches, one after the other
    last = values.transpose(0, 2, 1)[:, :, None]  # (N, P, 1, C)
    share = weights[..., None]
    parts = xp.where(share != 0, last * share, 0).reshape(1, -1, c)
    found = rows.add(parts, places.reshape(-1), n * size)
    return found.reshape(n, size, c).transpose(0, 2, 1).reshape(n, c, *sizes)


def slopes(values: Array, x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    return by_columns(sample, values, x, points, how)


def by_columns(
    sample: Callable[[Array, Array, Points], Array],
    values: Array,
    x: Array,
    points: Array,
    how: Points,
) -> Array:
    """`slopes`, of what is sampled for each column."""
    xp, found = array_module(points), []
    for column in range(points.shape[-1]):
        by = how.by(column)
        if by is None:
            found.append(xp.zeros(points.shape[:-1], x.dtype))
        else:
            found.append(sums.total(values * sample(x, points, by), (1,)))
    return xp.stack(found, -1)
