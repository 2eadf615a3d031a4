"""Recurrent layers on a GPU: a step is one product and one launch of a kernel in recurrent.cu.

`reference` says what is computed. A product is written where the kernel replaces it by what the
backward reads: so the gates are kept, as large as those that are given, and the backward need
neither multiply by the weight again nor wait for a pass over all steps. Nothing is copied, and no
memory is asked for, from step to step. Where `fused` suits, the kernel makes the product as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, blas, import_cupy, int32s, null
from ...backend.cuda_source import dtype_macros
from ..common import sums
from ..common.headers import VECTOR
from ..common.layout import contiguous
from . import fused, reference
from .reference import Found, Saved, by_weight

WIDEST = 16  # bytes that a thread reads at once
FULL = 1 << 16  # threads that keep a GPU busy: with fewer, each takes less
MOST = 1 << 31  # elements of a step's gates, which the kernels count in int

_kernels = CudaSource(__file__, VECTOR, "steps.cuh", "recurrent.cu")


def _suits(gates: Array, *others: Array) -> bool:
    """Whether the gates (T, N, G) and what they are computed with are for this."""
    dtype = gates.dtype
    alike = dtype in (np.float32, np.float64) and all(x.dtype == dtype for x in others)
    return bool(alike and gates.size and 4 * others[0].size < MOST)


def rnn(
    gates: Array, h: Array, weight: Array, seen: Array | None, relu: bool, reverse: bool
) -> Array:
    """As `kernels.recurrent.rnn`."""
    if not _suits(gates, h, weight):
        return reference.rnn(gates, h, weight, seen, relu, reverse)
    y = import_cupy().empty(gates.shape, gates.dtype)
    given = contiguous(gates), contiguous(h), _bytes(seen), y, *int32s(relu)
    _run("rnn", given, h, weight, y, y, reverse)
    return y


def rnn_backward(grad: Array, saved: Saved, relu: bool, reverse: bool, needs_weight: bool) -> Found:
    """As `kernels.recurrent.rnn_backward`."""
    gates, h, weight, seen, y = saved
    if not _suits(gates, h, weight, grad):
        return reference.rnn_backward(grad, saved, relu, reverse, needs_weight)
    cupy = import_cupy()
    dz, found = cupy.empty(y.shape, y.dtype), cupy.zeros((2, *h.shape), y.dtype)
    past = None if seen is None else found[1]
    given = contiguous(grad), _bytes(seen), contiguous(y), _or_null(past), dz, *int32s(relu)
    dh = _run_back("rnn", given, dz, weight, found, past, reverse)
    return dz, dh, by_weight(dz, y, h, reverse) if needs_weight else None


def lstm(
    gates: Array, h: Array, c: Array, weight: Array, seen: Array | None, reverse: bool
) -> tuple[Array, Array | None]:
    """As `kernels.recurrent.lstm`."""
    if not _suits(gates, h, c, weight):
        return reference.lstm(gates, h, c, weight, seen, reverse)
    cupy, steps = import_cupy(), len(gates)
    y = cupy.empty((2, steps, *h.shape), gates.dtype)
    kept = cupy.empty(gates.shape, gates.dtype)
    given = *map(contiguous, (gates, h, c)), _bytes(seen), y, kept, *int32s(steps)
    _run("lstm", given, h, weight, y[0], kept, reverse)
    return y, kept


def lstm_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.lstm_backward`."""
    if kept is None or grad.dtype != kept.dtype:
        return reference.lstm_backward(grad, saved, None, reverse, needs_weight)
    _, h, c, weight, seen, y = saved
    cupy, steps = import_cupy(), len(kept)
    dz, found = cupy.empty(kept.shape, kept.dtype), cupy.zeros((3, *h.shape), kept.dtype)
    dc, past = found[1], None if seen is None else found[2]
    given = contiguous(grad), _bytes(seen), contiguous(y), kept, contiguous(c)
    made = _or_null(past), dc, dz, *int32s(steps)
    dh = _run_back("lstm", (*given, *made), dz, weight, found, past, reverse)
    return dz, dh, dc, by_weight(dz, y[0], h, reverse) if needs_weight else None


