"""Attention on a GPU."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int64s, null, strides_of
from ...backend.gpu import properties_of
from ..common.headers import BITS, TENSOR_CORES
from . import reference
from .plan import (
    ATTENTION,
    KINDS,
    MOST,
    Head,
    Rule,
    Tiles,
    forward_plan,
    keys_plan,
    packed,
    padded,
    queries_plan,
    suits,
)

PIECE = 16  # bytes, of which rows are copied

_defines = (f"ATTENTION_BYTES={ATTENTION.itemsize}",)
_files = (BITS, TENSOR_CORES, "attention.cuh")
_forward = CudaSource(__file__, *_files, "forward.cu", defines=_defines)
_backward = CudaSource(__file__, *_files, "backward.cu", defines=_defines)


def forward(
    q: Array, k: Array, v: Array, mask: Array | None, rule: Rule, recording: bool
) -> tuple[Array, Array]:
    """`attention.forward` in one launch, where the kernels suit."""
    if not _suits(q, k, v):
        return reference.forward(q, k, v, mask, rule, recording)
    mask = _as_numbers(mask)
    head, macros = _head(q, mask, rule)
    if recording:
        for plan in (queries_plan(head, q.shape[2]), keys_plan(head, k.shape[2])):
            _backward.prepare((*plan.tiles.defines, *macros))
    q, k, v = (_rows(x) for x in (q, k, v))
    y, logs = _empty_as(q), import_cupy().empty(q.shape[:3], np.float32)
    numbers = _numbers(q, k, (q, k, v, y), mask, rule)
    tiles, shared = forward_plan(head, q.shape[2])
    arguments = (q, k, v, null() if mask is None else mask, y, logs, numbers)
    grid, defines = _grid(q.shape, tiles), (*tiles.defines, *macros)
    _forward.launch("attention_forward", grid, arguments, tiles.threads, shared, defines)
    return y, logs


def backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    y: Array,
    logs: Array,
    rule: Rule,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """`attention.backward`: rowsum(g · y), then a launch for dq, and one for dk and dv."""
    if not _suits(q, k, v):
        return reference.backward(g, q, k, v, mask, y, logs, rule, needs)
    mask = _as_numbers(mask)
    head, macros = _head(q, mask, rule)
    g, q, k, v = (_rows(x) for x in (g, q, k, v))
    dq, dk, dv = (_empty_as(x) for x in (q, k, v))
    dots = import_cupy().empty(logs.shape, np.float32)
    numbers = _numbers(q, k, (q, k, v, y, g, dq, dk, dv), mask, rule)
    tiles, shared = queries_plan(head, q.shape[2])
    defines = (*tiles.defines, *macros)
    given: tuple[Any, ...] = (g, y, dots, numbers, *int64s(logs.size))
    blocks = -(-logs.size // tiles.warps)
    _backward.launch("attention_backward_dots", blocks, given, tiles.threads, defines=defines)
    given = (q, k, v, null() if mask is None else mask, g, logs, dots)
    arguments: tuple[Any, ...]
    if needs[0]:
        grid, arguments = _grid(q.shape, tiles), (*given, dq, numbers)
        name = "attention_backward_queries"
        _backward.launch(name, grid, arguments, tiles.threads, shared, defines)
    if needs[1] or needs[2]:
        tiles, shared = keys_plan(head, k.shape[2])
        grid, defines = _grid(k.shape, tiles), (*tiles.defines, *macros)
        arguments = (*given, dk, dv, numbers)
        name = "attention_backward_keys"
        _backward.launch(name, grid, arguments, tiles.threads, shared, defines)
    found = (dq, dk, dv)
    return tuple(x if need else None for x, need in zip(found, needs, strict=True))


def _suits(q: Array, k: Array, v: Array) -> bool:
    return suits(q.dtype, q.shape, k.shape, v.shape) and properties_of(q).tensor_cores


def _head(q: Array, mask: Array | None, rule: Rule) -> tuple[Head, tuple[str, ...]]:
    """What plans are made by, and the macros of all kernels."""
    way = 0 if mask is None else 1 if mask.dtype == np.bool_ else 2
    head = Head(KINDS[q.dtype.name], q.shape[3], way, properties_of(q).shared)
    return head, _macros(head, rule.causal)


@functools.cache
def _macros(head: Head, causal: bool) -> tuple[str, ...]:
    sizes = (f"KIND={head.kind}", f"WIDTH={padded(head.width)}")
    return (*sizes, f"CAUSAL={causal:d}", f"MASK={head.mask}")


def _as_numbers(mask: Array | None) -> Array | None:
    """A mask of booleans, or of float32, whose last axes have steps that kernels can count."""
    if mask is None:
        return None
    if mask.dtype != np.bool_:
        mask = mask.astype(np.float32, copy=False)
    far = any(abs(step) > MOST * mask.itemsize for step in strides_of(mask)[-2:])
    return mask.copy(order="C") if far else mask


def _grid(shape: tuple[int, ...], tiles: Tiles) -> int:
    """Blocks for the rows of (B, H, rows, E)."""
    batches, heads, rows, _ = shape
    return batches * heads * -(-rows // tiles.rows)


def _rows(x: Array) -> Array:
    """x (B, H, rows, E) for kernels that copy 16 bytes of a row: itself, or a copy."""
    *steps, step = strides_of(x)
    if step == x.itemsize and x.data.ptr % PIECE == 0 and not any(s % PIECE for s in steps):
        return x
    cupy, width = import_cupy(), x.shape[-1]
    wide = -(-width * x.itemsize // PIECE) * PIECE // x.itemsize
    copy = cupy.empty((*x.shape[:-1], wide), x.dtype)[..., :width]
    copy[...] = x
    return copy


def _empty_as(x: Array) -> Array:
    """A new array with the heads inside of the rows where those of x (B, H, rows, E) are.

    So the heads of a layer, an array (B, rows, H · E), lie side by side again.
    """
    cupy, (batches, heads, rows, width) = import_cupy(), x.shape
    _, by_head, by_row, _ = strides_of(x)
    if 0 < by_head < by_row:
        return cupy.empty((batches, rows, heads, width), x.dtype).transpose(0, 2, 1, 3)
    return cupy.empty(x.shape, x.dtype)


def _numbers(q: Array, k: Array, arrays: Sequence[Array], mask: Array | None, rule: Rule) -> Any:
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
