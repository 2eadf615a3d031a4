"""Indexing, and values added where a key says: its adjoint."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..backend import (
    Array,
    array_module,
    import_cupy,
    is_cuda,
    kernel,
    may_share_memory,
)
from ..backend.dtypes import is_inexact, widest
from .common import rows, rows_cuda
from .common.layout import contiguous

Key = tuple[Any, ...]
Shape = tuple[int, ...]


def get(x: Array, key: Key) -> Array:
    """x[key]; of a single element a view, too, as CuPy's: NumPy copies it."""
    axis = 0 if _is_one_row_of_places(key) else _axis_of_rows(key, x.ndim)
    if axis is not None:
        return rows.take(x, _array_in(key), axis)
    found = x[key]
    return x[(*key, ...)] if isinstance(found, np.generic) else found


def _get_last_cpu(x: Array, key: Key, owner: Any) -> Array:
    if not may_repeat(key):
        return get(x, key)
    found, stays = get(x, key), _values_that_stay(key, x.shape)
    if stays is not None:
        np.copyto(found, 0, where=~stays)
    return found


def _get_last_cuda(x: Array, key: Key, owner: Any) -> Array:
    if not may_repeat(key):
        return get(x, key)
    found = _rows(import_cupy(), key, x.shape)
    x = contiguous(x, x.itemsize)
    return rows_cuda.take_last(x, found[:3], found.places, found.region, owner)


@kernel(cpu=_get_last_cpu, cuda=_get_last_cuda)
def get_last(x: Array, key: Key, owner: Any) -> Array:
    """x[key], but 0 where a later place of the key names the same element.

    ``owner``: what `put` at this key, into an array of this shape, gave, or None.
    """


def _without_cpu(x: Array, key: Key, owner: Any) -> Array:
    y = x.copy()
    put(y, key, 0)
    return y


def _without_cuda(x: Array, key: Key, owner: Any) -> Array:
    if not _by_places(key) or not x.flags.c_contiguous:
        return _without_cpu(x, key, owner)
    found = _rows(import_cupy(), key, x.shape)
    return rows_cuda.without(x, found[:3], found.places, owner)


@kernel(cpu=_without_cpu, cuda=_without_cuda)
def without(x: Array, key: Key, owner: Any) -> Array:
    """A copy of x with 0 at ``key``; ``owner`` as in `get_last`."""


def scattered(values: Array, key: Key, shape: Shape) -> Array:
    """Zeros of ``shape`` with the values added at ``key``, repeats added up: the adjoint of `get`.

    Floats are added up in float64, in a fixed order, and rounded once.
    """
    if _is_one_row_of_places(key):
        of_rows = values.reshape(1, len(values), math.prod(shape[1:]))
        return rows.add(of_rows, key[0], shape[0]).reshape(shape)
    if _by_places(key):
        found = _rows(array_module(values), key, shape)
        of_rows = values.reshape(found.blocks, found.places.size, found.columns)
        return rows.add(of_rows, found.places.reshape(-1), found.rows).reshape(shape)
    out = array_module(values).zeros(shape, values.dtype)
    out[key] = values
    return out


def scatter_add(out: Array, key: Key, values: Any) -> None:
    """out[key] += values, which broadcast, with repeats added up."""
    xp, wide = array_module(out), widest(out.dtype) if is_inexact(out.dtype) else out.dtype
    region = _rows(xp, key, tuple(out.shape)).region
    if not hasattr(values, "dtype"):  # a number
        values = xp.full((), values, wide)
    full = xp.broadcast_to(values.astype(wide, copy=False), region)
    out[...] = out.astype(wide, copy=False) + scattered(full, key, tuple(out.shape))


# --- keys as rows -------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """An array as P blocks of R rows of K elements, and which of these rows a key takes."""

    blocks: int
    rows: int
    columns: int
    places: Array
    region: Shape  # of what the key gives


def _rows(xp: Any, key: Key, shape: Shape) -> _Rows:
    axis = _axis_of_rows(key, len(shape))
    if axis is not None:
        places, outer, inner = _array_in(key), shape[:axis], shape[axis + 1 :]
        region = (*outer, *places.shape, *inner)
        return _Rows(math.prod(outer), shape[axis], math.prod(inner), places, region)
    while key and (key[-1] is Ellipsis or _is_whole(key[-1])):
        key = key[:-1]
    dots = any(k is Ellipsis for k in key)
    ends = len(shape) if dots else sum(map(_axes_of, key))
    outer, inner = shape[:ends], shape[ends:]
    count = math.prod(outer)
    places = xp.arange(count).reshape(outer)[key]  # whatever the key means
    return _Rows(1, count, math.prod(inner), places, (*places.shape, *inner))


