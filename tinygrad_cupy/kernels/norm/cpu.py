"""Batch norm on NumPy arrays, with ReLU and a 2 × 2 max-pool behind it where asked for.

float32 goes through `native`, where the machine has a C compiler. Through NumPy it is done a
few images at a time, twice over the batch each way: for its statistics, and with them. What the
forward stats of the batch goes to the backward as an array (4, C): mean, biased variance,
1 / √(variance + eps), and what the mean lost when it was rounded to x's dtype. The last is made up
for wherever the mean is used, in what is added to a channel as a whole: where the mean is large
beside the deviation, its rounding is not small beside that.

Everything is added up in float64. x of 16 bits goes through float32.

Where ranks have a share of the batch each, statistics and sums are those of all of it: what each
has found, and of how many values, is exchanged once each way, in float64. A rank without a sample
says 0 values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend import Array
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import by_parts, workspace
from ...backend.dtypes import is_narrow
from ...backend.ranks import Share, ranks
from ..common.cache_blocks import (
    at,
    chunks,
    column_sums,
    images_at_once,
    open_chunk,
    pool_chunk,
    relu_chunk,
)
from ..common.layout import scratch_last
from ..common.pool2x2 import POOL
from ..common.select import keep_where
from . import native

STATISTICS = "statistics of a batch norm"  # what ranks that wait for each other are said to do
GRADIENT_SUMS = "sums of a batch norm's gradient"


class Running(NamedTuple):
    """What moves with every batch, in place: mean and variance (C,), and a count of batches ().

    Without a momentum, mean and variance are the means over all batches.
    """

    mean: Array
    var: Array
    batches: Array | None
    momentum: float | None


def values_of_channel(x: Array, share: Share | None = None) -> int:
    """How many values a channel of x (N, C, …) has; 0 where x is no part of the batch."""
    return x.size // max(x.shape[1], 1) if share is None or share.present else 0


class Result(NamedTuple):
    """y, what the backward reads of it (y itself with ReLU alone), the pool's argmax, the batch."""

    y: Array
    relu_y: Array | None
    argmax: Array | None
    stats: Array


def forward(
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    running: Running,
    relu: bool,
    pool: bool,
    share: Share | None = None,
    cap: float | None = None,
) -> Result:
    """(x - mean) / √(var + eps) · weight + bias, then ReLU, then the pool; moves ``running``."""
    if is_narrow(x.dtype):
        how = (eps, running, relu, pool, share, cap)
        found = forward(x.astype(np.float32), weight, bias, *how)
        rounded = found.y.astype(x.dtype)
        return found._replace(y=rounded, relu_y=None if found.relu_y is None else rounded)
    in_c = native.suits(x)
    mean, var = native.moments(x) if in_c else _moments(x)
    rows: float = values_of_channel(x, share)
    if share is not None:
        mean, var, rows = _moments_of_all(mean, var, rows)
    stats = aligned_empty((4, x.shape[1]), x.dtype)
    stats[:3] = mean, var, 1 / np.sqrt(var + eps)
    stats[3] = mean - stats[0]
    gain = stats[2] * weight
    apply = native.apply if in_c else _apply
    y, argmax = apply(x, stats[0], gain, bias - stats[3] * gain, relu, pool, cap)
    move(running, stats, rows)
    result = np.moveaxis(y, -1, 1)
    codes = None if argmax is None else np.moveaxis(argmax, -1, 1)
    return Result(result, result if relu and not pool else None, codes, stats)


def _moments(x: Array) -> tuple[Array, Array]:
    """As `native.moments`, through NumPy.

    Those of each chunk come from the chunk in the cache and are then put together (Chan et al.
    1979), so that x is read once and nothing large is subtracted from something large.
    """

    def task(part: slice) -> list[tuple[int, Array, Array]]:
        moments = []
        for chunk in chunks(part, images_at_once(x)):
            lines = _lines(scratch_last(x[chunk], "input"), width)
            count = lines.size // channels
            about = (_sums(lines, channels) / count).astype(x.dtype)
            centred = workspace("norm", lines.shape, x.dtype)
            np.subtract(lines, _along(about, width), out=centred)
            rest = _sums(centred, channels) / count  # what the mean lost when it was rounded
            np.multiply(centred, centred, out=centred)
            squares = _sums(centred, channels) - count * rest**2
            moments.append((count, about + rest, squares))
        return moments

    channels, width = x.shape[1], _width(x)
    parts = [chunk for part in by_parts(np, task, len(x)) for chunk in part]
    counts = np.array([count for count, _, _ in parts], np.float64)
    means, squares = (np.stack([part[i] for part in parts]) for i in (1, 2))
    return _together(counts, means, squares)


