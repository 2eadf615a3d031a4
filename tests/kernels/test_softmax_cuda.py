"""The CUDA kernels of softmax and its logarithm against the reference in float64, at odd sizes.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import on_gpu, poison
from tinygrad_cupy import Tensor
from tinygrad_cupy.kernels import softmax

pytestmark = pytest.mark.gpu

# Shapes, axes of a softmax and dtypes.
CASES: list[tuple[tuple[int, ...], tuple[int, ...], str]] = [
    ((1, 1), (1,), "float32"),
    ((1000, 3), (1,), "float32"),
    ((3, 5, 7, 197), (3,), "float32"),
    ((5000, 64), (1,), "float32"),
    ((33, 1000), (1,), "float64"),
    ((7, 4100), (1,), "float32"),
    ((3, 40_003), (1,), "float32"),
    ((20, 3, 4, 5), (2, 3), "float64"),
    ((4, 21, 30, 31), (1,), "float32"),
    ((2, 5, 6, 7), (0, 1), "float32"),
]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("shape", "axes", "dtype"), CASES)
def test_both_passes(
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    channels_last: bool,
    log: bool,
    dtype: Any,
    rng: np.random.Generator,
) -> None:
    bound = 1e-6 if dtype == "float32" else 1e-13
    values = (rng.standard_normal((2, *shape)) * 3).astype(dtype)
    x, grad = (on_gpu(each, channels_last) for each in values)
    if axes == (1,) and (channels_last or len(shape) == 2):
        assert softmax.has_kernel(x, axes)
    y = softmax.forward(x, axes, log)
    exact = softmax.reference.forward(values[0].astype(np.float64), axes, log)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert np.abs(y.get() - exact).max() <= bound * max(np.abs(exact).max(), 1)
    dx = softmax.backward(grad, y, axes, log)
    wide = values[1].astype(np.float64)
    expected = softmax.reference.backward(wide, exact, axes, log)
    scale = max(np.abs(expected).max(), np.abs(wide).max())
    assert np.abs(dx.get() - expected).max() <= 10 * bound * scale
    assert softmax.forward(x, axes, log).tobytes() == y.tobytes()
    assert softmax.backward(grad, y, axes, log).tobytes() == dx.tobytes()


def test_not_finite_and_large(rng: np.random.Generator) -> None:
    values = rng.standard_normal((6, 50)).astype(np.float32)
    values[0] += 1e4
    values[1, 0], values[2, 9] = np.nan, np.nan
    values[3, :] = -np.inf
    values[4, 5] = np.inf
    values[5, 10:] = -np.inf
    with np.errstate(invalid="ignore"):
        for log in (False, True):
            y = softmax.forward(on_gpu(values), (1,), log).get()
            exact = softmax.reference.forward(values.astype(np.float64), (1,), log)
            np.testing.assert_allclose(y, exact, rtol=2e-6, atol=2e-6)


def test_of_tensors(rng: np.random.Generator) -> None:
    values, seed = rng.standard_normal((2, 4, 6, 5)).astype(np.float32)
    for axis in (-1, 1, 0):
        found = []
        for device in ("cpu", "cuda:0"):
            x = Tensor(values, device=device, requires_grad=True)
            y = x.softmax(axis) + (x.T * 1).log_softmax(axis).T
            y.backward(Tensor(seed, device=device))
            assert x.grad is not None
            found.append((y.numpy(), x.grad.numpy()))
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
