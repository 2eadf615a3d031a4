"""Attention on a GPU."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int64s, null, strides_of
from ...backend.gpu import properties_of
from ..common.headers import BITS, TENSOR_CORES
from . import reference, wgmma, wgmma_plan
from .operands import empty_as, numbers_of, rows_of
from .plan import (
    ATTENTION,
    KINDS,
    MOST,
    Head,
    Rule,
    Tiles,
    forward_plan,
    keys_plan,
    padded,
    queries_plan,
    suits,
)

_defines = (f"ATTENTION_BYTES={ATTENTION.itemsize}",)
_files = (BITS, TENSOR_CORES, "attention.cuh", "mma.cuh")
_forward = CudaSource(__file__, *_files, "forward.cu", defines=_defines)
_backward = CudaSource(__file__, *_files, "backward.cu", defines=_defines)


def forward(
    q: Array, k: Array, v: Array, mask: Array | None, rule: Rule, recording: bool
) -> tuple[Array, Array]:
    """`attention.forward` in one launch, where the kernels suit."""
    if not _suits(q, k, v):
        return reference.forward(q, k, v, mask, rule, recording)
    if _by_wgmma(q, k, mask):
        return wgmma.forward(q, k, v, rule, recording)
    mask = _as_numbers(mask)
    head, macros = _head(q, mask, rule)
    if recording:
        for plan in (queries_plan(head, q.shape[2]), keys_plan(head, k.shape[2])):
            _backward.prepare((*plan.tiles.defines, *macros))
    q, k, v = (rows_of(x) for x in (q, k, v))
    y, logs = empty_as(q), import_cupy().empty(q.shape[:3], np.float32)
    numbers = numbers_of(q, k, (q, k, v, y), mask, rule)
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
    if _by_wgmma(q, k, mask):
        return wgmma.backward(g, q, k, v, y, logs, rule, needs)
    mask = _as_numbers(mask)
    head, macros = _head(q, mask, rule)
    g, q, k, v = (rows_of(x) for x in (g, q, k, v))
    dq, dk, dv = (empty_as(x) for x in (q, k, v))
    dots = import_cupy().empty(logs.shape, np.float32)
    numbers = numbers_of(q, k, (q, k, v, y, g, dq, dk, dv), mask, rule)
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


def _by_wgmma(q: Array, k: Array, mask: Array | None) -> bool:
    sizes = (q.shape[2], k.shape[2])
    return wgmma_plan.suits(q.dtype.name, *sizes, mask is not None, properties_of(q))


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
