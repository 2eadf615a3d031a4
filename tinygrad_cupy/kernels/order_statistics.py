"""Which elements have which ranks."""

from __future__ import annotations

import numpy as np

from ..backend import Array, array_module, kernel


def _positions_cpu(x: Array, ranks: Array, among: tuple[int, ...] | None) -> Array:
    x = x.astype(np.float32) if x.dtype.kind == "V" else x  # bfloat16, in the same order
    order = np.argsort(x, -1) if among is None else np.argpartition(x, among, -1)
    return _taken(order, ranks)


def _positions_cuda(x: Array, ranks: Array, among: tuple[int, ...] | None) -> Array:
    x = x.astype(np.float32) if x.dtype.kind == "V" else x
    return _taken(array_module(x).argsort(x, -1), ranks)


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
