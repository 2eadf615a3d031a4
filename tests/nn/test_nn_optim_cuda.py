"""The optimizers' one launch on a GPU against their NumPy updates, and what it keeps there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.gpu_memory import poison
from support.optimizers import OPTIMIZERS
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.optim import cuda

pytestmark = pytest.mark.gpu

FEW = [(3, 4), (5,), (), (33, 3, 3, 2), (0,), (2000,), (129, 65)]
MANY = [*FEW, *[(7,)] * 90]  # more than one launch takes
BOUNDS = {"float32": 1e-4, "float64": 1e-11, "float16": 1e-2}


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


def leaves(shapes: list[Any], dtype: str, device: str) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [nn.Parameter(rng.standard_normal(s).astype(dtype), device=device) for s in shapes]


def give_gradients(rng: np.random.Generator, *lists: list[Tensor]) -> None:
    """The same random gradients to the tensors of every list, some None, in any layout."""
    for matching in zip(*lists, strict=True):
        values = rng.standard_normal(matching[0].shape).astype(np.float32)
        skipped, order = rng.random() < 0.2, rng.choice(["C", "F"])
        for tensor in matching:
            grad = Tensor(values, dtype=tensor.dtype, device=tensor.device)
            if order == "F":
                grad.data = grad.data.copy(order="F")
            tensor.grad = None if skipped else grad


@pytest.mark.parametrize("shapes", [FEW, MANY])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_cpu(name: str, dtype: str, shapes: list[Any]) -> None:
    ours, theirs = leaves(shapes, dtype, "cuda:0"), leaves(shapes, dtype, "cpu")
    ours[3].data = ours[3].data.copy(order="F")
    ours[1] = leaves(shapes, dtype, "cpu")[1]  # one that is elsewhere
    optimizer, expected = OPTIMIZERS[name](ours), OPTIMIZERS[name](theirs)
    rng = np.random.default_rng(1)
    for step in range(6):
        if step == 3:
            optimizer.lr = expected.lr = 0.03
        give_gradients(rng, ours, theirs)
        optimizer.step()
        expected.step()
    assert optimizer.steps == expected.steps
    for one, other in zip(ours, theirs, strict=True):
        bound = BOUNDS[dtype]
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=bound, atol=bound)
    ours_state, state = optimizer.state_dict(), expected.state_dict()
    assert ours_state.keys() == state.keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_half_precision(name: str) -> None:
    ours, theirs = leaves(FEW, "float16", "cuda:0"), leaves(FEW, "float32", "cpu")
    optimizer, expected = OPTIMIZERS[name](ours), OPTIMIZERS[name](theirs)
    give_gradients(np.random.default_rng(1), ours, theirs)
    optimizer.step()
    expected.step()
    if name != "forgetful":  # g / |g| of a square that half precision cannot hold
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-2, atol=2e-2)


def test_one_launch_steps_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    params = leaves(FEW, "float32", "cuda:0")
    optimizer = optim.Adam(params)
    rng = np.random.default_rng(1)
    give_gradients(rng, params)
    optimizer.step()
    launched: list[str] = []
    launch = cuda._kernels.launch

    def counting(name: str, *args: Any, **options: Any) -> None:
        launched.append(name)
        launch(name, *args, **options)

    monkeypatch.setattr(cuda._kernels, "launch", counting)
    optimizer.step()
    assert launched == ["adam_step"]
    optimizer.lr = 0.5
    optimizer.lr = 0.5  # known there
    assert launched == ["adam_step", "write_numbers"]
    optim.clip_grad_norm(params, 1.0)
    assert launched[2:] == ["sum_squares", "clip_factor", "scale_all"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_captured_steps_follow_learning_rate_and_count(name: str) -> None:
    ours, theirs = leaves(FEW, "float32", "cuda:0"), leaves(FEW, "float32", "cuda:0")
    optimizer, expected = OPTIMIZERS[name](ours), OPTIMIZERS[name](theirs)
    grads = [Tensor.ones(*p.shape, device="cuda:0") * 0.5 for p in ours]

    def step(factor: Tensor, params: list[Tensor], which: optim.Optimizer) -> Tensor:
        which.zero_grad()
        total: Any = sum((p * g * factor).sum() for p, g in zip(params, grads, strict=True))
        (total * total).backward()
        norm = optim.clip_grad_norm(params, 10.0)
        which.step()
        return norm

    captured = tg.jit(lambda factor: step(factor, ours, optimizer))
    for count in range(8):
        optimizer.lr = expected.lr = 0.1 / (count + 1)
        factor = Tensor(0.1 * (count + 1), device="cuda:0")
        norm = captured(factor).item()
        assert norm == step(factor, theirs, expected).item()
    assert optimizer.steps == expected.steps == [8] * len(FEW)
    for one, other in zip(ours, theirs, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes()
    state, again = optimizer.state_dict(), expected.state_dict()
    assert state.keys() == again.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(value, again[key])


def test_a_loaded_state_goes_where_a_graph_finds_it() -> None:
    params = leaves([(3, 4)], "float32", "cuda:0")
    optimizer = optim.Adam(params)
    params[0].grad = Tensor.ones(3, 4, device="cuda:0")
    optimizer.step()
    saved, arrays = optimizer.state_dict(), dict(optimizer.state[0])
    memory = optimizer._memory["cuda:0"]
    optimizer.step()
    optimizer.load_state_dict(saved)
    assert optimizer.steps == [1]
    assert all(optimizer.state[0][slot] is array for slot, array in arrays.items())
    np.testing.assert_array_equal(optimizer.state[0]["exp_avg"].get(), saved["0.exp_avg"])
    assert optimizer._memory["cuda:0"] is memory


def test_a_model_that_moves_keeps_its_count() -> None:
    params = leaves([(3,)], "float32", "cuda:0")
    optimizer = optim.Adam(params)
    for device in ("cuda:0", "cpu", "cuda:0"):
        params[0].data = params[0].detach().to(device).data
        params[0].grad = Tensor.ones(3, device=device)
        optimizer.step()
    assert optimizer.steps == [3]


def test_clipping_many_gradients() -> None:
    ours, theirs = leaves(MANY, "float32", "cuda:0"), leaves(MANY, "float32", "cpu")
    give_gradients(np.random.default_rng(1), ours, theirs)
    norm, expected = optim.clip_grad_norm(ours, 2.0), optim.clip_grad_norm(theirs, 2.0)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        if one.grad is not None and other.grad is not None:
            assert one.grad.shape == one.shape
            np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-5)


def test_an_optimizer_with_an_update_of_its_own() -> None:
    class Signs(optim.SGD):
        def update(self, param: Any, grad: Any, state: Any, coefficients: Any) -> None:
            param -= coefficients[0] * grad / abs(grad)

    params = leaves([(3,)], "float32", "cuda:0")
    params[0].grad = Tensor([2.0, -3.0, 4.0], device="cuda:0")
    before = params[0].numpy()
    optimizer = Signs(params, lr=0.5)
    optimizer.step()
    np.testing.assert_allclose(params[0].numpy(), before - [0.5, -0.5, 0.5], rtol=1e-6)
    assert optimizer.steps == [1]

    @tg.jit
    def step(x: Tensor) -> Tensor:
        optimizer.step()
        return x + 1

    with pytest.raises(RuntimeError, match="Signs counts its steps on the host"):
        step(Tensor([1.0], device="cuda:0"))
