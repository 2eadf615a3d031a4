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
    found = device_table(line, x.dtype, device_of(x))
    keep(*found)
    return found


@functools.lru_cache(256)
def device_table(line: Line, dtype: Any, device: str) -> tuple[Array, Array]:
    """`table` on a device; a captured run must `keep` it."""
    _, start, weights = line.band
    return _on(device, start, weights.astype(dtype))


@functools.lru_cache(256)
def device_windows(line: Line, each: int, dtype: Any, device: str) -> tuple[Array, Array]:
    """`Line.windows` on a device, of that dtype; a captured run must `keep` them."""
    start, weights = line.windows(each)
    return _on(device, start, weights.astype(dtype))


def _on(device: str, start: np.ndarray, weights: np.ndarray) -> tuple[Array, Array]:
    return constant(start, device), constant(np.ascontiguousarray(weights), device)


@functools.lru_cache(256)
def by_tap(line: Line, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """start (out,) int32 and weights (taps, out) in C order, as the C file takes them."""
    band = line.band
    return band.start, np.ascontiguousarray(band.weights.T.astype(dtype))
