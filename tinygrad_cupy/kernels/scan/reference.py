"""Scans by doubling, log₂ n steps on whole arrays of either kind: what the others are held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...backend import Array, array_module
from ...backend.dtypes import through_single

Slices = tuple[slice, ...]

# What is scanned, by the number that C and CUDA know it by.
OPERATORS = ("sum", "product", "maximum", "minimum", "recurrence", "segmented", "logaddexp")
MACROS = tuple([f"{name.upper()}={i}" for i, name in enumerate(OPERATORS)])


def _steps(n: int, axis: int, reverse: bool) -> Iterator[tuple[Slices, Slices]]:
    """For 1, 2, 4, … below n, where elements are, and where those that many before them are."""
    step, before = 1, (slice(None),) * axis
    while step < n:
        later, earlier = (*before, slice(step, None)), (*before, slice(None, n - step))
        yield (earlier, later) if reverse else (later, earlier)
        step *= 2


@through_single
def cumulative(x: Array, join: Callable[[Array, Array], Array], axis: int, reverse: bool) -> Array:
    """x with ``join``, which is associative, of all elements up to each one in its place."""
    y = x.copy()
    for here, there in _steps(x.shape[axis], axis, reverse):
        y[here] = join(y[there], y[here])
    return y


def _neighbours(a: Array, axis: int, reverse: bool) -> Array:
    """a, or where it lies between an element and the one before it in a reverse scan."""
    if not reverse:
        return a.copy()
    found = array_module(a).zeros_like(a)
    before = (slice(None),) * axis
    found[(*before, slice(None, -1))] = a[(*before, slice(1, None))]
    return found


@through_single
def recurrence(a: Array, b: Array, axis: int, reverse: bool) -> Array:
    """See `kernels.scan.recurrence`. Factors that overflow together do not make NaN of a zero."""
    xp = array_module(a)
    product, y = _neighbours(a, axis, reverse), b.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for here, there in _steps(b.shape[axis], axis, reverse):
            moved = product[here] * y[there]
            lost = xp.isinf(product[here]) & (y[there] == 0)
            y[here] += xp.where(lost, moved.dtype.type(0), moved)
            product[here] = product[here] * product[there]
    return y


@through_single
def segmented_sum(x: Array, starts: Array, axis: int, reverse: bool) -> Array:
    """See `kernels.scan.segmented_sum`."""
    xp = array_module(x)
    cut, y = _neighbours(starts, axis, reverse), x.copy()
    for here, there in _steps(x.shape[axis], axis, reverse):
        y[here] += xp.where(cut[here], y.dtype.type(0), y[there])
        cut[here] = cut[here] | cut[there]
    return y
