"""Moving elements on along axes."""

from __future__ import annotations

import itertools

from ..backend import Array, array_module


def roll(x: Array, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """x moved on along distinct axes: two slices of each change places."""
    out = array_module(x).empty(x.shape, x.dtype)
    pieces: list[list[tuple[slice, slice]]] = [[(slice(None), slice(None))] for _ in x.shape]
    for shift, axis in zip(shifts, axes, strict=True):
        by = shift % (x.shape[axis] or 1)
        if by:
            pieces[axis] = [(slice(by, None), slice(-by)), (slice(by), slice(-by, None))]
    for piece in itertools.product(*pieces):
        to, of = zip(*piece, strict=True)
        out[to] = x[of]
    return out
