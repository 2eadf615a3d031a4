"""Pooling's CUDA kernels against the NumPy ones: any geometry, both layouts, every dtype.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import error, on_gpu, poison
from tinygrad_cupy.kernels.common.windows import Windows
from tinygrad_cupy.kernels.pool import cuda, reference

pytestmark = pytest.mark.gpu

# N, C, H, W; kernel, stride, padding, dilation
CASES = [
    ((7, 1, 28, 28), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((129, 64, 7, 9), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((7, 17, 13, 8), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 3, 11, 12), (3, 2), (1, 3), (1, 0), (2, 1)),
    ((2, 8, 10, 9), (2, 3), (3, 1), (1, 1), (1, 3)),
    ((3, 4, 40, 41), (17, 16), (5, 7), (8, 8), (1, 1)),
    ((1, 12, 5, 5), (5, 5), (1, 1), (2, 2), (1, 1)),
    ((0, 4, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1)),
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation"), CASES)
def test_every_kernel(
    shape: tuple[int, ...],
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    channels_last: bool,
    dtype: Any,
) -> None:
    windows = Windows(kernel, stride, padding, dilation)
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 4, shape).astype(dtype)  # ties, and sums that half precision holds
    size = (shape[2], shape[3])
    there = on_gpu(x, channels_last)
    y, winner = reference.max_pool(x, windows)
    found, found_winner = cuda.max_pool(there, windows)
    np.testing.assert_array_equal(found.get(), y)
    np.testing.assert_array_equal(found_winner.get(), winner)
    grad = rng.integers(-4, 4, y.shape).astype(dtype)
    for mixed in (channels_last, not channels_last):  # the gradient may come in the other layout
        g = on_gpu(grad, mixed)
        pairs = [
            (
                cuda.max_scatter(g, found_winner, windows, size),
                reference.max_scatter(grad, winner, windows, size),
            ),
            (
                cuda.max_gather(on_gpu(x, mixed), found_winner, windows),
                reference.max_gather(x, winner, windows),
            ),
            (cuda.sum_pool(there, windows), reference.sum_pool(x, windows)),
            (cuda.spread(g, windows, size), reference.spread(grad, windows, size)),
        ]
        for ours, theirs in pairs:
            assert error(ours, theirs) < 1e-6


def test_nan_and_minus_infinity() -> None:
    x = np.full((2, 4, 6, 6), -np.inf, np.float32)
    x[0, :, 1, 1] = np.nan
    x[0, :, 4, 4] = -1e30
    windows = Windows((3, 3), (2, 2), (1, 1), (1, 1))
    y, winner = reference.max_pool(x, windows)
    found, found_winner = cuda.max_pool(on_gpu(x, True), windows)
    np.testing.assert_array_equal(found.get(), y)
    np.testing.assert_array_equal(found_winner.get(), winner)


def test_addresses_that_four_at_once_must_not_be_read_from() -> None:
    memory = np.random.default_rng(0).standard_normal(2 * 6 * 6 * 4 + 1).astype(np.float32)
    windows = Windows((2, 2), (2, 2), (0, 0), (1, 1))
    there = on_gpu(memory)[1:].reshape(2, 6, 6, 4).transpose(0, 3, 1, 2)
    x = memory[1:].reshape(2, 6, 6, 4).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(
        cuda.max_pool(there, windows)[0].get(), reference.max_pool(x, windows)[0]
    )