def _axis_of_rows(key: Key, ndim: int) -> int | None:
    """The axis that a key indexes by one array of integers, while it takes all of the others."""
    if len(key) == 1 and hasattr(key[0], "ndim"):
        return 0 if key[0].dtype != bool and key[0].ndim else None
    axis, before = None, 0
    for k in key:
        if k is Ellipsis:
            before += ndim + 1 - len(key)
        elif _is_whole(k):
            before += 1
        elif axis is None and hasattr(k, "ndim") and k.dtype != bool and k.ndim:
            axis, before = before, before + 1
        else:
            return None
    return axis


def _by_places(key: Key) -> bool:
    """Whether arrays of integers are in a key."""
    return any(hasattr(k, "dtype") and not _is_mask(k) for k in key)


def _array_in(key: Key) -> Array:
    return next(k for k in key if hasattr(k, "ndim"))


def _is_whole(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _axes_of(part: Any) -> int:
    """How many axes a part of a key takes."""
    if part is None or isinstance(part, bool):
        return 0
    return int(part.ndim) if _is_mask(part) else 1


def _is_mask(part: Any) -> bool:
    return hasattr(part, "dtype") and bool(part.dtype == bool)


# --- counts by place ------------------------------------------------------------------------------


def _counts_cpu(place: Array, count: int) -> Array:
    return np.bincount(place.reshape(-1), minlength=count)


def _counts_cuda(place: Array, count: int) -> Array:
    """Integers are added atomically, which has one result; bincount would ask the host."""
    cupy = import_cupy()
    found = cupy.zeros(count, np.uint64)
    cupy.add.at(found, place.reshape(-1), 1)
    return found.view(np.int64)


@kernel(cpu=_counts_cpu, cuda=_counts_cuda)
def bin_counts(place: Array, count: int) -> Array:
    """How many (count,) integers there are in each place, from 0 to count - 1."""


# --- values written where a key says --------------------------------------------------------------


class Region(NamedTuple):
    """What a key with arrays, one at least, says of an array.

    ``arrays`` of integers, or integers, each with the length of its axis, broadcast to ``shape``; a
    result has axes ``before`` and ``after`` theirs.
    """

    arrays: list[tuple[Any, int]]
    shape: Shape
    before: Shape
    after: Shape

    @property
    def whole(self) -> Shape:
        """The shape of the result."""
        return (*self.before, *self.shape, *self.after)


def may_repeat(key: tuple[Any, ...]) -> bool:
    """Whether a key may name an element several times."""
    return any(hasattr(k, "dtype") and not _is_mask(k) and k.size > 1 for k in key)


def region_of(key: Key, shape: Shape) -> Region:
    """What a key with arrays says of an array of ``shape``."""
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
        found = array_module(k).nonzero(k) if _is_mask(k) else (k,)
        arrays += [(one, shape[axis + i]) for i, one in enumerate(found)]
        axis += len(found)
    if advanced[-1] - advanced[0] >= len(advanced):  # NumPy puts their axes in front of all others
        before = 0
    result = np.broadcast_shapes(*[np.shape(one) for one, _ in arrays])
    return Region(arrays, result, tuple(others[:before]), tuple(others[before:]))


def _places(region: Region) -> tuple[np.ndarray, int]:
    """The places (M,) that the arrays of a key name on the CPU, in C order, and out of how many."""
    flat: Any = None
    for one, length in region.arrays:
        place = _from_start(one, length)
        flat = place if flat is None else flat * length + place
    count = math.prod([length for _, length in region.arrays])
    return np.broadcast_to(flat, region.shape).reshape(-1), count


def _from_start(places: Any, length: int) -> Any:
    """Places of an axis, an array or one alone, negative ones counted from its end."""
    if isinstance(places, int):
        return places + length if places < 0 else places
    places = places.astype(np.int64, copy=False)
    if not places.size or places.min() >= 0:
        return places
    return np.where(places < 0, places + length, places)


def _one_for_each_axis(key: tuple[Any, ...], ndim: int) -> list[Any]:
    """The parts of a key without an ellipsis, with slices for the axes that it does not name."""
    named = sum(k.ndim if _is_mask(k) else 1 for k in key if not (k is None or k is Ellipsis))
    dots = [i for i, k in enumerate(key) if k is Ellipsis]
    at = dots[0] if dots else len(key)
    return [*key[:at], *[slice(None)] * (ndim - named), *key[at + 1 :]]


def _last_for_place(flat: Array, count: int) -> Array:
    """(M,): the number of the last value for the place of each, of places 0 … count - 1."""
    order = np.arange(flat.size)
    if flat.size < 2 or (flat[1:] > flat[:-1]).all():
        return order
    owner = np.empty(count, np.int64)
    owner[flat] = order  # one after the other
    return owner[flat]


def _values_that_stay(key: Key, shape: Shape) -> Array | None:
    """Which values written at ``key`` stay, to be broadcast against them; None where all do."""
    if _is_one_row_of_places(key):
        stays = rows.last(key[0], shape[0])
        return None if stays is None else stays.reshape(-1, *[1] * (len(shape) - 1))
    region = region_of(key, shape)
    stays = rows.last(*_places(region))
    if stays is None:
        return None
    return stays.reshape(*region.shape, *[1] * len(region.after))


def _is_one_row_of_places(key: Key) -> bool:
    """Whether a key is one array of integers along one axis, as most are."""
    only: Any = key[0] if len(key) == 1 else None
    return hasattr(only, "dtype") and only.ndim == 1 and bool(only.dtype != bool)


def _put_cpu(out: Array, key: Key, values: Any) -> Any:
    if len(key) == 1 and key[0] is Ellipsis:
        out[...] = values
        return None
    if _is_one_row_of_places(key):  # written one after the other
        out[key[0]] = values
        return None
    several = may_repeat(key) and getattr(values, "size", 1) > 1
    if not several:  # with an ellipsis, for NumPy writes one element of a scalar alone
        array_key = any(hasattr(k, "ndim") for k in key)
        out[key if array_key or Ellipsis in key else (*key, ...)] = values
        return None
    if hasattr(values, "dtype") and may_share_memory(out, values):
        values = values.copy()  # below they are read a second time
    out[key] = values
    if max(1 if _is_mask(k) else k.ndim for k in key if hasattr(k, "ndim")) == 1:
        return None  # written one after the other
    region = region_of(key, out.shape)
    last = _last_for_place(*_places(region))
    full = np.broadcast_to(_fitted(values, len(region.whole)), region.whole)
    full = full.reshape(*region.before, last.size, *region.after)
    out[key] = full.take(last, axis=len(region.before)).reshape(region.whole)
    return None


def _put_cuda(out: Array, key: Key, values: Any) -> Any:
    cupy = import_cupy()
    if hasattr(values, "dtype") and may_share_memory(out, values):
        values = values.copy()  # CuPy copies in no order
    if not _by_places(key):
        of_array = any(k is Ellipsis or hasattr(k, "ndim") for k in key)
        out[key if of_array else (*key, ...)] = values
        return None
    whole = out if out.flags.c_contiguous else out.copy(order="C")
    found = _rows(cupy, key, out.shape)
    repeats = found.places.size > 1 and getattr(values, "size", 1) > 1
    if repeats and values.ndim > len(found.region):
        values = _fitted(values, len(found.region))
    owner = rows_cuda.put(whole, found[:3], found.places, values, found.region, repeats)
    if whole is not out:
        out[...] = whole
    return owner


def _fitted(values: Array, ndim: int) -> Array:
    """Values without axes of one element in front of a region with ``ndim`` axes."""
    return values.reshape(values.shape[max(0, values.ndim - ndim) :])


@kernel(cpu=_put_cpu, cuda=_put_cuda)
def put(out: Array, key: Key, values: Any) -> Any:
    """out[key] = values, of several for one element the last in C order of the index arrays.

    (Which it is NumPy says for one axis only, and CuPy for none.) On a GPU an index out of bounds
    is taken modulo the size. Gives what `get_last` and `without` need not find out again.
    """


def add_at(out: Array, key: tuple[Any, ...], values: Any) -> None:
    """out[key] += values, with repeats added up; rounded once."""
    if is_cuda(out) and is_cuda(values) and may_share_memory(out, values):
        values = values.copy()
    if not may_repeat(key):
        out[key] += values
        return
    scatter_add(out, key, values)
