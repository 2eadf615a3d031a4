"""Batch norm on NumPy arrays, with ReLU and a 2 × 2 max-pool behind it where asked for.

A few images at a time, twice over the batch each way: for its statistics, and with them. What the
forward found of the batch goes to the backward as an array (3, C): mean, biased variance and
1 / √(variance + eps).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..backend import Array
from ..parallel import by_parts, workspace
from .block_kernels import POOL
from .chunks import (
    at,
    chunks,
    column_sums,
    images_at_once,
    last,
    open_chunk,
    pool_chunk,
    relu_chunk,
)


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


def forward(
    x: Array, weight: Array, bias: Array, eps: float, running: Running, relu: bool, pool: bool
) -> Result:
    """(x - mean) / √(var + eps) · weight + bias, then ReLU, then the pool; moves ``running``."""
    found, width = _moments(x, eps), _width(x)
    mean, scale, shift = (_along(v, width) for v in (found[0], found[2] * weight, bias))
    n, channels, *size = x.shape
    out = POOL.output_size("max_pool2d", tuple(size)) if pool else size
    y = np.empty((n, *out, channels), x.dtype)
    code = np.empty(y.shape, np.uint8) if pool else None

    def task(part: slice) -> None:
        for chunk in chunks(part, images_at_once(x)):
            given = last(x[chunk], "input")
            place = y[chunk] if code is None else workspace("norm", given.shape, x.dtype)
            lines = place.reshape(-1, len(mean))
            np.subtract(given.reshape(lines.shape), mean, out=lines)
            lines *= scale
            lines += shift
            if code is not None:
                pool_chunk(place, y[chunk], code[chunk])
            if relu:
                relu_chunk(y[chunk], at(code, chunk))

    by_parts(np, task, n)
    move(running, found, x.size // channels)
    result = np.moveaxis(y, -1, 1)
    codes = None if code is None else np.moveaxis(code, -1, 1)
    return Result(result, result if relu and not pool else None, codes, found)


def _moments(x: Array, eps: float) -> Array:
    """Mean, biased variance and 1 / √(variance + eps) of each channel of x (N, C, …), (3, C).

    Those of each chunk come from the chunk in the cache and are then put together (Chan et al.
    1979), so that x is read once and nothing large is subtracted from something large.
    """

    def task(part: slice) -> list[tuple[int, Array, Array]]:
        moments = []
        for chunk in chunks(part, images_at_once(x)):
            lines = _lines(last(x[chunk], "input"), width)
            count = lines.size // channels
            mean = _sums(lines, channels) / x.dtype.type(count)
            centred = workspace("norm", lines.shape, x.dtype)
            np.subtract(lines, _along(mean, width), out=centred)
            np.multiply(centred, centred, out=centred)
            moments.append((count, mean, _sums(centred, channels)))
        return moments

    channels, width = x.shape[1], _width(x)
    parts = [chunk for part in by_parts(np, task, len(x)) for chunk in part]
    counts = np.array([count for count, _, _ in parts], x.dtype)[:, None]
    means, squares = (np.stack([part[i] for part in parts]) for i in (1, 2))
    found = np.empty((3, channels), x.dtype)
    mean, var, scale = found
    total = counts.sum()
    mean[...] = (counts * means).sum(axis=0) / total
    var[...] = (squares + counts * (means - mean) ** 2).sum(axis=0) / total
    scale[...] = 1 / np.sqrt(var + var.dtype.type(eps))
    return found


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
    n, channels, *size = x.shape
    width = _width(x)
    mean = _along(found[0], width)
    dx = np.empty((n, *size, channels), x.dtype)  # until the second pass: the gradient opened
    opened = gate is not None or code is not None

    def gradient(chunk: slice) -> Array:
        return dx[chunk] if opened else last(grad[chunk], "grad")

    def sums(part: slice) -> tuple[Array, Array]:
        by_bias, by_scale = np.zeros((2, channels), x.dtype)
        for chunk in chunks(part, images_at_once(x)):
            if opened:
                open_chunk(grad[chunk], at(gate, chunk), at(code, chunk), dx[chunk])
            g = _lines(gradient(chunk), width)
            product = workspace("norm", g.shape, x.dtype)
            np.subtract(_lines(last(x[chunk], "input"), width), mean, out=product)
            product *= g
            by_bias += _sums(g, channels)
            by_scale += _sums(product, channels)
        return by_bias, by_scale

    parts = by_parts(np, sums, n)
    by_bias, by_scale = (sum((part[i] for part in parts[1:]), parts[0][i]) for i in (0, 1))
    by_weight = by_scale * found[2]
    if not needs_x:
        return None, by_weight, by_bias
    count = x.dtype.type(x.size // channels)
    factors = (-found[2] * by_weight / count, by_bias / count, found[2] * weight)
    slope, mean_g, scale = (_along(v, width) for v in factors)

    def apply(part: slice) -> None:
        for chunk in chunks(part, images_at_once(x)):
            g = _lines(gradient(chunk), width)
            centred = workspace("norm", g.shape, x.dtype)
            np.subtract(_lines(last(x[chunk], "input"), width), mean, out=centred)
            centred *= slope
            centred += g
            centred -= mean_g
            np.multiply(centred, scale, out=_lines(dx[chunk], width))

    by_parts(np, apply, n)
    return np.moveaxis(dx, -1, 1), by_weight, by_bias


# Channels side by side make short runs, so a line of an image, (W · C,), is one operand.


def _width(x: Array) -> int:
    """W of x (N, C, H, W), L of (N, C, L), else 1."""
    return int(x.shape[-1]) if x.ndim > 2 else 1


def _lines(images: Array, width: int) -> Array:
    """(n, …, W, C) as (n · …, W · C)."""
    return images.reshape(-1, width * images.shape[-1])


def _along(channel: Array, width: int) -> Array:
    """A value per channel, (C,), repeated for a line: (W · C,)."""
    return np.tile(channel, width)


def _sums(lines: Array, channels: int) -> Array:
    """Sums of lines (P, W · C) for each channel, (C,)."""
    return column_sums(lines).reshape(-1, channels).sum(axis=0)
