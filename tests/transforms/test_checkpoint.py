"""A checkpointed function: the same gradients, masks and statistics, and less memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn


def net() -> nn.Sequential:
    tg.manual_seed(1)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 3)
    )


def trained(through: Any, device: str) -> list[np.ndarray]:
    """What a step leaves: the input's gradient, the weights', all buffers."""
    model = net()
    model.to(device)
    values = np.random.default_rng(0).standard_normal((7, 6))
    x = Tensor(values, "float32", device, requires_grad=True)
    tg.manual_seed(5)
    loss = (through(model, x) * 2).sum() + Tensor.rand(1, device=device).sum()
    loss.backward()
    assert x.grad is not None
    grads = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    return [loss.numpy(), x.grad.numpy(), *grads, *[b.numpy() for b in model.buffers()]]


def test_the_same_bits_as_without(device: str) -> None:
    plain = trained(lambda model, x: model(x), device)
    again = trained(lambda model, x: tg.checkpoint(model, x), device)
    decorated = trained(lambda model, x: tg.checkpoint(model)(x), device)
    for found in (again, decorated):
        assert len(found) == len(plain)
        for a, b in zip(found, plain, strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_results_and_what_is_used_from_outside(device: str) -> None:
    w = Tensor(np.array([1.0, 2.0]), device=device, requires_grad=True)
    inner = w * w  # used from outside, and computed itself

    def fn(x: Tensor, both: dict[str, Tensor]) -> Any:
        return {"a": x * inner, "b": [both["y"].sin(), both["y"].argmax()]}

    def step(through: Any) -> list[Any]:
        x = Tensor(np.array([3.0, 4.0]), device=device, requires_grad=True)
        y = Tensor(np.array([0.5, 0.25]), device=device, requires_grad=True)
        found = through(x, {"y": y})
        loss = (found["a"] * found["b"][0]).sum()
        return [g.numpy() for g in tg.grad(loss, [x, y, w], retain_graph=True)]

    again = step(lambda *args: tg.checkpoint(fn, *args))
    for one, other in zip(again, step(fn), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_of_higher_order(device: str) -> None:
    w = Tensor(np.array([1.0, 2.0]), device=device, requires_grad=True)
    x = Tensor(np.array([0.5, -1.0]), device=device, requires_grad=True)
    assert tg.gradcheck(lambda x, w: tg.checkpoint(lambda x: (x * w).sin() * x, x), [x, w])


def test_inside_of_transforms_it_is_the_function_itself() -> None:
    x = Tensor(np.array([0.5, -1.0]))
    _, tangent = tg.jvp(lambda x: tg.checkpoint(lambda x: x.exp(), x), (x,), (x,))
    np.testing.assert_allclose(tangent.numpy(), np.exp(x.numpy()) * x.numpy())
    each = tg.vmap(tg.grad(lambda x: tg.checkpoint(lambda x: x.sin(), x)))(x)
    np.testing.assert_allclose(each.numpy(), np.cos(x.numpy()))


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    x = Tensor(np.array([0.5]))
    assert not tg.checkpoint(lambda x: x.exp(), x).requires_grad
    with tg.no_grad():
        y = tg.checkpoint(lambda x: x.exp(), Tensor(np.array([0.5]), requires_grad=True))
    assert not y.requires_grad
    with pytest.raises(TypeError, match=r"^\[checkpoint\] expected a function, got int"):
        tg.checkpoint(3)  # type: ignore[arg-type]


def test_an_argument_that_was_written_is_noticed() -> None:
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    inner = x * 1
    y = tg.checkpoint(lambda x: x * x, inner)
    with tg.no_grad():
        inner += 1
    with pytest.raises(RuntimeError, match=r"^\[Joint\] .* was written in place"):
        y.sum().backward()


def test_less_memory() -> None:
    layers = [nn.Linear(64, 64) for _ in range(16)]

    def some(layers: list[Any], x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x).tanh().sigmoid()
        return x

    def peak(through: Any) -> int:
        x = Tensor(np.random.default_rng(0).standard_normal((2000, 64)), "float32")
        tracemalloc.start()
        for start in range(0, 16, 4):
            x = through(layers[start : start + 4], x)
        x.sum().backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    some(layers, Tensor.ones(2, 64)).sum().backward()
    plain = peak(some)
    saved = peak(lambda part, x: tg.checkpoint(lambda x: some(part, x), x))
    assert saved < 0.45 * plain
