"""Joining arrays."""

from __future__ import annotations

import numpy as np

from ..backend import Array, import_cupy, kernel


def _concat_cpu(first: Array, others: list[Array], axis: int) -> Array:
    return np.concatenate([first, *others], axis=axis)


def _concat_cuda(first: Array, others: list[Array], axis: int) -> Array:
    """CuPy's concatenate sends a table of pointers from the host; a capture does not allow that."""
    arrays = [first, *others]
    shape = list(first.shape)
    shape[axis] = sum(a.shape[axis] for a in arrays)
    joined = import_cupy().empty(shape, first.dtype)
    start = 0
    for a in arrays:
        joined[(*(slice(None),) * axis, slice(start, start + a.shape[axis]))] = a
        start += a.shape[axis]
    return joined


@kernel(cpu=_concat_cpu, cuda=_concat_cuda)
def concat(first: Array, others: list[Array], axis: int) -> Array:
    """Arrays of one dtype joined along an axis."""