def gru(
    gates: Array,
    h: Array,
    weight: Array,
    bias: Array | None,
    seen: Array | None,
    reverse: bool,
) -> tuple[Array, Array | None]:
    """As `kernels.recurrent.gru`."""
    if not _suits(gates, h, weight, *(() if bias is None else (bias,))):
        return reference.gru(gates, h, weight, bias, seen, reverse)
    cupy, size = import_cupy(), h.shape[1]
    y = cupy.empty((len(gates), *h.shape), gates.dtype)
    kept = cupy.empty((*y.shape[:2], 4 * size), gates.dtype)
    own = null() if bias is None else contiguous(bias)
    given = contiguous(gates), contiguous(h), own, _bytes(seen), y, kept
    _run("gru", given, h, weight, y, kept[..., : 3 * size], reverse)
    return y, kept


def gru_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.gru_backward`."""
    if kept is None or grad.dtype != kept.dtype:
        return reference.gru_backward(grad, saved, None, reverse, needs_weight)
    gates, h, weight, bias, seen, y = saved
    cupy = import_cupy()
    dz, d_own = (cupy.empty(gates.shape, gates.dtype) for _ in range(2))
    found = cupy.zeros((2, *h.shape), gates.dtype)
    given = contiguous(grad), _bytes(seen), contiguous(y), kept, contiguous(h)
    dh = _run_back("gru", (*given, found[1], dz, d_own), d_own, weight, found, found[1], reverse)
    of_weight = by_weight(d_own, y, h, reverse) if needs_weight else None
    return dz, dh, of_weight, None if bias is None else sums.total(d_own, (0, 1))


def _run(
    name: str,
    given: Sequence[Any],
    h: Array,
    weight: Array,
    states: Array,
    products: Array,
    reverse: bool,
) -> None:
    """All steps forward: each makes its states of ``products``, which are written before."""
    weight, size = contiguous(weight), h.shape[1]
    if fused.suits(h, size, len(weight) // size):
        launch = fused.step(f"{name}_step", (*given, weight), h, size, len(weight) // size)
        for t, before in _times(len(states), reverse):
            launch(t, before)
        return
    turned = weight.T
    product = blas.each(states, turned, products)
    step = _step(f"{name}_forward", given, h)
    for t, before in _times(len(states), reverse):
        if before < 0:
            blas.matmul(h, turned, products[t])
        else:
            product(before, t)
        step(t, before)


def _run_back(
    name: str,
    given: Sequence[Any],
    dz: Array,
    weight: Array,
    found: Array,
    past: Array | None,
    reverse: bool,
) -> Array:
    """All steps back, and what they leave as the gradient by the first state."""
    dh, after = found[0], -1
    order = _times(len(dz), reverse)[::-1]
    if fused.suits(dh, dz.shape[2], 1):
        turned = import_cupy().ascontiguousarray(weight.T)
        launch = fused.step(f"{name}_step_back", (*given, turned), dh, dz.shape[2], 1)
        for t, before in order:
            launch(t, before, after)
            after = t
        blas.matmul(dz[after], weight, dh)
    else:
        product = blas.each(dz, contiguous(weight), found[:1])
        step = _step(f"{name}_backward", (*given, dh), dh)
        for t, before in order:
            step(t, before)
            product(t, 0)
    if past is not None:
        dh += past
    return dh


def _step(name: str, given: Sequence[Any], like: Array) -> Callable[[int, int], None]:
    """What launches a kernel for step t, told the one before; ``like`` is a state (N, H)."""
    rows, size = like.shape
    width = _width(rows, size, like.dtype.itemsize)
    defines = (*dtype_macros(like.dtype), f"WIDTH={width}")
    blocks = _kernels.blocks(rows * size // width)
    arguments = *given, *int32s(rows, size)

    def step(t: int, before: int) -> None:
        _kernels.launch(name, blocks, (*arguments, *int32s(t, before)), defines=defines)

    return step


@functools.lru_cache(1024)
def _width(rows: int, size: int, itemsize: int) -> int:
    """How many features a thread takes: as many as it can read at once, of a state that is large.

    A step of a small one is bound by latency: more threads with less to do are done sooner.
    """
    width = WIDEST // itemsize
    while width > 1 and (size % width or rows * size < width * FULL):
        width //= 2
    return width


@functools.lru_cache(1024)
def _times(steps: int, reverse: bool) -> list[tuple[int, int]]:
    """Each step, and the one before it, in their order; -1 before the first."""
    times = list(range(steps))[:: -1 if reverse else 1]
    return list(zip(times, [-1, *times[:-1]], strict=True))


def _bytes(seen: Array | None) -> Array:
    return null() if seen is None else contiguous(seen.astype(np.bool_, copy=False), 1)


def _or_null(x: Array | None) -> Array:
    return null() if x is None else x
