"""Batch norm's running statistics and its two modes; hard inputs of both norms."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend

pytestmark = pytest.mark.usefixtures("device")


def vector(*values: float, dtype: str = "float64") -> Tensor:
    return Tensor(list(values), dtype=dtype)


def image(shape: tuple[int, ...], dtype: str = "float64") -> Tensor:
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    return Tensor(backend.to_device(values, tg.default_device()), requires_grad=True)


def test_training_normalizes_by_the_batch() -> None:
    x = image((5, 3, 4, 2))
    y = x.batch_norm(vector(1, 1, 1), vector(0, 0, 0), vector(9, 9, 9), vector(9, 9, 9), eps=0.0)
    np.testing.assert_allclose(y.numpy().mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.numpy().var(axis=(0, 2, 3)), 1)


@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0])
def test_running_statistics_move_by_the_momentum(momentum: float) -> None:
    x = image((5, 2, 3))
    mean, var = vector(1.0, 2.0), vector(3.0, 4.0)
    arrays = mean.data, var.data
    x.batch_norm(vector(1, 1), vector(0, 0), mean, var, momentum=momentum)
    values = x.numpy()
    wanted = (1 - momentum) * np.array([1, 2]) + momentum * values.mean(axis=(0, 2))
    np.testing.assert_allclose(mean.numpy(), wanted)
    wanted = (1 - momentum) * np.array([3, 4]) + momentum * values.var(axis=(0, 2), ddof=1)
    np.testing.assert_allclose(var.numpy(), wanted)
    assert mean.data is arrays[0]
    assert var.data is arrays[1]  # in place: a captured program finds them there


def test_evaluation_uses_running_statistics_and_leaves_them() -> None:
    x = image((2, 2, 3))
    mean, var = vector(1.0, 2.0), vector(4.0, 9.0)
    y = x.batch_norm(vector(1, 2), vector(0, 3), mean, var, training=False, eps=0.0)
    values = x.numpy()
    np.testing.assert_allclose(y.numpy()[:, 0], (values[:, 0] - 1) / 2)
    np.testing.assert_allclose(y.numpy()[:, 1], (values[:, 1] - 2) / 3 * 2 + 3)
    assert (mean.tolist(), var.tolist()) == ([1.0, 2.0], [4.0, 9.0])


def test_evaluation_takes_a_single_value_per_channel() -> None:
    x = image((1, 2))
    y = x.batch_norm(vector(1, 1), vector(0, 0), vector(0, 0), vector(1, 1), training=False)
    assert y.shape == (1, 2)


def test_a_channel_that_is_constant_stays_finite() -> None:
    x = Tensor(np.full((4, 1, 2), 3.0), device=tg.default_device(), requires_grad=True)
    y = x.batch_norm(vector(1), vector(0.5), vector(0), vector(1))
    np.testing.assert_allclose(y.numpy(), 0.5)
    assert np.isfinite(tg.grad((y * y).sum(), x).numpy()).all()


def test_float32_far_from_zero() -> None:
    values = (np.random.default_rng(0).standard_normal((64, 2, 8, 8)) + 1000).astype(np.float32)
    x = Tensor(backend.to_device(values, tg.default_device()))
    one, zero = (vector(v, v, dtype="float32") for v in (1.0, 0.0))
    y = x.batch_norm(one, zero, zero.clone(), one.clone()).numpy()
    exact = values.astype(np.float64)
    exact -= exact.mean(axis=(0, 2, 3), keepdims=True)
    exact /= np.sqrt(exact.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, exact, atol=2e-3)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (1, 0, 2, 3)])
def test_large_batches_in_every_layout(order: tuple[int, ...]) -> None:
    """Larger than what one thread takes, in pieces, with the gradient of each input."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((64, 6, 20, 20))
    weights = rng.standard_normal(values.shape)
    inverse = tuple(int(i) for i in np.argsort(order))
    device = tg.default_device()
    memory = backend.to_device(np.ascontiguousarray(values.transpose(order)), device)
    x = Tensor(memory.transpose(inverse), requires_grad=True)
    weight = Tensor(np.linspace(1, 2, 6), device=device, requires_grad=True)
    bias = Tensor(np.linspace(-1, 1, 6), device=device, requires_grad=True)
    rest = [Tensor(np.ones(6), device=device) for _ in range(2)]
    y = x.batch_norm(weight, bias, rest[0], rest[1])
    found = tg.grad(y, [x, weight, bias], Tensor(weights, device=device))

    axes, column = (0, 2, 3), (1, 6, 1, 1)
    centred = values - values.mean(axis=axes, keepdims=True)
    scale = 1 / np.sqrt(centred.var(axis=axes, keepdims=True) + 1e-5)
    normal = centred * scale
    gain = np.linspace(1, 2, 6).reshape(column)
    np.testing.assert_allclose(
        y.numpy(), normal * gain + np.linspace(-1, 1, 6).reshape(column), atol=1e-10
    )
    by_normal = weights * gain
    by_x = by_normal - by_normal.mean(axis=axes, keepdims=True)
    by_x -= normal * (by_normal * normal).mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(found[0].numpy(), by_x * scale, atol=1e-10)
    np.testing.assert_allclose(found[1].numpy(), (weights * normal).sum(axis=axes), atol=1e-8)
    np.testing.assert_allclose(found[2].numpy(), weights.sum(axis=axes), atol=1e-8)


def test_layer_norm_over_several_axes() -> None:
    x = image((2, 3, 4))
    y = x.layer_norm((3, 4), eps=0.0).numpy()
    np.testing.assert_allclose(y.mean(axis=(1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(1, 2)), 1)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_instance_norm_moves_running_statistics(momentum: float) -> None:
    x = image((4, 2, 3, 5))
    mean, var = vector(1.0, 2.0), vector(3.0, 4.0)
    x.instance_norm(mean, var, momentum=momentum).sum().backward()
    values = x.numpy()
    wanted = (1 - momentum) * np.array([1, 2]) + momentum * values.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(mean.numpy(), wanted)
    unbiased = values.var(axis=(2, 3), ddof=1).mean(axis=0)
    np.testing.assert_allclose(var.numpy(), (1 - momentum) * np.array([3, 4]) + momentum * unbiased)
