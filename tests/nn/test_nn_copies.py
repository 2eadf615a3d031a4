"""Copies and pickles of tensors, modules, optimizers and jitted functions."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.autograd import Op


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


both = pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
Duplicate = Callable[[Any], Any]


def triple(x: Tensor) -> Tensor:
    return x * 3


@tg.jit
def double(x: Tensor) -> Tensor:
    return x * 2


class Square(Op):
    saves = ("x",)

    def forward(self, x: Any) -> Any:
        return x * x

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return 2 * grad * x


class Net(nn.Module):
    """Holds all that a copy could stumble over."""

    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2)
        self.tied = [self.layer.weight]
        self.frozen = nn.Parameter([1.0], requires_grad=False)
        self.table = nn.Buffer([1.0, 2.0], persistent=False)
        self.fast = tg.jit(self.forward)
        self.steps: Any = tg.jit(triple, steps=3)
        self.double = double
        self.square = Square()

    def forward(self, x: Tensor) -> Tensor:
        self.input = x
        self.hidden = self.layer(x)
        self.loss = self.square(self.hidden).sum()
        result: Tensor = self.hidden
        return result


def trained(device: str) -> tuple[Net, nn.optim.Optimizer]:
    net = Net().to(device)
    optimizer = nn.optim.Adam(net.parameters(), lr=0.1)
    net(Tensor(np.ones((1, 2), np.float32), device=device))
    net.loss.backward()
    optimizer.step()
    return net, optimizer


@both
def test_a_module_after_a_forward_pass(duplicate: Duplicate, device: str) -> None:
    net, _ = trained(device)
    other = duplicate(net)
    assert list(other.state_dict()) == list(net.state_dict())
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
    assert other.tied[0] is other.layer.weight
    assert type(other.frozen) is nn.Parameter
    assert not other.frozen.requires_grad
    assert (type(other.table), other.table.persistent) == (nn.Buffer, False)
    assert other.layer.weight.requires_grad
    assert other.layer.weight.device == device
    np.testing.assert_array_equal(other.layer.weight.grad.numpy(), net.layer.weight.grad.numpy())  # type: ignore[union-attr]
    other.layer.weight.assign_(0.0)
    other.layer.weight.grad.assign_(0.0)
    assert net.layer.weight.numpy().all()
    assert net.layer.weight.grad.numpy().all()  # type: ignore[union-attr]
    # What was computed is copied as a value.
    assert other.hidden.is_leaf
    assert not other.hidden.requires_grad
    np.testing.assert_array_equal(other.hidden.numpy(), net.hidden.numpy())
    assert net.hidden.requires_grad
    other.square = Square()
    other(Tensor(np.ones((1, 2), np.float32), device=device))


@both
def test_jitted_functions_are_copied_uncaptured(duplicate: Duplicate) -> None:
    net = Net()
    other = duplicate(net)
    assert other.fast.function.__self__ is other
    assert (other.steps.steps, other.steps.function) == (3, triple)
    assert (other.double is double) == (duplicate is pickled)  # found by its name
    assert other.double(Tensor([2.0])).item() == 4
    assert copy.copy(double).function is double.function
    assert copy.copy(net.steps).steps == 3


def test_a_jitted_function_without_a_name_says_what_pickle_says() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(tg.jit(lambda x: x))


def test_the_copy_of_a_captured_function_is_captured_anew(place: str) -> None:
    function = tg.jit(lambda x: x + 1)
    for _ in range(3):
        function(Tensor([1.0]))
    other = copy.deepcopy(function)
    assert (function.memory_bytes > 0, other.memory_bytes) == (True, 0)
    assert other(Tensor([1.0])).item() == 2


@both
def test_an_optimizer_is_copied_with_its_model(duplicate: Duplicate, device: str) -> None:
    net, optimizer = trained(device)
    other, its = duplicate((net, optimizer))
    assert its.params[0] is other.layer.weight
    assert its.steps == optimizer.steps
    optimizer.step()
    its.step()
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
    its.step()
    assert not np.array_equal(net.layer.weight.numpy(), other.layer.weight.numpy())
    assert (optimizer.steps[0], its.steps[0]) == (2, 3)


@both
def test_a_trainer_is_copied(duplicate: Duplicate) -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    trainer = duplicate(nn.Trainer(net, nn.optim.SGD(net.parameters())))
    assert trainer.optimizer.params[0] is trainer.model[0].weight


def test_shallow_copies_share(device: str) -> None:
    weight = nn.Parameter([1.0, 2.0])
    weight.grad = Tensor([1.0, 1.0])
    other = copy.copy(weight)
    assert type(other) is nn.Parameter
    assert other.data is weight.data
    assert other.grad is weight.grad
    result = weight * 3
    copy.copy(result).sum().backward()
    assert weight.grad.tolist() == [4, 4]
    loss = (weight * weight).sum()
    other.assign_(0.0)
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()
    net = Net()
    assert copy.copy(net).layer is net.layer


@both
def test_tensors_on_one_memory_have_copies_on_one_memory(duplicate: Duplicate) -> None:
    a = Tensor([1.0, 2.0], requires_grad=True)
    a.bump_version()
    one, two = duplicate([a, a.detach()])
    assert one.data is two.data
    loss = (one * one).sum()
    two.assign_(0.0)
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()
    assert a.tolist() == [1, 2]


def test_gradients_with_a_graph_are_copied_as_values() -> None:
    x = nn.Parameter([2.0])
    (x * x * x).sum().backward(create_graph=True)
    grad = copy.deepcopy(x).grad
    assert grad is not None
    assert (grad.tolist(), grad.requires_grad) == ([12], False)
    x.grad = None


def test_results_that_were_written_over_do_not_keep_a_module_from_being_copied(place: str) -> None:
    net = nn.Linear(1, 1)
    StandInPool.owners[:] = [net]

    @tg.jit
    def step(x: Tensor) -> Tensor:
        net.zero_grad()
        loss: Tensor = net(x).sum()
        loss.backward()
        return loss

    x = Tensor([[1.0]])
    step(x), step(x)
    net.last = step(x)
    kept = net.weight.grad
    fresh = copy.deepcopy(net)
    assert type(fresh.last) is type(fresh.weight.grad) is Tensor  # type: ignore[attr-defined]
    step(x)
    net.weight._grad = kept
    stale = copy.deepcopy(net)
    assert "overwritten" in repr(stale.last)  # type: ignore[attr-defined]
    assert stale.weight.grad is None
