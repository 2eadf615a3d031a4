"""Joining arrays."""

from __future__ import annotations

import numpy as np

from ..backend import Array, import_cupy, kernel
from .common.layout import copy_rows, empty_last, is_stored_last, seen_last


def _concat_cpu(first: Array, others: list[Array], axis: int) -> Array:
    return np.concatenate([first, *others], axis=axis)


def _concat_cuda(first: Array, others: list[Array], axis: int) -> Array:
    """CuPy's concatenate sends a table of pointers from the host; a capture does not allow that.

    Images that are stored with the channels last are joined so.
    """
    arrays = [first, *others]
    size = list(first.shape)
    size[axis] = sum(a.shape[axis] for a in arrays)
    shape = tuple(size)
    if all(is_stored_last(a) and not a.flags.c_contiguous for a in arrays):
        joined = empty_last(shape, first.dtype)
        stored, axis = seen_last(joined), axis - 1 if axis > 1 else (first.ndim - 1) * axis
        arrays = [seen_last(a) for a in arrays]
    else:
        joined = stored = import_cupy().empty(shape, first.dtype)
    start = 0
    for a in arrays:
        end = start + a.shape[axis]
        copy_rows(a, stored[(*(slice(None),) * axis, slice(start, end))])
        start = end
    return joined


@kernel(cpu=_concat_cpu, cuda=_concat_cuda)
def concat(first: Array, others: list[Array], axis: int) -> Array:
    """Arrays of one dtype joined along an axis."""
