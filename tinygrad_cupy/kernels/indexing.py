"""Values added where a key says, the adjoint of indexing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Array, Elementwise, import_cupy, kernel
from ..backend.dtypes import is_float


def _add_cpu(out: Array, key: Any, values: Array) -> None:
    np.add.at(out, key, values)


def _add_cuda(out: Array, key: Any, values: Array) -> None:
    """out[key] += values, repeats added in a fixed order, without atomics.

    Indexing an array of positions finds where each value goes, whatever the key; a stable sort
    brings equal positions together, and the thread at the head of each run adds that run up.
    """
    cupy = import_cupy()
    position = cupy.arange(out.size).reshape(out.shape)[key].ravel()
    order = cupy.argsort(position, kind="stable")
    _sum_runs(position[order], order, cupy.ascontiguousarray(values).ravel(), out, size=order.size)


_sum_runs = Elementwise(
    "raw int64 position, raw int64 order, raw T values",
    "raw T out",
    """
    long long here = position[i];
    if (i == 0 || position[i - 1] != here) {
        T sum = values[order[i]];
        for (long long j = i + 1; j < _ind.size() && position[j] == here; ++j)
            sum += values[order[j]];
        out[here] = sum;
    }
    """,
    "sum_runs",
)


def _in_double(add: Callable[[Array, Any, Array], None]) -> Callable[..., None]:
    """``add`` with floats of 32 bits and less added up in float64: a place may come up often."""

    def wide(out: Array, key: Any, values: Array) -> None:
        if not is_float(out.dtype) or out.dtype.itemsize == 8:
            return add(out, key, values)
        total = out.astype(np.float64)
        add(total, key, values.astype(np.float64))
        out[...] = total

    return wide


@kernel(cpu=_in_double(_add_cpu), cuda=_in_double(_add_cuda))
def scatter_add(out: Array, key: Any, values: Array) -> None:
    """out[key] += values, with repeats added up."""


def _bins_cpu(values: Array, place: Array, count: int) -> Array:
    if not is_float(values.dtype):
        found = np.zeros(count, np.int64)
        np.add.at(found, place.reshape(-1), values.reshape(-1).astype(np.int64))
        return found
    wide = values.reshape(-1).astype(np.float64, copy=False)
    return np.bincount(place.reshape(-1), wide, count).astype(values.dtype, copy=False)


def _bins_cuda(values: Array, place: Array, count: int) -> Array:
    dtype = values.dtype if is_float(values.dtype) else np.int64
    found = import_cupy().zeros(count, dtype)
    scatter_add(found, (place.reshape(-1),), values.reshape(-1).astype(dtype, copy=False))
    return found


@kernel(cpu=_bins_cpu, cuda=_bins_cuda)
def bin_sums(values: Array, place: Array, count: int) -> Array:
    """The sums (count,) of the values in each place, from 0 to count - 1; of integers int64."""


def _counts_cpu(place: Array, count: int) -> Array:
    return np.bincount(place.reshape(-1), minlength=count)


def _counts_cuda(place: Array, count: int) -> Array:
    cupy = import_cupy()
    found = cupy.zeros(count, np.int64)  # bincount would ask the host for the largest
    cupy.add.at(found, place.reshape(-1), 1)
    return found


@kernel(cpu=_counts_cpu, cuda=_counts_cuda)
def bin_counts(place: Array, count: int) -> Array:
    """How many (count,) integers there are in each place, from 0 to count - 1."""
