"""Reductions of values by the place that each is given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..backend import Array, array_module
from .common.runs import Kind, reduce_at


def reduce(values: Array, places: Array, count: int, kind: Kind) -> Array:
    """(count,): the values (M,) at each place reduced; see `runs.reduce_at`."""
    found: Array = reduce_at(values.reshape(-1, 1), places, count, kind)[:, 0]
    return found


def shares(values: Array, places: Array, y: Array) -> tuple[Array, Array]:
    """Which values are the extremum y of their place, and one over how many there are."""
    extremum = y[places]
    hits = (values == extremum) | (values != values)  # where there is NaN, it is the extremum
    count = reduce(hits.astype(np.float64), places, len(y), "sum")[places]
    return hits, 1 / array_module(y).maximum(count, 1)


def product_of_others(values: Array, places: Array, count: int) -> Array:
    """For each value the product of all others at its place."""
    xp = array_module(values)
    wide = values.astype(np.float64)
    zero = wide == 0
    zeros = reduce(zero.astype(np.float64), places, count, "sum")[places]
    nonzero = xp.where(zero, 1.0, wide)
    product = reduce(nonzero, places, count, "prod")[places]
    others = xp.where(zeros == zero, product / nonzero, 0.0)
    return others.astype(values.dtype)


class Runs(NamedTuple):
    """Values sorted by place: their order, places, which are first there, and the run's bounds."""

    order: Array
    places: Array
    heads: Array
    starts: Array
    ends: Array
    empty: Array  # of each place, whether it has no value


def runs_of(places: Array, count: int) -> Runs:
    """How values with these places stand, sorted by them and as they stood among equals."""
    xp = array_module(places)
    order = xp.argsort(places, kind="stable")
    ordered = places[order]
    starts = xp.searchsorted(ordered, ordered, "left")
    ends = xp.searchsorted(ordered, ordered, "right")
    heads = starts == xp.arange(len(places))
    empty = xp.ones(count, bool)
    empty[ordered] = False
    return Runs(order, ordered, heads, starts, ends, empty)


def paired(runs: Runs, step: int) -> Array:
    """Which values, of those ``step`` … apart that are left of each run, have another to meet."""
    at = array_module(runs.ends).arange(len(runs.ends))
    return ((at - runs.starts) % (2 * step) == 0) & (at + step < runs.ends)
