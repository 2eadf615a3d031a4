"""Values added where a key says, the adjoint of indexing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..backend import (
    Array,
    Elementwise,
    array_module,
    import_cupy,
    is_cuda,
    kernel,
    may_share_memory,
)
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


# --- values written where a key says --------------------------------------------------------------


class Places(NamedTuple):
    """What a key with integer arrays says of the axes that these index.

    ``arrays`` and integers, each with the length of its axis; a result has axes ``before`` and
    ``after`` those of the arrays, which broadcast to ``shape``.
    """

    arrays: list[tuple[Any, int]]
    shape: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def number(self) -> int:
        """How many places there are."""
        return math.prod([length for _, length in self.arrays])

    def numbers(self) -> Array:
        """(M,): the number of each value's place, in C order of the arrays."""
        total: Any = None
        for one, length in self.arrays:
            if hasattr(one, "ndim"):
                one = _from_the_front(one, length)
            elif one < 0:
                one += length
            total = one if total is None else total * length + one
        return array_module(total).broadcast_to(total, self.shape).ravel()


def _from_the_front(places: Array, length: int) -> Array:
    """Places along an axis as int64, counted from its front."""
    wide = places.astype(np.int64, copy=False)
    if is_cuda(wide):  # which wraps what is out of range
        return wide % max(length, 1)
    return np.where(wide < 0, wide + length, wide) if wide.size and wide.min() < 0 else wide


def may_repeat(key: tuple[Any, ...]) -> bool:
    """Whether a key may name an element several times."""
    return any(hasattr(k, "dtype") and k.dtype != bool and k.size > 1 for k in key)


def places_of(key: tuple[Any, ...], shape: tuple[int, ...]) -> Places:
    """The places that the index arrays of a key, one at least, name in an array of ``shape``."""
    arrays: list[tuple[Any, int]] = []
    advanced: list[int] = []
    others: list[int] = []
    axis = before = 0
    for number, k in enumerate(_one_for_each_axis(key, len(shape))):
        if k is None or isinstance(k, slice):
            others.append(1 if k is None else len(range(*k.indices(shape[axis]))))
            axis += k is not None
            before += not advanced
            continue
        advanced.append(number)
        is_mask = hasattr(k, "dtype") and k.dtype == bool
        found = array_module(k).nonzero(k) if is_mask else (k,)
        arrays += [(one, shape[axis + i]) for i, one in enumerate(found)]
        axis += len(found)
    if advanced[-1] - advanced[0] >= len(advanced):  # NumPy puts their axes in front of all others
        before = 0
    result = np.broadcast_shapes(*[np.shape(one) for one, _ in arrays])
    return Places(arrays, result, tuple(others[:before]), tuple(others[before:]))


def _one_for_each_axis(key: tuple[Any, ...], ndim: int) -> list[Any]:
    """The parts of a key without an ellipsis, with slices for the axes that it does not name."""
    named = sum(
        k.ndim if hasattr(k, "dtype") and k.dtype == bool else 1
        for k in key
        if not (k is None or k is Ellipsis)
    )
    dots = [i for i, k in enumerate(key) if k is Ellipsis]
    at = dots[0] if dots else len(key)
    return [*key[:at], *[slice(None)] * (ndim - named), *key[at + 1 :]]


def _last_cpu(flat: Array, count: int) -> Array:
    order = np.arange(flat.size, dtype=np.int32 if flat.size < 1 << 31 else np.int64)
    if flat.size < 2 or (flat[1:] > flat[:-1]).all():
        return order
    owner = np.empty(count, order.dtype)
    owner[flat] = order  # one after the other
    return owner[flat]


def _last_cuda(flat: Array, count: int) -> Array:
    cupy = import_cupy()
    owner, found = cupy.empty(count, np.int64), cupy.empty(flat.shape, np.int64)
    for step in (_begin_owner, _latest_owner):
        step(flat, owner, size=flat.size)
    _read_owner(flat, owner, found, size=flat.size)
    return found


_begin_owner = Elementwise(
    "raw int64 place", "raw int64 owner", "owner[place[i]] = -1;", "begin_owner"
)
_latest_owner = Elementwise(  # an atomic maximum of integers: the same in every run
    "raw int64 place",
    "raw int64 owner",
    "atomicMax(&owner[place[i]], (long long)i);",
    "latest_owner",
)
_read_owner = Elementwise(
    "raw int64 place, raw int64 owner", "raw int64 found", "found[i] = owner[place[i]];", "owner_of"
)


@kernel(cpu=_last_cpu, cuda=_last_cuda)
def last_for_place(flat: Array, count: int) -> Array:
    """(M,): the number of the last value for the place of each, of places 0 … count - 1."""


def values_that_stay(key: tuple[Any, ...], shape: tuple[int, ...]) -> Array | None:
    """Whether each value written at ``key`` stays, to be broadcast against them; None: all do."""
    places = places_of(key, shape)
    last = last_for_place(places.numbers(), places.number)
    stays = last == array_module(last).arange(last.size, dtype=last.dtype)
    if not is_cuda(stays) and stays.all():
        return None
    return stays.reshape(*places.shape, *[1] * len(places.after))


def put(out: Array, key: tuple[Any, ...], values: Any) -> None:
    """out[key] = values, of several for one element the last in C order of the index arrays.

    (Which it is NumPy says for one axis only, and CuPy for none.)
    """
    on_gpu, several = is_cuda(out), getattr(values, "size", 1) > 1 and may_repeat(key)
    if (on_gpu or several) and hasattr(values, "dtype") and may_share_memory(out, values):
        values = values.copy()  # CuPy copies in no order, and below they are read a second time
    if not several:  # with an ellipsis, for NumPy writes one element of a scalar alone
        given = any(hasattr(k, "ndim") or k is Ellipsis for k in key)
        out[key if given else (*key, ...)] = values
        return
    if not on_gpu:
        out[key] = values
        if all(k.ndim < 2 for k in key if hasattr(k, "ndim")):
            return  # written one after the other
    places = places_of(key, out.shape)
    last = last_for_place(places.numbers(), places.number)
    region = (*places.before, *places.shape, *places.after)
    values = values.reshape(values.shape[max(0, values.ndim - len(region)) :])
    rows = array_module(out).broadcast_to(values, region)
    rows = rows.reshape(*places.before, last.size, *places.after)
    out[key] = rows.take(last, axis=len(places.before)).reshape(region)


def add_at(out: Array, key: tuple[Any, ...], values: Any) -> None:
    """out[key] += values, with repeats added up; rounded once."""
    if is_cuda(out) and is_cuda(values) and may_share_memory(out, values):
        values = values.copy()
    if not may_repeat(key):
        out[key] += values
        return
    total = array_module(out).zeros(out.shape, np.float64 if is_float(out.dtype) else out.dtype)
    scatter_add(total, key, values)
    out[...] = out + total
