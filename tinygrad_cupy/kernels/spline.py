"""The filter that makes a spline of B-splines go through an array's elements, along one axis.

It is recursive in the books: y[i] = x[i] + z · y[i - 1] for each pole z, and the same backwards
(Unser, Aldroubi and Eden 1993, "B-spline signal processing"). Here a power of two of its terms,
after which the rest is below rounding, is summed up by halves: Σ zᵏ x[i - k] over k < 2s is that
over k < s and zˢ times the one s elements before. So a step is one pass over whole arrays.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..backend import Array, array_module, constant, device_of
from ..backend.capture import keep
from .common.splines import poles

RULES = ("mirror", "reflect", "wrap")  # how the elements go on, as in grid_sample/plan.py
SMALLEST = 1e-17  # what powers of a pole are no longer counted


def filtered(x: Array, order: int, rule: str, axis: int, adjoint: bool) -> Array:
    """The coefficients, of the shape of x, or the adjoint of that.

    As a matrix the filter is symmetric but for "mirror", where the elements at the ends stand once
    in a period and the others twice.
    """
    n = x.shape[axis]
    if n == 1:
        return x
    scaled = adjoint and rule == "mirror"
    if scaled:
        x = x.copy()
        _scale_ends(x, axis, 2.0)
    places = _places(n, sum(2**steps - 1 for _, steps in _poles(order)), rule, device_of(x))
    keep(places)
    y, gain = array_module(x).take(x, places, axis), 1.0
    for z, steps in _poles(order):
        for step in range(steps):
            y = _summed(y, z, 2**step, axis, backwards=False)
        for step in range(steps):
            y = _summed(y, z, 2**step, axis, backwards=True)
        gain *= (1 - z) ** 2
    y *= gain
    if scaled:
        _scale_ends(y, axis, 0.5)
    return y


def _summed(y: Array, z: float, s: int, axis: int, backwards: bool) -> Array:
    """Of sums over k < s those over k < 2s, for the elements that have as many."""
    near, far = _part(axis, s, None), _part(axis, None, -s)
    if backwards:
        near, far = far, near
    total: Array = y[far] * z**s
    total += y[near]
    return total


def _part(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, stop))


def _scale_ends(x: Array, axis: int, factor: float) -> None:
    x[_part(axis, 0, 1)] *= factor
    x[_part(axis, -1, None)] *= factor


@functools.cache
def _poles(order: int) -> list[tuple[float, int]]:
    """Each pole, and the steps in which all its powers that count are summed up."""
    return [(z, math.ceil(math.log2(math.log(SMALLEST) / math.log(-z)))) for z in poles(order)]


@functools.lru_cache(256)
def _places(n: int, around: int, rule: str, device: str) -> Array:
    """The elements that stand in and around an axis of n."""
    places = np.arange(-around, n + around)
    if rule == "wrap":
        return constant(places % n, device)
    period = 2 * n - 2 if rule == "mirror" else 2 * n
    places = places % period
    found: Any = np.minimum(places, (period if rule == "mirror" else period - 1) - places)
    return constant(found, device)