def _moments_of_all(mean: Array, var: Array, rows: float) -> tuple[Array, Array, float]:
    """Those of the whole batch, of what each rank has found in its rows, and all their number."""
    mine = _message(mean, var, rows)
    found = ranks.world.begin_collective(STATISTICS, mine).all_gather(mine)
    counts, means, variances = found[:, -1, 0], found[:, :-1, 0], found[:, :-1, 1]
    return *_together(counts, means, counts[:, None] * variances), float(counts.sum())


def _message(one: Array, other: Array, rows: float) -> Array:
    """What a rank tells, (C + 1, 2): two numbers of each channel, and of how many rows."""
    return np.append(np.stack([one, other], axis=1), [[rows, 0]], axis=0)


def _together(counts: Array, means: Array, squares: Array) -> tuple[Array, Array]:
    """Mean and biased variance (C,) of parts: their sizes (P,), means, and squares about these."""
    weights, total = counts[:, None], counts.sum()
    mean = means[0] + (weights * (means - means[0])).sum(axis=0) / total
    return mean, (squares + weights * (means - mean) ** 2).sum(axis=0) / total


def _apply(
    x: Array, mean: Array, scale: Array, shift: Array, relu: bool, pool: bool, cap: float | None
) -> tuple[Array, Array | None]:
    """As `native.apply`, through NumPy."""
    mean, scale, shift = (_along(v, _width(x)) for v in (mean, scale, shift))
    n, channels, *size = x.shape
    out = POOL.output_size("max_pool2d", tuple(size)) if pool else size
    y = aligned_empty((n, *out, channels), x.dtype)
    argmax = aligned_empty(y.shape, np.uint8) if pool else None

    def task(part: slice) -> None:
        for chunk in chunks(part, images_at_once(x)):
            given = scratch_last(x[chunk], "input")
            place = y[chunk] if argmax is None else workspace("norm", given.shape, x.dtype)
            lines = place.reshape(-1, len(mean))
            np.subtract(given.reshape(lines.shape), mean, out=lines)
            lines *= scale
            lines += shift
            if argmax is not None:
                pool_chunk(place, y[chunk], argmax[chunk])
            if relu:
                relu_chunk(y[chunk], at(argmax, chunk))
            if cap is not None:
                np.minimum(y[chunk], y.dtype.type(cap), out=y[chunk])

    by_parts(np, task, n)
    return y, argmax


def move(running: Running, stats: Array, rows: Any) -> None:
    """running += momentum · (batch - running), in place; the batch's variance unbiased.

    rows: how many values a channel has, a number or an array () beside the statistics
    """
    if running.batches is not None:
        running.batches[...] += running.batches.dtype.type(1)
    unbiased = (stats[1] * (rows / (rows - 1))).astype(stats.dtype, copy=False)
    for kept, batch in ((running.mean, stats[0]), (running.var, unbiased)):
        apart = batch - kept
        if running.momentum is None:
            step = apart / running.batches
        else:
            step = apart * kept.dtype.type(running.momentum)
        kept += step.astype(kept.dtype, copy=False)


