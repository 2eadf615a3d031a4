"""Indexing, and values added where a key says: its adjoint."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, array_module, import_cupy, kernel
from ..backend.dtypes import is_float
from .common import rows

Key = tuple[Any, ...]
Shape = tuple[int, ...]


def get(x: Array, key: Key) -> Array:
    """x[key]; of a single element a view, too, as CuPy's: NumPy copies it."""
    axis = _axis_of_rows(key, x.ndim)
    if axis is not None and isinstance(x, np.ndarray):
        return rows.take(x, _array_in(key), axis)
    found = x[key]
    return x[(*key, ...)] if isinstance(found, np.generic) else found


def scattered(values: Array, key: Key, shape: Shape) -> Array:
    """Zeros of ``shape`` with the values added at ``key``, repeats added up: the adjoint of `get`.

    Floats are added up in float64, in a fixed order, and rounded once.
    """
    if len(key) == 1 and type(key[0]) is np.ndarray and key[0].ndim == 1 and key[0].dtype != bool:
        of_rows = values.reshape(1, len(values), math.prod(shape[1:]))
        return rows.add(of_rows, key[0], shape[0]).reshape(shape)
    if any(hasattr(k, "dtype") and k.dtype != bool for k in key):
        found = _rows(array_module(values), key, shape)
        of_rows = values.reshape(found.blocks, found.places.size, found.columns)
        return rows.add(of_rows, found.places.reshape(-1), found.rows).reshape(shape)
    out = array_module(values).zeros(shape, values.dtype)
    out[key] = values
    return out


def scatter_add(out: Array, key: Key, values: Array) -> None:
    """out[key] += values, which broadcast, with repeats added up."""
    xp, wide = array_module(out), np.float64 if is_float(out.dtype) else out.dtype
    region = _rows(xp, key, tuple(out.shape)).region
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
    if len(key) == 1 and type(key[0]) is np.ndarray:
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


# --- counts and sums by place --------------------------------------------------------------------


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
