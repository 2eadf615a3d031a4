"""Batch norm on NumPy arrays, with ReLU and a 2 × 2 max-pool behind it where asked for.

It works on rows (P, C): every position of every image is one row, the channel is the column. P is
N · H · W. What the forward found of the batch goes to the backward as an array (3, C): mean, biased
variance and 1 / √(variance + eps).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import blas
from ..backend import Array
from ..parallel import by_parts
from .block_kernels import SHUT, max_pool, spread
from .masking import keep_where


class Running(NamedTuple):
    """What moves with every batch, in place: mean and variance (C,), and a count of batches ()."""

    mean: Array
    var: Array
    batches: Array | None
    momentum: float


class Result(NamedTuple):
    """y, what the backward reads of it (y itself with ReLU alone), the pool's code, the batch."""

    y: Array
    gate: Array | None
    code: Array | None
    found: Array


def rows_of(x: Array) -> Array:
    """x (N, C, …) as (P, C): a view where the channels are last in memory, else a copy."""
    return x.transpose(0, *range(2, x.ndim), 1).reshape(-1, x.shape[1])


def shaped(rows: Array, shape: tuple[int, ...]) -> Array:
    """(P, C) back to (N, C, …)."""
    n, c, *rest = shape
    last = len(shape) - 1
    return rows.reshape(n, *rest, c).transpose(0, last, *range(1, last))


def _column_means(rows: Array, term: Callable[[slice], Array]) -> Array:
    """Means of the columns of ``term``, made part by part of (P, C) and gone again.

    Added up by a product: BLAS adds in blocks, so less is rounded off than in one running sum.
    """

    def part_sum(part: slice) -> Array:
        values = term(part)
        return blas.matmul(np.ones((1, len(values)), rows.dtype), values)[0]

    parts = by_parts(np, part_sum, len(rows))
    return sum(parts[1:], parts[0]) / rows.dtype.type(max(len(rows), 1))


def forward(
    x: Array, weight: Array, bias: Array, eps: float, running: Running, relu: bool, pool: bool
) -> Result:
    """(x - mean) / √(var + eps) · weight + bias, then ReLU, then the pool; moves ``running``."""
    rows = rows_of(x)
    found = np.empty((3, rows.shape[1]), rows.dtype)
    mean, var, scale = found
    mean[...] = _column_means(rows, lambda part: rows[part])
    var[...] = _column_means(rows, lambda part: (rows[part] - mean) ** 2)
    scale[...] = 1 / np.sqrt(var + var.dtype.type(eps))
    y = np.empty_like(rows)

    def task(part: slice) -> None:
        np.subtract(rows[part], mean, out=y[part])
        y[part] *= scale * weight
        y[part] += bias

    by_parts(np, task, len(rows))
    move(running, found, len(rows))
    return _decided(shaped(y, x.shape), found, relu, pool)


def _decided(y: Array, found: Array, relu: bool, pool: bool) -> Result:
    code = None
    if pool:
        y, code = max_pool(y)
    if relu:
        np.maximum(y, y.dtype.type(0), out=y)
    if relu and code is not None:
        code[~(y > 0)] = SHUT
    return Result(y, y if relu and not pool else None, code, found)


def move(running: Running, found: Array, rows: int) -> None:
    """running += momentum · (batch - running), in place; the batch's variance unbiased."""
    unbiased = found[1] * found.dtype.type(rows / (rows - 1))
    for kept, batch in ((running.mean, found[0]), (running.var, unbiased)):
        kept += ((batch - kept) * kept.dtype.type(running.momentum)).astype(kept.dtype, copy=False)
    if running.batches is not None:
        running.batches[...] += running.batches.dtype.type(1)


def backward(
    grad: Array,
    x: Array,
    weight: Array,
    found: Array,
    gate: Array | None,
    code: Array | None,
    relu: bool,
    needs_x: bool,
) -> tuple[Array | None, Array, Array]:
    """Gradients by x (None where not needed), weight and bias. With x̂ the normalized input:

    dx = weight / √(var + eps) · (g - mean(g) - x̂ · mean(g · x̂)).
    """
    if code is not None:
        grad = spread(grad, code, x.shape[2:])
    elif gate is not None:
        grad = keep_where(grad, gate > 0)
    g, rows = rows_of(grad), rows_of(x)
    mean, _, scale = found
    mean_g = _column_means(g, lambda part: g[part])
    mean_gx = scale * _column_means(g, lambda part: g[part] * (rows[part] - mean))
    dx = np.empty_like(g)

    def task(part: slice) -> None:
        np.subtract(rows[part], mean, out=dx[part])
        dx[part] *= -scale * mean_gx
        dx[part] += g[part]
        dx[part] -= mean_g
        dx[part] *= scale * weight

    if needs_x:
        by_parts(np, task, len(g))
    count: Any = g.dtype.type(len(g))
    return shaped(dx, x.shape) if needs_x else None, mean_gx * count, mean_g * count
