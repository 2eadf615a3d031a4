"""batch_norm with ReLU and max-pool behind it is the three operations one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, gradcheck, nn

FLAGS = [(True, False), (False, True), (True, True)]
SHAPES = [(2, 1, 2, 2), (7, 3, 5, 8), (3, 17, 6, 3), (9, 64, 7, 7)]


def inputs(
    shape: tuple[int, ...], device: str, dtype: str = "float64", channels_last: bool = False
) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """x, weight and bias, and running statistics; the same at every call."""
    rng = np.random.default_rng(0)
    channels = shape[1]
    x = Tensor(rng.standard_normal(shape), dtype=dtype, device=device)
    if channels_last:
        last = Tensor(x.numpy().transpose(0, 2, 3, 1).copy(), device=device).data
        x = Tensor(last.transpose(0, 3, 1, 2))
    vectors = [
        Tensor(rng.uniform(low, 2, channels), dtype=dtype, device=device)
        for low in (-2, -1, -1, 0.5)
    ]
    weight, bias, mean, var = vectors
    return [t.requires_grad_() for t in (x, weight, bias)], (mean, var)


def chain(x: Any, weight: Tensor, bias: Tensor, *rest: Any, relu: bool, pool: bool) -> Any:
    y = x.batch_norm(weight, bias, *rest)
    y = y.relu() if relu else y
    return y.max_pool2d(2) if pool else y


@pytest.mark.one_in(5)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("relu", "pool"), FLAGS)
def test_values_and_gradients_are_those_of_the_chain(
    relu: bool, pool: bool, shape: tuple[int, ...], channels_last: bool, training: bool, device: str
) -> None:
    given, running = inputs(shape, device, channels_last=channels_last)
    others, others_running = inputs(shape, device)
    x, weight, bias = given
    y = x.batch_norm(weight, bias, *running, training=training, relu=relu, pool=pool)
    expected = chain(*others, *others_running, training, relu=relu, pool=pool)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-12, atol=1e-12)
    grad = Tensor(np.random.default_rng(1).standard_normal(y.shape), device=device)
    for ours, theirs in zip(tg.grad(y, given, grad), tg.grad(expected, others, grad), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-11)
    for ours, theirs in zip(running, others_running, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("relu", "pool"), FLAGS)
def test_second_derivatives(relu: bool, pool: bool, device: str) -> None:
    given, running = inputs((3, 2, 5, 4), device)

    def fused(x: Any, weight: Tensor, bias: Tensor) -> Any:
        mean, var = (t.clone() for t in running)
        return x.batch_norm(weight, bias, mean, var, eps=0.1, relu=relu, pool=pool)

    assert gradcheck(fused, given, order=2)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_activations_have_the_bits_of_operations_of_their_own(
    name: str, shape: tuple[int, ...], dtype: str, device: str
) -> None:
    found = []
    for fused in (True, False):
        (x, weight, bias), running = inputs(shape, device, "float32")
        x = (x * 4).astype(dtype).detach().requires_grad_()  # some beyond 6
        if dtype == "float64":
            weight, bias = (t.astype(dtype).detach().requires_grad_() for t in (weight, bias))
        with tg.autocast("bf16", enabled=dtype == "bfloat16"):
            behind: Any = {name: True} if fused else {}
            y: Any = x.batch_norm(weight * 5, bias * 2, *running, **behind)
            y = y if fused else getattr(y, name)()
        assert y.dtype == x.dtype
        limits = [0.0, 6.0] if name == "relu6" else [0.0]
        assert all((y.numpy() == limit).any() for limit in limits) or x.size < 100
        grad = Tensor(np.random.default_rng(1).standard_normal(shape), dtype=dtype, device=device)
        found.append([y, *tg.grad(y, (x, weight, bias), grad)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pool", [True, False])
def test_relu6_is_the_chain(pool: bool, training: bool, device: str) -> None:
    results = []
    for fused in (True, False):
        (x, weight, bias), running = inputs((7, 3, 5, 8), device)
        scaled = weight * 6
        if fused:
            how: Any = {"training": training, "pool": pool, "relu6": True}
            y = x.batch_norm(scaled, bias, *running, **how)
        else:
            y = x.batch_norm(scaled, bias, *running, training=training).relu6()
            y = y.max_pool2d(2) if pool else y
        grad = Tensor(np.random.default_rng(1).standard_normal(y.shape), device=device)
        results.append([y, *tg.grad(y, (x, weight, bias), grad), *running])
    assert (results[0][0].numpy() == 6).any()
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-11)


def test_relu6_lets_nan_pass_and_stops_an_infinite_gradient(device: str) -> None:
    values = np.array([[-1.0], [0.0], [1.0], [np.nan]], np.float32)
    for place in (slice(3), slice(4)):
        x = Tensor(values[place], device=device, requires_grad=True)
        one = Tensor([1.0], device=device)
        y = x.batch_norm(one * 20, one * 0, relu6=True)
        if place.stop == 4:
            assert np.isnan(y.numpy()).all()
        else:
            np.testing.assert_array_equal(y.numpy()[:, 0], [0, 0, 6])
            seed = Tensor([[np.inf], [np.inf], [np.inf]], device=device)
            np.testing.assert_array_equal(tg.grad(y, x, seed).numpy(), np.zeros((3, 1)))


def test_second_derivatives_of_relu6(device: str) -> None:
    given, running = inputs((3, 2, 5, 4), device)

    def fused(x: Any, weight: Tensor, bias: Tensor) -> Any:
        mean, var = (t.clone() for t in running)
        return x.batch_norm(weight * 4, bias, mean, var, eps=0.1, relu6=True)

    assert gradcheck(fused, given, order=2)


@pytest.mark.gpu
def test_half_precision_comes_back() -> None:
    given, running = inputs((4, 8, 6, 6), "cuda:0", "float16")
    x, weight, bias = given
    y = x.batch_norm(weight, bias, *running, relu=True, pool=True)
    assert y.dtype == np.float16
    assert all(g.dtype == np.float16 for g in tg.grad(y.sum(), given))


def test_writing_an_output_that_the_backward_reads_is_noticed(device: str) -> None:
    given, running = inputs((3, 2, 4, 4), device)
    x, weight, bias = given
    y = x.batch_norm(weight, bias, *running, relu=True)
    total = y.sum()
    y.data[...] = 1
    y.bump_version()
    with pytest.raises(RuntimeError, match="in place"):
        total.backward()


def test_a_pool_needs_images_of_two_by_two(device: str) -> None:
    for shape in ((4, 3), (4, 3, 1, 5)):
        given, running = inputs(shape, device)
        x, weight, bias = given
        with pytest.raises(ValueError, match=r"\[(batch_norm|max_pool2d)\]"):
            x.batch_norm(weight, bias, *running, pool=True)


def test_batches_are_counted_in_place(device: str) -> None:
    layer = nn.BatchNorm2d(3).to(device)
    array = layer.num_batches_tracked.data
    x = inputs((4, 3, 5, 5), device, "float32")[0][0]
    for _ in range(3):
        layer(x)
    layer.eval()
    layer(x)
    assert layer.num_batches_tracked.data is array
    assert layer.num_batches_tracked.item() == 3
