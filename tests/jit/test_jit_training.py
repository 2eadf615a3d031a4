"""A training captured by `jit` leaves the bits of one that is not, random numbers included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.jit_runs import State, batches, trained, training, values
from tinygrad_cupy import Tensor
from tinygrad_cupy.nn import optim


def adamw(params: Any, lr: float) -> optim.Optimizer:
    return optim.AdamW(params, lr=lr, weight_decay=0.1)


def momentum(params: Any, lr: float) -> optim.Optimizer:
    return optim.SGD(params, lr=lr, momentum=0.9)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", [optim.Adam, adamw, momentum])
def test_captured_steps_equal_eager_ones_bit_for_bit(place: str, make: Any) -> None:
    eager, captured = (trained(60, (6, 6, 6, 4), jitted, make) for jitted in (False, True))
    assert len(eager) == len(captured)
    for one, other in zip(eager, captured, strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluation_is_captured_beside_training(place: str) -> None:
    model, _, _ = training()
    (x, _), *_ = batches(1)
    predict = tg.jit(lambda x: model(x))
    model.train()
    first = predict(x).numpy()
    predict(x)
    mean = model[1].running_mean  # type: ignore[index]
    assert any(first.ravel() != predict(x).numpy().ravel())  # dropout draws anew in each replay
    model.eval()
    frozen = mean.numpy()
    same = [predict(x).numpy() for _ in range(4)]
    for one in same[1:]:
        np.testing.assert_array_equal(one, same[0])
    np.testing.assert_array_equal(mean.numpy(), frozen)
    model.train()
    predict(x)
    assert any(mean.numpy() != frozen)


def test_dropout_starts_anew_with_a_seed(place: str) -> None:
    x = Tensor.ones(64)
    drop = tg.jit(lambda x: x.dropout(0.5))
    drop(x), drop(x)
    draws = []
    for seed in (3, 3, 4):
        tg.manual_seed(seed)
        draws.append([drop(x).numpy() for _ in range(2)])
    tg.manual_seed(3)
    eager = [x.dropout(0.5).numpy() for _ in range(2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], eager)
    assert np.any(draws[0][0] != draws[2][0])
    assert np.any(draws[0][0] != draws[0][1])


def test_an_update_apart_from_backward(place: str) -> None:
    w = Tensor([8.0], requires_grad=True)
    sgd = optim.SGD([w], lr=1.0)
    StandInPool.owners[:] = [State(w)]

    @tg.jit
    def update() -> None:
        sgd.step()
        sgd.zero_grad()

    for i in range(6):
        (w * float(i)).sum().backward()
        update()
        assert w.grad is None
    assert w.item() == 8 - sum(range(6))


def test_a_signature_may_bring_an_optimizer_of_its_own(place: str) -> None:
    """As a generator and its discriminator in turns."""

    def played(jitted: bool) -> list[list[Any]]:
        weights = [Tensor([4.0, 2.0], requires_grad=True) for _ in range(2)]
        optimizers = [optim.Adam([w], lr=0.1) for w in weights]
        StandInPool.owners[:] = [*map(State, weights), *optimizers]

        def step(x: Tensor, which: int) -> None:
            optimizers[which].zero_grad()
            (weights[0] * weights[1] * x).sum().backward()
            optimizers[which].step()

        function = tg.jit(step) if jitted else step
        for i in range(12):
            function(Tensor([float(i), 1.0]), i // 2 % 2)
        return [values(w) for w in weights]

    assert played(True) == played(False)
