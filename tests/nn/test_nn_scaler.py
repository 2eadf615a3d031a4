"""`GradScaler`: steps that are taken or left out, and a scale that finds itself."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim


def leaf(values: Any, device: str) -> Tensor:
    return Tensor(np.array(values, np.float32), device=device, requires_grad=True)


def run(scaler: tg.GradScaler, optimizer: optim.Optimizer, x: Tensor, factor: float) -> None:
    """A step whose gradient is ``factor`` for each element."""
    optimizer.zero_grad()
    scaler.scale((x * Tensor(np.float32(factor), device=x.device)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


OPTIMIZERS: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
    "SGD": lambda params: optim.SGD(params, lr=0.5),
    "momentum": lambda params: optim.SGD(params, lr=0.5, momentum=0.9, dampening=0.5),
    "Adam": lambda params: optim.Adam(params, lr=0.1),
    "LAMB": lambda params: optim.LAMB(params, lr=0.1),
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.1),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("first", [True, False])
def test_a_step_that_is_left_out_changes_nothing(name: str, first: bool, device: str) -> None:
    x, y = leaf([1.0, 2.0], device), leaf([1.0, 2.0], device)
    one, other = OPTIMIZERS[name]([x]), OPTIMIZERS[name]([y])
    scaler = tg.GradScaler(init_scale=8.0)
    factors = [math.inf, 1.0, math.nan, -2.0] if first else [1.0, math.inf, -2.0, math.nan]
    for factor in factors:
        run(scaler, one, x, factor)
        if math.isfinite(factor):
            run(tg.GradScaler(enabled=False), other, y, factor)
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)
    assert one.steps == other.steps == [2]
    assert scaler.get_scale() == 2.0
    saved, expected = one.state_dict(), other.state_dict()
    for key in expected:
        np.testing.assert_allclose(saved[key], expected[key], rtol=1e-6)


def test_the_scale_grows_and_shrinks(device: str) -> None:
    x = leaf([1.0], device)
    sgd = optim.SGD([x], lr=0.1)
    scaler = tg.GradScaler(4.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=2)
    seen = []
    for factor in (1, 1, 1, math.inf, 1, 1, math.nan):
        run(scaler, sgd, x, factor)
        seen.append(scaler.get_scale())
    assert seen == [4, 12, 12, 3, 3, 9, 2.25]
    np.testing.assert_allclose(x.numpy(), 1 - 0.5, rtol=1e-6)


def test_it_does_not_grow_to_infinity(device: str) -> None:
    x = leaf([1.0], device)
    scaler = tg.GradScaler(2.0**127, growth_interval=1)
    run(scaler, optim.SGD([x], lr=0.1), x, 1e-30)
    assert scaler.get_scale() == 2.0**127


def test_gradients_that_would_vanish(device: str) -> None:
    x = leaf([1.0, 1.0], device)
    half = x.astype(np.float16) * Tensor(np.float16(2**-20), device=device)
    loss = half.astype(np.float32).sum()
    scaler = tg.GradScaler(2.0**14)
    scaler.scale(loss).backward()
    sgd = optim.SGD([x], lr=1.0)
    scaler.unscale_(sgd)
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), [2.0**-20] * 2)


def test_clipping_in_between(device: str) -> None:
    x = leaf([3.0, 4.0], device)
    sgd, scaler = optim.SGD([x], lr=1.0), tg.GradScaler(16.0)
    scaler.scale((x * x).sum() / 2).backward()
    scaler.unscale_(sgd)
    assert optim.clip_grad_norm_([x], 1.0).item() == pytest.approx(5.0)
    scaler.step(sgd)
    scaler.update()
    np.testing.assert_allclose(x.numpy(), [3 - 0.6, 4 - 0.8], rtol=1e-5)


def test_two_optimizers_are_decided_apart(device: str) -> None:
    x, y = leaf([1.0], device), leaf([1.0], device)
    one, other = optim.SGD([x], lr=1.0), optim.SGD([y], lr=1.0)
    scaler = tg.GradScaler(2.0)
    factor = Tensor(np.float32(math.inf), device=device)
    scaler.scale((x * factor + y).sum()).backward()
    scaler.step(one)
    scaler.step(other)
    scaler.update()
    assert (x.item(), y.item(), scaler.get_scale()) == (1.0, 0.0, 1.0)


def test_an_optimizer_of_ones_own(device: str) -> None:
    class Plain(optim.Optimizer):
        def update(self, param: Any, grad: Any, state: Any, coefficients: Any) -> None:
            param -= self.lr * grad

    x = leaf([1.0], device)
    plain, scaler = Plain([x], 0.5), tg.GradScaler()
    for factor in (math.inf, 1.0):
        run(scaler, plain, x, factor)
    assert x.item() == 0.5


def test_a_captured_step(device: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).to(device)
    twin = copy.deepcopy(model)
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((8, 5, 4)).astype(np.float32)
    xs[3, 0, 0] = math.inf
    labels = Tensor(rng.integers(0, 3, 5), device=device)

    def step_of(model: nn.Module) -> tuple[Any, optim.Optimizer, tg.GradScaler]:
        adam = optim.Adam(model.parameters(), 0.01)
        scaler = tg.GradScaler(1024.0, growth_interval=3)

        def step(x: Tensor) -> Tensor:
            with tg.autocast("fp16"):
                loss: Tensor = model(x).cross_entropy(labels)
            adam.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(adam)
            scaler.update()
            return loss

        return step, adam, scaler

    eager, _, scale = step_of(model)
    captured, adam, scaler = step_of(twin)
    captured = tg.jit(captured)
    with np.errstate(all="ignore"):
        for x in xs:
            given = Tensor(x, device=device)
            np.testing.assert_array_equal(captured(given).numpy(), eager(given).numpy())
    assert scaler.get_scale() == scale.get_scale() == 1024 * 2 * 0.5 * 2
    assert set(adam.steps) == {7}
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
        assert np.isfinite(one.numpy()).all()


def test_a_state_continues(device: str) -> None:
    x = leaf([1.0], device)
    sgd, scaler = optim.SGD([x], lr=0.1), tg.GradScaler(4.0, growth_interval=3)
    run(scaler, sgd, x, 1.0)
    run(scaler, sgd, x, 1.0)
    state = scaler.state_dict()
    assert state == {
        "scale": 4.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 3,
        "_growth_tracker": 2,
    }  # fmt: skip
    for fresh in (tg.GradScaler(), scaler):
        fresh.load_state_dict(state)
        assert fresh.state_dict() == state
        run(fresh, sgd, x, 1.0)
        assert fresh.get_scale() == 8.0
    with pytest.raises(ValueError, match=r"\[GradScaler\] expected a state with .* missing"):
        scaler.load_state_dict({"scale": 1.0})


def test_a_pickled_scaler_continues(device: str) -> None:
    x = leaf([1.0], device)
    sgd, scaler = optim.SGD([x], lr=0.1), tg.GradScaler(4.0, growth_interval=2)
    run(scaler, sgd, x, 1.0)
    for other in (pickle.loads(pickle.dumps(scaler)), copy.deepcopy(scaler)):
        assert other.state_dict() == scaler.state_dict()
        run(other, sgd, x, 1.0)
        assert other.get_scale() == 8.0


def test_not_enabled(device: str) -> None:
    x = leaf([1.0], device)
    scaler = tg.GradScaler(enabled=False)
    run(scaler, optim.SGD([x], lr=0.5), x, 1.0)
    assert (x.item(), scaler.get_scale(), scaler.state_dict()) == (0.5, 1.0, {})


def test_errors(device: str) -> None:
    x = leaf([1.0], device)
    sgd, scaler = optim.SGD([x], lr=0.5), tg.GradScaler()
    with pytest.raises(RuntimeError, match=r"\[GradScaler\] no parameter .* has a gradient"):
        scaler.step(sgd)
    with pytest.raises(RuntimeError, match=r"\[GradScaler\] update\(\) before step\(\)"):
        scaler.update()
    scaler.scale(x.sum()).backward()
    scaler.unscale_(sgd)
    with pytest.raises(RuntimeError, match=r"\[GradScaler\] unscale_ was called"):
        scaler.unscale_(sgd)
    scaler.step(sgd)
    with pytest.raises(RuntimeError, match=r"\[GradScaler\] step\(\) was called"):
        scaler.step(sgd)
    scaler.update(4.0)
    assert scaler.get_scale() == 4.0
    for bad in ({"init_scale": 0.0}, {"growth_factor": 0.5}, {"growth_interval": 0}):
        with pytest.raises(ValueError, match="GradScaler"):
            tg.GradScaler(**bad)
