"""The bands of a plan as arrays where an operation runs, made once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...backend import Array, constant, device_of
from ...backend.capture import keep
from .plan import Line


def table(line: Line, x: Array) -> tuple[Array, Array]:
    """start (out,) int32 and weights (out, taps), of the dtype of x and where that is."""
    found = _table(line, x.dtype, device_of(x))
    keep(*found)
    return found


@functools.lru_cache(256)
def _table(line: Line, dtype: Any, device: str) -> tuple[Array, Array]:
    band = line.band
    weights = np.ascontiguousarray(band.weights.astype(dtype))
    return constant(band.start, device), constant(weights, device)


@functools.lru_cache(256)
def by_tap(line: Line, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """start (out,) int32 and weights (taps, out) in C order, as the C file takes them."""
    band = line.band
    return band.start, np.ascontiguousarray(band.weights.T.astype(dtype))
