"""Unique elements, and rows, of arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import Array, import_cupy, kernel
from ..backend.dtypes import is_bfloat16, is_float
from .common.order import order_of_rows


def _values_cpu(x: Array, equal_nan: bool) -> Array:
    known = x.astype(np.float32) if is_bfloat16(x.dtype) else x
    return np.unique(known, equal_nan=equal_nan).astype(x.dtype, copy=False)


def _parts_cpu(x: Array, equal_nan: bool, rows: bool) -> Array:
    known = x.astype(np.float32) if is_bfloat16(x.dtype) else x
    options: dict[str, Any] = {"axis": 0} if rows else {}
    _, index, inverse, counts = np.unique(
        known,
        return_index=True,
        return_inverse=True,
        return_counts=True,
        equal_nan=equal_nan,
        **options,
    )
    return np.concatenate([index, counts, inverse.reshape(-1)])


def _values_cuda(x: Array, equal_nan: bool) -> Array:
    flat = x.reshape(-1)
    order, new = _sorted_runs(flat[:, None], equal_nan)
    return flat[order[new]]


def _parts_cuda(x: Array, equal_nan: bool, rows: bool) -> Array:
    """Runs of equal rows in their order; a stable one has the first of each in front."""
    cupy = import_cupy()
    table = x.reshape(len(x), math.prod(x.shape[1:])) if rows else x.reshape(-1, 1)
    order, new = _sorted_runs(table, equal_nan and not rows)
    heads = cupy.nonzero(new)[0]
    ends = cupy.append(heads[1:], len(order)) if heads.size else heads
    inverse = cupy.empty(len(order), np.int64)
    inverse[order] = cupy.cumsum(new) - 1
    return cupy.concatenate([order[heads], ends - heads, inverse])


def _sorted_runs(table: Array, equal_nan: bool) -> tuple[Array, Array]:
    """A stable order of the rows of a table, column by column, and which differ from the last."""
    cupy = import_cupy()
    wide = table.astype(np.float32) if is_bfloat16(table.dtype) else table
    order = cupy.arange(len(wide))
    for column in reversed(range(wide.shape[1])):
        order = order[order_of_rows(wide[order, column][None])[0]]
    ordered = wide[order]
    differs = ordered[1:] != ordered[:-1]
    if equal_nan and is_float(wide.dtype):
        differs &= ~((ordered[1:] != ordered[1:]) & (ordered[:-1] != ordered[:-1]))
    new = cupy.ones(len(wide), bool)
    new[1:] = differs.any(axis=1)
    return order, new


@kernel(cpu=_values_cpu, cuda=_values_cuda)
def values(x: Array, equal_nan: bool) -> Array:
    """The distinct elements of x in ascending order; NaN is one of them only if ``equal_nan``."""


@kernel(cpu=_parts_cpu, cuda=_parts_cuda)
def parts(x: Array, equal_nan: bool, rows: bool) -> Array:
    """Of the k distinct elements (or rows) in order, three int64 arrays joined.

    Where each stands first (k), how often it comes (k), and which each of x is (n).
    """
