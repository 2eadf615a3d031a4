"""Statistics of batch norm, layer norm and `var` where they are hard to take, and their gradients.

The bound: as good as two passes in float64 over the same float32 values, whatever the mean and
wherever an outlier stands. The mean is off by 1e-6 of the mean |x|, the variance by 1e-6 of itself,
what is normalized by 2e-6 of its largest and the gradient by 1e-5 of its.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device, to_numpy
from tinygrad_cupy.kernels.norm import native

EPS = 1e-5
SHAPE = (40, 4, 30, 20)


def _first(x: np.ndarray, value: float) -> np.ndarray:
    """The first pixel of the first image is another."""
    x.reshape(*x.shape[:2], -1)[0, :, 0] = value
    return x


HARD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "mean 1e4": lambda x: x + 1e4,
    "mean 1e6": lambda x: x + 1e6,
    "mean 1e4, spread 1e-2": lambda x: x * 0.01 + 1e4,
    "a black corner": lambda x: _first(x + 100, 0.0),
    "an outlier": lambda x: _first(x, 1e6),
    "an outlier far off": lambda x: _first(x + 1e4, -1e7),
    "a black image": lambda x: np.concatenate([np.zeros_like(x[:1]), x[1:] + 1000]),
    "signs in turn": lambda x: x + 1e4 * (-1.0) ** np.arange(x.shape[-1]),
    "tiny": lambda x: x * 1e-15,
    "large": lambda x: x * 1e15,
}


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def _compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(native, "suits", lambda x: False)


def on(values: np.ndarray, device: str) -> Tensor:
    return Tensor(to_device(values.astype(np.float32), device))


def close(found: Tensor, expected: np.ndarray, bound: float = 2e-6) -> None:
    """Up to ``bound`` of the largest of each channel."""
    axes = tuple(i for i in range(expected.ndim) if i != 1) if expected.ndim > 1 else ()
    scale = np.maximum(np.abs(expected).max(axis=axes, keepdims=True), 1e-30)
    error = np.abs(to_numpy(found.data).astype(np.float64) - expected) / scale
    assert error.max() < bound


@pytest.mark.one_in(5)
@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("kind", HARD)
def test_batch_norm(kind: str, last: bool, device: str) -> None:
    rng = np.random.default_rng(0)
    values = HARD[kind](rng.standard_normal(SHAPE)).astype(np.float32)
    if last:
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    x = on(values, device).requires_grad_()
    weight, bias = on(np.array([1, 2, -1, 0.5]), device), on(np.zeros(4), device)
    mean, var = on(np.zeros(4), device), on(np.zeros(4), device)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    y = x.batch_norm(weight, bias, mean, var, momentum=1.0, eps=EPS)

    axes, column = (0, 2, 3), (1, 4, 1, 1)
    exact = values.astype(np.float64)
    centred = exact - exact.mean(axis=axes, keepdims=True)
    spread = (centred**2).mean(axis=axes, keepdims=True)
    scale = 1 / np.sqrt(spread + EPS)
    count = exact.size // 4
    limit = 1e-6 * np.abs(exact).mean(axis=axes)
    assert (np.abs(to_numpy(mean.data) - exact.mean(axis=axes)) < limit).all()
    np.testing.assert_allclose(to_numpy(var.data), spread.ravel() * count / (count - 1), rtol=1e-6)
    gain = to_numpy(weight.data).astype(np.float64).reshape(column)
    normal = centred * scale
    close(y, normal * gain)

    seed = rng.standard_normal(SHAPE).astype(np.float32)
    by_x, by_weight, by_bias = tg.grad(y, [x, *parameters], on(seed, device))
    g = seed.astype(np.float64)
    along = (g * normal).mean(axis=axes, keepdims=True)
    close(by_x, gain * scale * (g - g.mean(axis=axes, keepdims=True) - normal * along), 1e-5)
    limit = 1e-6 * np.abs(g * normal).sum(axis=axes)
    assert (np.abs(to_numpy(by_weight.data) - (g * normal).sum(axis=axes)) < limit).all()
    limit = 1e-6 * np.abs(g).sum(axis=axes)
    assert (np.abs(to_numpy(by_bias.data) - g.sum(axis=axes)) < limit).all()


@pytest.mark.parametrize("kind", HARD)
def test_layer_norm_and_variance(kind: str, device: str) -> None:
    rng = np.random.default_rng(0)
    values = HARD[kind](rng.standard_normal((6, 5000))).astype(np.float32)
    exact = values.astype(np.float64)
    centred = exact - exact.mean(axis=1, keepdims=True)
    spread = (centred**2).mean(axis=1, keepdims=True)
    x = on(values, device)
    np.testing.assert_allclose(to_numpy(x.var(axis=1).data), spread.ravel(), rtol=1e-6)
    np.testing.assert_allclose(to_numpy(x.T.var(axis=0).data), spread.ravel(), rtol=1e-6)
    np.testing.assert_allclose(to_numpy(x.std(axis=1).data), np.sqrt(spread.ravel()), rtol=1e-6)
    close(x.layer_norm(5000, eps=EPS), centred / np.sqrt(spread + EPS))


@pytest.mark.usefixtures("_compiled")
def test_many_pixels(device: str) -> None:
    """More than a float32 adds up one by one without losing digits; a black corner first."""
    rng = np.random.default_rng(0)
    values = (100 + rng.standard_normal((1, 1, 700, 700))).astype(np.float32)
    values[0, 0, 0, 0] = 0
    mean, var = on(np.zeros(1), device), on(np.ones(1), device)
    on(values, device).batch_norm(
        on(np.ones(1), device), on(np.zeros(1), device), mean, var, True, 1.0
    )
    assert mean.item() == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)
    assert var.item() == pytest.approx(values.var(dtype=np.float64, ddof=1), rel=1e-6)


@pytest.mark.usefixtures("_compiled")
def test_a_channel_that_is_not_finite_stays_by_itself(device: str) -> None:
    values = np.random.default_rng(0).standard_normal((6, 3, 5, 5)).astype(np.float32)
    values[2, 1, 3, 3] = np.nan
    x = on(values, device).requires_grad_()
    ones, zeros = on(np.ones(3), device), on(np.zeros(3), device)
    mean, var = on(np.zeros(3), device), on(np.ones(3), device)
    y = x.batch_norm(ones, zeros, mean, var)
    by_x = tg.grad(y, x, y.detach() * y.detach())
    for found in (mean, var, y.numpy().transpose(1, 0, 2, 3), by_x.numpy().transpose(1, 0, 2, 3)):
        array = found.numpy() if isinstance(found, Tensor) else found
        finite = np.isfinite(array.reshape(3, -1)).all(axis=1)
        assert finite.tolist() == [True, False, True]


def test_evaluation_far_from_zero(device: str) -> None:
    rng = np.random.default_rng(0)
    values = (1e6 + rng.standard_normal((20, 2, 5))).astype(np.float32)
    mean = on(np.full(2, 1e6), device)
    var, zeros = on(np.full(2, 3.0), device), on(np.zeros(2), device)
    y = on(values, device).batch_norm(var, zeros, mean, var, training=False, eps=0.0)
    close(y, (values.astype(np.float64) - 1e6) * np.sqrt(3))
