"""Which elements have which ranks."""

from __future__ import annotations

import math

import numpy as np

from ..backend import Array, array_module, kernel
from .common.order import order_of_rows


def _positions_cpu(x: Array, ranks: Array, among: tuple[int, ...] | None) -> Array:
    x = x.astype(np.float32) if x.dtype.kind == "V" else x  # bfloat16, in the same order
    order = np.argsort(x, -1) if among is None else np.argpartition(x, among, -1)
    return _taken(order, ranks)


def _positions_cuda(x: Array, ranks: Array, among: tuple[int, ...] | None) -> Array:
    rows = array_module(x).ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return _taken(order_of_rows(rows).reshape(x.shape), ranks)


def _taken(order: Array, ranks: Array) -> Array:
    xp = array_module(order)
    return xp.take_along_axis(
        order, xp.broadcast_to(ranks, (*order.shape[:-1], ranks.shape[-1])), -1
    )


@kernel(cpu=_positions_cpu, cuda=_positions_cuda)
def positions(x: Array, ranks: Array, among: tuple[int, ...] | None) -> Array:
    """Where along the last axis of x (…, n) the elements of ``ranks`` (…, K) are: (…, K).

    The smallest has rank 0, and NaN are behind all others. ``among`` are all ranks that occur,
    where that is known.
    """
