"""What kernels of batch norm give: of a whole batch, and by ranks that have a share each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.thread_ranks import as_ranks
from tinygrad_cupy.backend import to_numpy
from tinygrad_cupy.backend.ranks import Share
from tinygrad_cupy.kernels.norm.cpu import Running


def of_whole(
    kernels: Any,
    place: Any,
    shape: tuple[int, ...],
    dtype: Any,
    relu: bool,
    pool: bool,
    cap: float | None,
) -> tuple[tuple[Any, ...], Any, Any]:
    """Everything that a forward and a backward give and move, with fixed random inputs.

    y, statistics, running ones, gradients, and the gradient by y as ReLU and pool let it through;
    argmax; batches that were counted, from 41 on.
    """
    rng = np.random.default_rng(0)
    x = place((rng.standard_normal(shape) * 2 + 3).astype(dtype))
    weight, bias, mean, var = map(place, _vectors(rng, shape[1], dtype))
    running = Running(mean, var, place(np.array(41)), 0.3)
    y, gate, code, stats = kernels.forward(x, weight, bias, 1e-3, running, relu, pool, cap=cap)
    grad = place(rng.standard_normal(y.shape).astype(dtype))
    how = (weight, bias, stats, gate, code, relu, True)
    by = kernels.backward(grad, x, *how, cap=cap)
    gated, *_ = kernels.backward(grad, x, *how, True, cap=cap)
    return (y, stats, mean, var, *by, gated), code, running.batches


def of_parts(
    monkeypatch: pytest.MonkeyPatch,
    kernels: Any,
    place: Any,
    shape: tuple[int, ...],
    dtype: Any,
    relu: bool,
    pool: bool,
    cap: float | None,
    counts: tuple[int, ...],
    tall: bool = False,
    momentum: float | None = 0.3,
) -> tuple[list[np.ndarray], int]:
    """Of the batch: y, dx, argmax, statistics, running ones, gradients; and exchanges of a rank.

    One count is a process by itself. The gradients by weight and bias are summed over ranks.
    ``tall``: the samples of a rank are joined to one, with all their rows, so that those of the
    ranks are of different sizes.
    """
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 2 + 100).astype(dtype)
    vectors = _vectors(rng, shape[1], dtype)
    size = [side // 2 for side in shape[2:]] if pool else shape[2:]
    grad = rng.standard_normal((shape[0], shape[1], *size)).astype(dtype)

    def joined(part: np.ndarray) -> np.ndarray:
        """(N, C, H, W) as (1, C, N * H, W) where asked for."""
        return np.concatenate(list(part), 1)[None] if tall else part

    def part(share: Share) -> list[Any]:
        weight, bias, mean, var = map(place, vectors)
        running = Running(mean, var, place(np.array([41])), momentum)
        mine = place(joined(x[share.rows]))
        given = None if len(counts) == 1 else _as_said(share, tall)
        y, gate, code, stats = kernels.forward(
            mine, weight, bias, 1e-3, running, relu, pool, given, cap
        )
        g = place(joined(grad[share.rows] * np.asarray(share.present, dtype)))
        how = (weight, bias, stats, gate, code, relu, True, False, given, cap)
        dx, *by = kernels.backward(g, mine, *how)
        rowwise = [to_numpy(one) for one in ([y, dx] if code is None else [y, dx, code])]
        if tall:
            rowwise = [np.stack(np.split(one[0], share.samples, 1)) for one in rowwise]
        values = [stats, mean, var, running.batches, *by]
        return [rowwise, [to_numpy(one) for one in values]]

    found, exchanges = as_ranks(monkeypatch, part, counts)
    for rank, (rowwise, values) in enumerate(found):
        if not counts[rank]:
            assert not rowwise[1].any()  # dx: the statistics do not depend on its samples
        for one, first in zip(values[:-2], found[0][1], strict=False):
            np.testing.assert_array_equal(one, first)  # all ranks have the same bits
    present = [rowwise for (rowwise, _), n in zip(found, counts, strict=True) if n]
    whole = [np.concatenate(parts) for parts in zip(*present, strict=True)]
    sums = [sum(values[i] for _, values in found) for i in (-2, -1)]
    return [*whole, *found[0][1][:-2], *sums], exchanges


def _vectors(rng: np.random.Generator, channels: int, dtype: Any) -> list[np.ndarray]:
    """Weight, bias, running mean and variance (C,)."""
    beside = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    return [rng.uniform(low, 2, channels).astype(beside) for low in (-2, -2, -1, 0.5)]


def _as_said(share: Share, tall: bool) -> Share:
    """The share in samples as the kernels see them."""
    return Share(tuple(min(n, 1) for n in share.counts), share.rank) if tall else share
