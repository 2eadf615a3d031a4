"""Resizing on either kind of array, axis after axis: a tap is the whole array, taken by index."""

from __future__ import annotations

from ...backend import Array, array_module
from .plan import Line
from .tables import table


def resize(x: Array, lines: tuple[Line | None, ...]) -> Array:
    """x with its last axes resized, each as a line says; None leaves an axis."""
    for axis, line in enumerate(lines, -len(lines)):
        if line is not None:
            x = _along(x, line, axis)
    return x


def _along(x: Array, line: Line, axis: int) -> Array:
    xp, (start, weights) = array_module(x), table(line, x)
    y = None
    for k in range(weights.shape[1]):
        weight = weights[:, k].reshape(-1, *[1] * (-1 - axis))
        tap = xp.take(x, start + k, axis)
        tap = xp.where(weight != 0, tap * weight, 0)  # no NaN of an infinity that is not there
        y = tap if y is None else y + tap
    return y
