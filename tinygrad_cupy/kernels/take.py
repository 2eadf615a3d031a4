"""Taking and putting by index along an axis."""

from __future__ import annotations

import math

import numpy as np

from ..backend import Array, array_module, kernel
from .common import rows, rows_cuda


def take(x: Array, indices: Array, axis: int) -> Array:
    """x at ``indices`` along ``axis``; the axes of the indices stand in its place.

    An index out of bounds is an ``IndexError`` on the CPU; on a GPU it is taken modulo the size.
    """
    return rows.take(x, indices, axis)


def put_added(values: Array, indices: Array, axis: int, size: int) -> Array:
    """Zeros, ``size`` along ``axis``, with ``values`` added at ``indices``: adjoint of `take`."""
    before, after = values.shape[:axis], values.shape[axis + indices.ndim :]
    blocks = values.reshape(math.prod(before), indices.size, math.prod(after))
    found: Array = rows.add(blocks, indices.reshape(-1), size)
    return found.reshape(*before, size, *after)


def _from_start(indices: Array, size: int) -> Array:
    """Indices without negative ones, which count from the end; on a GPU within bounds as well."""
    if isinstance(indices, np.ndarray):
        if not indices.size or indices.min() >= 0:
            return indices
        return np.where(indices < 0, indices + size, indices)
    return indices % max(size, 1)


def offset(indices: Array, size: int) -> Array:
    """Indices (B, …) into B axes of ``size``, as indices into these joined."""
    xp = array_module(indices)
    if xp is np and indices.size and not -size <= indices.min() <= indices.max() < size:
        wrong = indices.max() if indices.max() >= size else indices.min()
        raise IndexError(f"index {wrong} is out of bounds for axis with size {size}")
    starts = xp.arange(len(indices)).reshape(-1, *[1] * (indices.ndim - 1)) * size
    return _from_start(indices.astype(np.int64, copy=False), size) + starts


# --- along an axis --------------------------------------------------------------------------------


def places_along(
    indices: Array, axis: int, shape: tuple[int, ...], lead: int = 0, positive: bool = False
) -> Array:
    """Where in C order, in an array of ``shape``, the elements lie that ``indices`` name.

    Along ``axis`` the indices say where, along the others the place of the index does. The first
    ``lead`` axes are batches: each counts from its own start. ``positive``: none is negative.
    """
    xp = array_module(indices)
    places = indices.astype(np.int64, copy=False)
    places = places if positive else _from_start(places, shape[axis])
    grid, step = None, 1
    for at in reversed(range(lead, len(shape))):
        if at == axis:
            places = places * step if step > 1 else places
        elif indices.shape[at] > 1:
            line = xp.arange(indices.shape[at]).reshape(-1, *[1] * (len(shape) - at - 1))
            line = line * step if step != 1 else line
            grid = line if grid is None else grid + line
        step *= shape[at]
    return places if grid is None else places + grid


def expect_bounds(indices: Array, axis: int, size: int) -> None:
    """Raise ``IndexError`` where an index, on the CPU, is out of bounds."""
    if indices.size and not (indices.min() >= -size and indices.max() < size):
        wrong = indices.max() if indices.max() >= size else indices.min()
        raise IndexError(f"index {wrong} is out of bounds for axis {axis} with size {size}")


def _take_along_cpu(x: Array, indices: Array, axis: int, distinct: bool) -> Array:
    if x.ndim == 1:
        return x.take(indices)
    if not distinct:
        expect_bounds(indices, axis, x.shape[axis])
    return x.reshape(-1).take(places_along(indices, axis, x.shape, 0, distinct))


def _take_along_cuda(x: Array, indices: Array, axis: int, distinct: bool) -> Array:
    return rows_cuda.take_along(x, indices, axis)


@kernel(cpu=_take_along_cpu, cuda=_take_along_cuda)
def take_along(x: Array, indices: Array, axis: int, distinct: bool) -> Array:
    """y[…, j, …] = x[…, indices[…, j, …], …]; the other axes are of one size in both.

    ``distinct`` indices, which a sort has given, are from 0 on and within bounds.
    """


def scatter_along(values: Array, indices: Array, axis: int, size: int, distinct: bool) -> Array:
    """Zeros, ``size`` along ``axis``, with values added (put, where distinct): see `take_along`."""
    shape = (*values.shape[:axis], size, *values.shape[axis + 1 :])
    if distinct:
        return _put_along(values, indices, axis, size)
    if isinstance(values, np.ndarray):
        expect_bounds(indices, axis, size)
    places = places_along(indices, axis, shape).reshape(-1)
    found: Array = rows.add(values.reshape(1, -1, 1), places, math.prod(shape))
    return found.reshape(shape)


def _put_along_cpu(values: Array, indices: Array, axis: int, size: int) -> Array:
    shape = (*values.shape[:axis], size, *values.shape[axis + 1 :])
    out = (np.empty if values.shape == shape else np.zeros)(shape, values.dtype)
    if values.ndim == 1:
        out[indices] = values
    else:
        out.reshape(-1)[places_along(indices, axis, shape, 0, True)] = values
    return out


@kernel(cpu=_put_along_cpu, cuda=rows_cuda.put_along)
def _put_along(values: Array, indices: Array, axis: int, size: int) -> Array:
    """Zeros, ``size`` along ``axis``, with the values of each line at indices of it, distinct."""
