"""Values that meet at one place, reduced there: always in the order in which they stand."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ...backend import Array, Elementwise, import_cupy, kernel
from ...backend.dtypes import is_float, is_narrow

Kind = Literal["sum", "prod", "max", "min"]

_UFUNCS: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def identity(kind: Kind, dtype: Any) -> Any:
    """What stands where no value is: nothing is less than it, or more, or changes by it."""
    if kind in ("sum", "prod"):
        return dtype.type(kind == "prod")
    if dtype.kind == "b":
        return kind == "min"
    if is_float(dtype):
        return dtype.type(np.inf if kind == "min" else -np.inf)
    limits = np.iinfo(dtype)
    return limits.max if kind == "min" else limits.min


def _wide(values: Array, kind: Kind) -> Array:
    """The values in the type in which they are added up or multiplied; maxima stay exact."""
    if not is_float(values.dtype):
        return values
    if kind in ("sum", "prod"):
        return values.astype(np.float64, copy=False)
    return values.astype(np.float32) if is_narrow(values.dtype) else values


def _reduce_cpu(values: Array, places: Array, count: int, kind: Kind) -> Array:
    dtype, width = values.dtype, values.shape[1]
    wide = _wide(values, kind)
    if kind == "sum" and is_float(dtype):
        flat = _flat_places(places, width)
        found = np.bincount(flat, wide.ravel(), count * width)
    else:
        found = np.full(count * width, identity(kind, wide.dtype), wide.dtype)
        with np.errstate(invalid="ignore"):  # NumPy warns of NaN, here alone
            _UFUNCS[kind].at(found, _flat_places(places, width), wide.ravel())
    with np.errstate(over="ignore"):
        return found.reshape(count, width).astype(dtype, copy=False)


def _flat_places(places: Array, width: int) -> Array:
    """Places of rows of ``width`` as places of their elements."""
    return places if width == 1 else (places[:, None] * width + np.arange(width)).ravel()


def _reduce_cuda(values: Array, places: Array, count: int, kind: Kind) -> Array:
    """Without atomics: a stable sort brings equal places together, in the order of the values.

    A thread at the head of each run, and at every `CHUNK`-th row, reduces up to the next of these;
    then the one at the head reduces what the others found.
    """
    cupy = import_cupy()
    dtype, (rows, width) = values.dtype, values.shape
    wide = values.astype(np.float32) if is_narrow(dtype) else values
    found = cupy.full((count, width), identity(kind, wide.dtype), wide.dtype)
    if values.size:
        narrow = places.astype(np.int32) if count < 1 << 31 else places
        order = cupy.argsort(narrow)
        sorted_places = narrow[order]
        inside = np.float64 if is_float(dtype) and kind in ("sum", "prod") else wide.dtype
        parts = cupy.empty((rows, width), inside)
        chunks, heads = _KERNELS[kind]
        flat = cupy.ascontiguousarray(wide).ravel()
        chunks(sorted_places, order, flat, rows, width, parts, size=rows * width)
        heads(sorted_places, parts, rows, width, found, size=rows * width)
    return found.astype(dtype, copy=False)


CHUNK = 256
_PAIRS = {
    "sum": "a + b",
    "prod": "a * b",
    "max": "b > a || b != b ? b : a",  # NaN stays: nothing is larger
    "min": "b < a || b != b ? b : a",
}


def _kernels(kind: str) -> tuple[Elementwise, Elementwise]:
    pair = _PAIRS[kind]
    chunks = Elementwise(
        "raw P place, raw int64 order, raw T values, int64 rows, int64 width",
        "raw A parts",
        f"""
        const long long row = i / width, column = i % width;
        const P here = place[row];
        if (row % {CHUNK} == 0 || place[row - 1] != here) {{
            A a = (A)values[order[row] * width + column];
            for (long long j = row + 1; j < rows && j % {CHUNK} && place[j] == here; ++j) {{
                const A b = (A)values[order[j] * width + column];
                a = {pair};
            }}
            parts[i] = a;
        }}
        """,
        f"{kind}_chunks_of_runs",
    )
    heads = Elementwise(
        "raw P place, raw A parts, int64 rows, int64 width",
        "raw T found",
        f"""
        const long long row = i / width, column = i % width;
        const P here = place[row];
        if (row == 0 || place[row - 1] != here) {{
            A a = parts[i];
            for (long long j = (row / {CHUNK} + 1) * {CHUNK}; j < rows && place[j] == here;
                 j += {CHUNK}) {{
                const A b = parts[j * width + column];
                a = {pair};
            }}
            found[here * width + column] = (T)a;
        }}
        """,
        f"{kind}_of_runs",
    )
    return chunks, heads


_KERNELS = {kind: _kernels(kind) for kind in _PAIRS}


@kernel(cpu=_reduce_cpu, cuda=_reduce_cuda)
def reduce_at(values: Array, places: Array, count: int, kind: Kind) -> Array:
    """(count, K): the rows of ``values`` (M, K) that stand at each of ``places`` (M,), reduced.

    Places are from 0 to count - 1. Sums and products of floats are computed in float64 and rounded
    once. Where no value is stands `identity`.
    """
