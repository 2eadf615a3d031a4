"""`jit(steps=K)`: several steps in one launch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.jit_runs import batches, training
from tinygrad_cupy import Tensor, backend


def in_steps(steps: int, count: int) -> list[np.ndarray]:
    model, optimizer, step = training()
    many = tg.jit(step, steps=steps) if steps else step
    listed = batches(count)
    x, y = (tg.stack([one[i] for one in listed]) for i in (0, 1))
    losses = []
    for _ in range(3):
        if steps > 1:
            losses.append(many(x, y).numpy())
        else:
            losses.append(np.array([many(x[i], y[i]).item() for i in range(count)], np.float32))
    return [*losses, *model.state_dict().values(), *optimizer.state_dict().values()]


@pytest.mark.parametrize(("steps", "count"), [(2, 4), (3, 8), (8, 5)])
def test_steps_per_launch_equal_single_steps(place: str, steps: int, count: int) -> None:
    for one, other in zip(in_steps(0, count), in_steps(steps, count), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stacked_results_last() -> None:
    @tg.jit(steps=2)
    def function(x: Tensor, factor: float) -> dict[str, Tensor]:
        return {"y": x * factor}

    x = Tensor(np.arange(6.0).reshape(3, 2))
    first, second = function(x, 2.0)["y"], function(x, 3.0)["y"]
    np.testing.assert_array_equal(first.numpy(), x.numpy() * 2)
    np.testing.assert_array_equal(second.numpy(), x.numpy() * 3)


def test_bad_arguments_of_steps(device: str) -> None:
    add = tg.jit(lambda x, y: x + y, steps=2)
    with pytest.raises(ValueError, match=r"same leading axis, got shapes \[\(3,\), \(4,\)\]"):
        add(Tensor.ones(3), Tensor.ones(4))
    with pytest.raises(ValueError, match="same leading axis"):
        add(Tensor(1.0), Tensor(2.0))
    with pytest.raises(ValueError, match="same leading axis"):
        add(1, 2)
    with pytest.raises(TypeError, match="expected it to return tensors, of every slice alike"):
        tg.jit(lambda x: x.data, steps=2)(Tensor.ones(3))


def test_arguments_of_steps_take_no_gradient(device: str) -> None:
    total = tg.jit(lambda x: (x * 2).sum(), steps=2)
    x = Tensor.ones(4, 3, requires_grad=True)
    text = (
        r"\[jit\] <lambda> runs in steps: expected arguments without requires_grad, got one of "
        r"shape \(4, 3\), .*: pass its \.detach\(\)"
    )
    for given in (x, x * 2):
        with pytest.raises(RuntimeError, match=text):
            total(given)
    assert total(x.detach()).tolist() == [6, 6, 6, 6]
    with tg.no_grad():
        assert total(x).tolist() == [6, 6, 6, 6]


@pytest.mark.gpu
def test_steps_run_where_their_arguments_are() -> None:
    if backend.cuda_count() < 2:
        pytest.skip("needs two GPUs")
    double = tg.jit(lambda x: x * 2, steps=2)
    x = np.arange(15.0).reshape(5, 3)
    for _ in range(3):
        found = double(Tensor(x, device="cuda:1"))
        assert found.device == "cuda:1"
        np.testing.assert_array_equal(found.numpy(), x * 2)
