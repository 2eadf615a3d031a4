"""Arrays as attention's kernels on a GPU take them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ...backend import Array, import_cupy, strides_of
from .plan import Rule, packed

PIECE = 16  # bytes, of which rows are copied


def rows_of(x: Array) -> Array:
    """x (B, H, rows, E) for kernels that copy 16 bytes of a row: itself, or a copy."""
    *steps, step = strides_of(x)
    if step == x.itemsize and x.data.ptr % PIECE == 0 and not any(s % PIECE for s in steps):
        return x
    cupy, width = import_cupy(), x.shape[-1]
    wide = -(-width * x.itemsize // PIECE) * PIECE // x.itemsize
    copy = cupy.empty((*x.shape[:-1], wide), x.dtype)[..., :width]
    copy[...] = x
    return copy


def empty_as(x: Array) -> Array:
    """A new array with the heads inside of the rows where those of x (B, H, rows, E) are.

    So the heads of a layer, an array (B, rows, H · E), lie side by side again.
    """
    cupy, (batches, heads, rows, width) = import_cupy(), x.shape
    _, by_head, by_row, _ = strides_of(x)
    if 0 < by_head < by_row:
        return cupy.empty((batches, rows, heads, width), x.dtype).transpose(0, 2, 1, 3)
    return cupy.empty(x.shape, x.dtype)


def numbers_of(q: Array, k: Array, arrays: Sequence[Array], mask: Array | None, rule: Rule) -> Any:
    """`Attention` of attention.cuh. Arrays are q, k, v, y and, backward, g, dq, dk and dv."""
    laid = tuple([_steps(x) for x in arrays])
    shape = (q.shape[1], q.shape[1] // k.shape[1], q.shape[2], k.shape[2], q.shape[3])
    steps = (0, 0, 0, 0) if mask is None else _mask_steps(mask)
    return _packed(laid, steps, shape, rule.scale)


@functools.lru_cache(4096)
def _packed(laid: Any, mask: Any, sizes: Any, scale: float) -> Any:
    missing = ((0, 0, 0),) * (8 - len(laid))
    return packed([*laid, *missing], mask, sizes, scale)


def _steps(x: Array) -> tuple[int, ...]:
    """From batch to batch, head to head and row to row, in elements."""
    return tuple([step // x.itemsize for step in strides_of(x)[:3]])


def _mask_steps(mask: Array) -> tuple[int, ...]:
    """Of a mask that broadcasts to (B, H, L, S), in elements; 0 along what is missing."""
    steps = [step // mask.itemsize for step in strides_of(mask)]
    return (*(0,) * (4 - mask.ndim), *steps)
