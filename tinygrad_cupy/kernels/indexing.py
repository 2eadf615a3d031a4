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