def backward(
    grad: Array,
    x: Array,
    weight: Array,
    bias: Array,
    stats: Array,
    relu_y: Array | None,
    argmax: Array | None,
    relu: bool,
    needs_x: bool,
    mask_input: bool = False,
    share: Share | None = None,
    cap: float | None = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients by x (None where not needed), weight and bias. With x̂ the normalized input:

    dx = weight / √(var + eps) · (g - mean(g) - x̂ · mean(g · x̂)), zero with ``mask_input`` where x
    is not positive.
    """
    if is_narrow(x.dtype):
        wide = [None if a is None else a.astype(np.float32) for a in (grad, x, relu_y)]
        how = (argmax, relu, needs_x, mask_input, share, cap)
        dx, *by = backward(wide[0], wide[1], weight, bias, stats, wide[2], *how)
        return None if dx is None else dx.astype(x.dtype), *by
    kind = native.Gradient if native.suits(x) else _Gradient
    gradient = kind(grad, x, stats[0], relu_y, argmax, cap)
    by_bias, by_scale = gradient.sums()
    _, _, scale, rest = stats.astype(np.float64)
    by_weight = (by_scale - rest * by_bias) * scale
    gradients = by_weight.astype(x.dtype), by_bias.astype(x.dtype)
    if not needs_x:
        return None, *gradients
    count: float = values_of_channel(x, share)
    if share is not None:
        by_weight, by_bias, count = _sums_of_all(by_weight, by_bias, count)
    slope = -scale * by_weight / count
    factors = (scale * weight, slope, by_bias / count + slope * rest)
    dx = np.moveaxis(gradient.applied(*[v.astype(x.dtype) for v in factors]), -1, 1)
    return keep_where(dx, ~(x <= 0)) if mask_input else dx, *gradients


def _sums_of_all(by_weight: Array, by_bias: Array, rows: float) -> tuple[Array, Array, float]:
    """Those over all ranks, and all their rows; 0 on one without, whose x the statistics lack."""
    mine = _message(by_weight, by_bias, rows)
    found = ranks.world.begin_collective(GRADIENT_SUMS, mine).all_reduce(mine, "sum")
    sums = found[:-1] if rows else np.zeros_like(found[:-1])
    return sums[:, 0], sums[:, 1], float(found[-1, 0])


class _Gradient:
    """As `native.Gradient`, through NumPy."""

    def __init__(
        self,
        grad: Array,
        x: Array,
        mean: Array,
        relu_y: Array | None,
        argmax: Array | None,
        cap: float | None,
    ) -> None:
        n, channels, *size = x.shape
        self.grad, self.x, self.relu_y, self.argmax, self.cap = grad, x, relu_y, argmax, cap
        self.width = _width(x)
        self.mean = _along(mean, self.width)
        self.dx = aligned_empty((n, *size, channels), x.dtype)  # at first: the gradient opened
        self.opened = relu_y is not None or argmax is not None

    def sums(self) -> tuple[Array, Array]:
        """Of the gradient g and of g · (x - mean), for each channel, float64."""
        x, channels = self.x, self.x.shape[1]

        def sums(part: slice) -> tuple[Array, Array]:
            by_bias, by_scale = np.zeros((2, channels))
            for chunk in chunks(part, images_at_once(x)):
                if self.opened:
                    relu_y, argmax = at(self.relu_y, chunk), at(self.argmax, chunk)
                    open_chunk(self.grad[chunk], relu_y, argmax, self.dx[chunk], self.cap)
                g = self._gradient(chunk)
                product = self._centred(chunk)
                product *= g
                by_bias += _sums(g, channels)
                by_scale += _sums(product, channels)
            return by_bias, by_scale

        parts = by_parts(np, sums, len(x))
        by_bias, by_scale = (sum((part[i] for part in parts[1:]), parts[0][i]) for i in (0, 1))
        return by_bias, by_scale

    def applied(self, scale: Array, slope: Array, mean_g: Array) -> Array:
        """dx (N, …, C) = scale · (g + slope · (x - mean) - mean_g)."""
        scale, slope, mean_g = (_along(v, self.width) for v in (scale, slope, mean_g))

        def apply(part: slice) -> None:
            for chunk in chunks(part, images_at_once(self.x)):
                centred = self._centred(chunk)
                centred *= slope
                centred += self._gradient(chunk)
                centred -= mean_g
                np.multiply(centred, scale, out=_lines(self.dx[chunk], self.width))

        by_parts(np, apply, len(self.x))
        return self.dx

    def _gradient(self, chunk: slice) -> Array:
        rows = self.dx[chunk] if self.opened else scratch_last(self.grad[chunk], "grad")
        return _lines(rows, self.width)

    def _centred(self, chunk: slice) -> Array:
        rows = _lines(scratch_last(self.x[chunk], "input"), self.width)
        out = workspace("norm", rows.shape, rows.dtype)
        return np.subtract(rows, self.mean, out=out)


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
    """Sums of lines (P, W · C) for each channel, (C,) in float64."""
    return column_sums(lines).reshape(-1, channels).sum(axis=0)
