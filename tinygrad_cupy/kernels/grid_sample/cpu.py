"""Sampling on the CPU: in C where there is a compiler, else through NumPy."""

from __future__ import annotations

from ...backend import Array
from . import native, reference
from .plan import Points


def sample(x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    suits = points.size > 0 and native.suits(x, x.shape[2:], how)
    return (native if suits else reference).sample(x, points, how)


def splat(values: Array, points: Array, how: Points, sizes: tuple[int, ...]) -> Array:
    """See the declaration."""
    suits = points.size > 0 and native.suits(values, sizes, how)
    return (native if suits else reference).splat(values, points, how, sizes)


def slopes(values: Array, x: Array, points: Array, how: Points) -> Array:
    """See the declaration."""
    suits = points.size > 0 and native.suits(x, x.shape[2:], how)
    return (native if suits else reference).slopes(values, x, points, how)
