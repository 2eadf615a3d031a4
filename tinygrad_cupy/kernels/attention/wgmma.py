"""Attention of 16-bit floats on Hopper, without a mask: the kernels of wgmma."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, import_cupy, int32s, int64s
from ..common.headers import BITS, HOPPER, RING, TENSOR_CORES, TURN
from .operands import empty_as, numbers_of, rows_of
from .plan import ATTENTION, KINDS, Rule
from .wgmma_plan import TOGETHER, Plan, backward_plan, forward_plan

BESIDE = 256  # threads of a block of the small kernels

_defines = (f"ATTENTION_BYTES={ATTENTION.itemsize}", "MASK=0")
_files = (BITS, TENSOR_CORES, HOPPER, "attention.cuh", "wgmma.cuh", TURN, RING)
_forward = CudaSource(__file__, *_files, "wgmma_forward.cu", arch="sm_90a", defines=_defines)
_backward = CudaSource(__file__, *_files, "wgmma_backward.cu", arch="sm_90a", defines=_defines)


def forward(q: Array, k: Array, v: Array, rule: Rule, recording: bool) -> tuple[Array, Array]:
    """`attention.forward` in one launch."""
    batches, heads, queries, width = q.shape
    macros = _macros(q.dtype.name, rule.causal)
    if recording:
        _backward.prepare((*backward_plan(width).tiles.defines, *macros))
    plan = forward_plan(width, queries)
    q, k, v = (rows_of(x) for x in (q, k, v))
    y, logs = empty_as(q), import_cupy().empty(q.shape[:3], np.float32)
    arguments = (q, k, v, y, logs, numbers_of(q, k, (q, k, v, y), None, rule))
    grid, defines = batches * heads * -(-queries // plan.tiles.own), (*plan.tiles.defines, *macros)
    threads = plan.tiles.threads
    _forward.launch("attention_wgmma_forward", grid, arguments, threads, plan.shared, defines)
    return y, logs


def backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    y: Array,
    logs: Array,
    rule: Rule,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """`attention.backward`: rowsum(g · y), a launch for all sums, and one that rounds those of dq.

    The sums of dq, float32 in tiles, take as much memory again as q does in float32.
    """
    plan = backward_plan(q.shape[3])
    defines = (*plan.tiles.defines, *_macros(q.dtype.name, rule.causal))
    g, q, k, v, y = (rows_of(x) for x in (g, q, k, v, y))
    dq, dk, dv = (empty_as(x) for x in (q, k, v))
    numbers = numbers_of(q, k, (q, k, v, y, g, dq, dk, dv), None, rule)
    padded, sums, turns, rows = _scratch(q, plan)
    pieces = plan.tiles.width // 8
    threads = plan.tiles.threads

    given: tuple[Any, ...] = (g, y, logs, rows, turns, numbers, *int64s(padded))
    blocks = -(-padded * pieces // BESIDE)
    name = "attention_wgmma_backward_rows"
    _backward.launch(name, blocks, given, BESIDE, defines=defines)

    given = (q, k, v, g, rows, sums, turns, dk, dv, numbers, *int32s(TOGETHER))
    blocks = k.shape[0] * k.shape[1] * -(-k.shape[2] // plan.tiles.own)
    _backward.launch("attention_wgmma_backward", blocks, given, threads, plan.shared, defines)

    if needs[0]:
        given = (sums, dq, numbers, *int64s(logs.size))
        blocks = -(-logs.size * pieces // BESIDE)
        name = "attention_wgmma_backward_queries"
        _backward.launch(name, blocks, given, BESIDE, defines=defines)
    pairs = zip((dq, dk, dv), needs, strict=True)
    return tuple(x if need else None for x, need in pairs)


def _scratch(q: Array, plan: Plan) -> tuple[int, Array, Array, Array]:
    """Rows in whole tiles of queries; sums of dq, turns of tiles, and numbers of rows."""
    cupy, (batches, heads, queries, _) = import_cupy(), q.shape
    tiles = batches * heads * -(-queries // plan.tiles.across)
    padded = tiles * plan.tiles.across
    sums = cupy.empty((padded, plan.tiles.width), np.float32)
    return padded, sums, cupy.empty((1 + tiles,), np.uint32), cupy.empty((padded, 2), np.float32)


@functools.cache
def _macros(dtype: str, causal: bool) -> tuple[str, ...]:
    return (f"KIND={KINDS[dtype]}", f"CAUSAL={causal:d}")
