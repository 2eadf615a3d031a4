"""Values reduced by the place that each is given: sums, products, maxima and minima.

Always in the order in which they stand, without atomics: the same bits in every run.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from ..backend import Array, Elementwise, array_module, import_cupy, kernel
from ..backend.dtypes import is_float, is_inexact, is_narrow, widest
from .common import rows
from .common.layout import contiguous
from .common.places_cuda import in_order

Kind = Literal["sum", "prod", "max", "min"]


def _identity(kind: Kind, dtype: Any) -> Any:
    """What stands where no value is: none is less, or more, or changes by it."""
    if kind == "prod":
        return dtype.type(1)
    if dtype.kind == "b":
        return kind == "min"
    if is_float(dtype):
        return dtype.type(np.inf if kind == "min" else -np.inf)
    limits = np.iinfo(dtype)
    return limits.max if kind == "min" else limits.min


_UFUNCS: dict[str, Any] = {"prod": np.multiply, "max": np.maximum, "min": np.minimum}


def _reduce_cpu(values: Array, places: Array, count: int, kind: Kind) -> Array:
    dtype = values.dtype
    if kind == "sum":
        return rows.add(values.reshape(1, -1, 1), places, count).reshape(count)
    if is_inexact(dtype) and (kind == "prod" or is_narrow(dtype)):  # maxima are exact anyhow
        values = values.astype(widest(dtype))
    found = np.full(count, _identity(kind, values.dtype), values.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # NumPy warns of NaN, here alone
        _UFUNCS[kind].at(found, places, values)
        return found.astype(dtype, copy=False)


def _reduce_cuda(values: Array, places: Array, count: int, kind: Kind) -> Array:
    """A stable sort brings equal places together, in the order of the values.

    A thread at the head of each run of them, and at every `CHUNK`-th value, reduces up to the next
    of these; then that at the head reduces what the others have found.
    """
    if kind == "sum":
        return rows.add(values.reshape(1, values.size, 1), places, count).reshape(count)
    cupy = import_cupy()
    dtype = values.dtype
    if is_narrow(dtype):
        values = values.astype(np.float32)
    found = cupy.full(count, _identity(kind, values.dtype), values.dtype)
    if values.size:
        ordered, order = in_order(contiguous(places, 8), count)
        wide = np.float64 if is_float(dtype) and kind == "prod" else values.dtype
        parts = cupy.empty(values.shape, wide)
        of_chunks, of_runs = _KERNELS[kind]
        of_chunks(ordered, order, values, values.size, parts, size=values.size)
        of_runs(ordered, parts, values.size, found, size=values.size)
    return found.astype(dtype, copy=False)


CHUNK = 128


def _kernels(kind: str, pair: str) -> tuple[Elementwise, Elementwise]:
    """Kernels that make ``pair`` of ``a``, what there is, and ``b``, one more."""
    of_chunks = Elementwise(
        "raw P place, raw P order, raw T values, int64 count",
        "raw S parts",
        f"""
        const P here = place[i];
        if (i % {CHUNK} == 0 || place[i - 1] != here) {{
            S a = (S)values[order[i]];
            for (long long j = i + 1; j < count && j % {CHUNK} && place[j] == here; ++j) {{
                const S b = (S)values[order[j]];
                a = {pair};
            }}
            parts[i] = a;
        }}
        """,
        f"{kind}_of_chunks",
    )
    of_runs = Elementwise(
        "raw P place, raw S parts, int64 count",
        "raw T found",
        f"""
        const P here = place[i];
        if (i == 0 || place[i - 1] != here) {{
            S a = parts[i];
            for (long long j = (i / {CHUNK} + 1) * {CHUNK}; j < count && place[j] == here;
                 j += {CHUNK}) {{
                const S b = parts[j];
                a = {pair};
            }}
            found[here] = (T)a;
        }}
        """,
        f"{kind}_of_runs",
    )
    return of_chunks, of_runs


_KERNELS = {
    "prod": _kernels("prod", "a * b"),
    "max": _kernels("max", "b > a || b != b ? b : a"),  # NaN stays: nothing is larger
    "min": _kernels("min", "b < a || b != b ? b : a"),
}


@kernel(cpu=_reduce_cpu, cuda=_reduce_cuda)
def reduce(values: Array, places: Array, count: int, kind: Kind) -> Array:
    """(count,): the values (M,) at each of the places (M,), from 0 to count - 1, reduced.

    Sums and products of floats are computed in float64 and rounded once. Where no value is stands
    0, 1, or what is less or more than all.
    """


def shares(values: Array, places: Array, y: Array) -> tuple[Array, Array]:
    """Which values are the extremum y of their place, and one over how many there are."""
    extremum = y[places]
    hits = (values == extremum) | (values != values)  # where there is NaN, it is the extremum
    count = reduce(hits.astype(np.float64), places, len(y), "sum")[places]
    return hits, 1 / array_module(y).maximum(count, 1)


def product_of_others(values: Array, places: Array, count: int) -> Array:
    """For each value the product of all others at its place."""
    xp = array_module(values)
    wide = values.astype(widest(values.dtype))
    zero = wide == 0
    zeros = reduce(zero.astype(np.float64), places, count, "sum")[places]
    nonzero = xp.where(zero, 1.0, wide)
    product = reduce(nonzero, places, count, "prod")[places]
    others = xp.where(zeros == zero, product / nonzero, 0.0)
    return others.astype(values.dtype)


class Runs(NamedTuple):
    """Values sorted by place: their order, places, which are first there, and the run's bounds."""

    order: Array
    places: Array
    heads: Array
    starts: Array
    ends: Array
    empty: Array  # of each place, whether it has no value


def runs_of(places: Array, count: int) -> Runs:
    """How values with these places stand, sorted by them and as they stood among equals."""
    xp = array_module(places)
    order = xp.argsort(places, kind="stable")
    ordered = places[order]
    starts = xp.searchsorted(ordered, ordered, "left")
    ends = xp.searchsorted(ordered, ordered, "right")
    heads = starts == xp.arange(len(places))
    empty = xp.ones(count, bool)
    empty[ordered] = False
    return Runs(order, ordered, heads, starts, ends, empty)


def paired(runs: Runs, step: int) -> Array:
    """Which values, of those ``step`` … apart that are left of each run, have another to meet."""
    at = array_module(runs.ends).arange(len(runs.ends))
    return ((at - runs.starts) % (2 * step) == 0) & (at + step < runs.ends)
