"""Diagonals as views."""

from __future__ import annotations

from typing import Any

from ..backend import Array, array_module, strides_of


def view(x: Array, offset: int) -> Array:
    """The diagonal ``offset`` of the last two axes; what is written into it, x has."""
    strided: Any = array_module(x).lib.stride_tricks.as_strided
    start = x[..., offset:] if offset >= 0 else x[..., -offset:, :]
    length = min(start.shape[-2:])
    shape = (*x.shape[:-2], length)
    *outer, down, right = strides_of(x)
    return strided(start, shape, (*outer, down + right))
