"""Parameter groups: what holds where, what a state keeps of them, what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.jit_runs import State
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim


def leaf(value: float = 1.0, device: str = "cpu") -> nn.Parameter:
    result = nn.Parameter(np.full(2, value), device=device)
    result.grad = Tensor(np.ones(2), device=device)
    return result


def two_groups(device: str = "cpu", **own: Any) -> optim.SGD:
    groups = [{"params": [leaf(device=device)]}, {"params": [leaf(device=device)], **own}]
    return optim.SGD(groups, lr=0.1)


def test_each_group_has_its_own(device: str) -> None:
    optimizer = two_groups(device, lr=0.5, weight_decay=1.0)
    optimizer.step()
    np.testing.assert_allclose(optimizer.params[0].numpy(), 1 - 0.1)
    np.testing.assert_allclose(optimizer.params[1].numpy(), 1 - 0.5 * 2)
    first, second = optimizer.param_groups
    assert (first["lr"], second["lr"], second["weight_decay"]) == (0.1, 0.5, 1.0)
    assert second["params"] == [optimizer.params[1]]
    assert repr(optimizer).startswith("SGD(2 parameters in 2 groups, lr=0.1")


def test_rates_keep_their_ratio() -> None:
    optimizer = two_groups(lr=0.5)
    for rate in (0.2, 0.0, 0.1):
        optimizer.lr = rate
        assert optimizer.param_groups[1]["lr"] == pytest.approx(5 * rate)
    assert optimizer.param_groups[1]["lr"] == 0.5  # exactly, where it was
    optimizer.param_groups[1]["lr"] = 0.7
    assert (optimizer.lr, optimizer.param_groups[1]["lr"]) == (0.1, 0.7)


def test_what_a_group_says_stays() -> None:
    optimizer = two_groups(weight_decay=0.0)
    optimizer.weight_decay = 0.3
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop])
def test_what_a_single_group_says_is_the_optimizer_s(kind: Any) -> None:
    optimizer = kind([{"params": [leaf()], "lr": 0.7, "weight_decay": 0.2}], lr=0.1)
    assert (optimizer.lr, optimizer.weight_decay) == (0.7, 0.2)
    (group,) = optimizer.param_groups
    group["lr"] = 0.3
    assert optimizer.lr == group["lr"] == 0.3
    optimizer.lr = 0.2
    assert group["lr"] == 0.2


def test_betas_are_a_pair() -> None:
    groups: Any = [{"params": [leaf()]}, {"params": leaf(), "betas": (0.5, 0.6)}]
    optimizer = optim.AdamW(groups)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.999), (0.5, 0.6)]
    optimizer.param_groups[1]["betas"] = (0.1, 0.2)
    assert optimizer.param_groups[1]["beta2"] == 0.2
    assert optimizer.beta2 == 0.999


def test_momentum_in_one_group_alone(device: str) -> None:
    optimizer = two_groups(device, momentum=0.5)
    for _ in range(2):
        optimizer.step()
    np.testing.assert_allclose(optimizer.params[0].numpy(), 1 - 0.2)
    np.testing.assert_allclose(optimizer.params[1].numpy(), 1 - 0.1 - 0.15)
    assert set(optimizer.state[0]) == set()
    assert set(optimizer.state[1]) == {"momentum_buffer"}


def test_a_group_is_a_mapping() -> None:
    groups: Any = [{"params": [leaf()], "name": "weights"}, {"params": [leaf()]}]
    optimizer = optim.SGD(groups)
    group = optimizer.param_groups[0]
    assert list(group) == [
        *("params", "name", "lr", "momentum", "dampening", "weight_decay", "nesterov"),
        "maximize",
    ]
    assert len(group) == 8
    assert group["name"] == "weights"
    assert "name" not in optimizer.param_groups[1]
    assert dict(group)["lr"] == 1e-3
    assert "momentum" in repr(group)
    with pytest.raises(TypeError, match="cannot be removed"):
        del group["lr"]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_state_keeps_groups(kind: Any, device: str) -> None:
    def made() -> Any:
        groups = [
            {"params": [leaf(device=device)]},
            {"params": [leaf(2.0, device), leaf(3.0, device)], "lr": 0.3, "weight_decay": 0.5},
        ]
        return kind(groups, lr=0.1)

    optimizer = made()
    optimizer.step()
    optimizer.lr = 0.05
    optimizer.param_groups[1]["weight_decay"] = 0.25
    saved = optimizer.state_dict()
    other = made()
    other.load_state_dict(saved)
    assert other.state_dict().keys() == saved.keys()
    assert other.param_groups[1]["lr"] == pytest.approx(0.15)
    for param, its in zip(optimizer.params, other.params, strict=True):
        its.assign_(param)
    for both in (optimizer, other):
        both.lr = 0.2
        both.step()
    for param, its in zip(optimizer.params, other.params, strict=True):
        np.testing.assert_array_equal(param.numpy(), its.numpy())


def test_rates_of_a_state_of_pytorch_are_relative_to_the_optimizers() -> None:
    rates = [1e-4, 1e-3]
    optimizer = optim.AdamW([{"params": [leaf()], "lr": rate} for rate in rates], lr=1e-3)
    groups = [{"lr": rate, "params": [index]} for index, rate in enumerate(rates)]
    others = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "maximize": False}
    saved = {"state": {}, "param_groups": [group | others for group in groups]}
    optimizer.load_state_dict(saved)
    assert optimizer.lr == 1e-3
    for lr in (1e-3, 2e-3, 1e-3):  # as a schedule sets it
        optimizer.lr = lr
        found = [group["lr"] for group in optimizer.param_groups]
        assert found == pytest.approx([rate * lr / 1e-3 for rate in rates], rel=1e-12)


def test_states_of_other_groups_are_refused() -> None:
    saved = two_groups(lr=0.5).state_dict()
    one = optim.SGD([leaf(), leaf()])
    with pytest.raises(ValueError, match=r"expected the state of groups of \[2\] param.*\[1, 1\]"):
        one.load_state_dict(saved)
    with pytest.raises(
        ValueError, match=r"expected the state of groups of \[1, 1\] p.*, got \[2\]"
    ):
        two_groups().load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match=r"group.1.lr: expected 2 numbers, got \(\)"):
        two_groups().load_state_dict(saved | {"group.1.lr": 1.0})
    with pytest.raises(ValueError, match=r"unexpected group\.1\.size"):
        two_groups().load_state_dict(saved | {"group.1.size": 1.0})


def test_groups_that_are_added(device: str) -> None:
    first, second = leaf(device=device), leaf(device=device)
    optimizer = optim.Adam([first], lr=0.1)
    optimizer.step()
    optimizer.add_param_group({"params": [second], "lr": 0.5})
    optimizer.step()
    assert optimizer.steps == [2, 1]
    np.testing.assert_allclose(second.numpy(), 1 - 0.5)
    before = len(optimizer.params)
    wrong: list[tuple[Any, str]] = [
        ({"params": [first]}, "parameter 2 was given before, at position 0"),
        ({"params": [leaf() * 2]}, "parameter 2 was computed from other tensors"),
        ({"params": [leaf()], "rate": 1}, "a parameter group has no 'rate': expected some of"),
        ({"params": [leaf()], "lr": -1}, "lr must be a number of at least 0, got -1"),
        ({"params": []}, "parameter group 0 has no parameters"),
    ]
    for group, text in wrong:
        with pytest.raises(ValueError, match=re.escape(text)):
            optimizer.add_param_group(group)
        assert len(optimizer.params) == before


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"params": []}, TypeError, "[SGD] expected a list of parameter groups, got one"),
        ([{"lr": 1}], TypeError, "[SGD] expected parameter groups, dicts with params, got dict"),
        ([{"params": [leaf()]}, leaf()], TypeError, "got Parameter at position 1"),
        ([{"params": [leaf()], "lr": 0}], ValueError, "[SGD] lr must be a number above 0, got 0"),
        (
            [{"params": [leaf()], "beta1": 0.5}],
            ValueError,
            "[SGD] a parameter group has no 'beta1': expected some of params, name, lr, momentum",
        ),
    ],
)
def test_groups_that_cannot_be_meant(params: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        optim.SGD(params)
    with pytest.raises(ValueError, match="params of a group cannot be set"):
        two_groups().param_groups[0]["params"] = []


def test_numbers_of_a_group_are_its_own_inside_of_another() -> None:
    """On a GPU all groups' numbers are written while the first group is gone through."""
    groups: Any = [{"params": [leaf()]}, {"params": [leaf()], "lr": 0.4}, {"params": [leaf()]}]
    optimizer = optim.SGD(groups, lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.05
    optimizer.param_groups[0]["momentum"] = 0.5
    found = []
    for outer in range(3):
        with optimizer._as(outer):
            for inner in range(3):
                with optimizer._as(inner):
                    found.append((optimizer.lr, optimizer.momentum))
    assert found == [(0.05, 0.5), (0.4, 0.0), (0.1, 0.0)] * 3
    assert (optimizer.lr, optimizer.momentum) == (0.1, 0.0)


def test_captured_steps_follow_groups(place: str) -> None:
    def made() -> optim.SGD:
        one, other = leaf(device=place), leaf(device=place)
        groups: Any = [{"params": [one]}, {"params": [other], "lr": 0.4}]
        return optim.SGD(groups, lr=0.1)

    both = [made() for _ in range(2)]

    def work(optimizer: optim.Optimizer, x: Tensor) -> None:
        optimizer.zero_grad()
        sum((param * param * x).sum() for param in optimizer.params).backward()  # type: ignore[union-attr]
        optimizer.step()

    step = tg.jit(lambda x: work(both[0], x))
    StandInPool.owners[:] = [both[0], *map(State, both[0].params)]
    for index in range(8):
        for optimizer in both:
            optimizer.lr = 0.1 / (1 + index)
            if index == 3:
                optimizer.param_groups[1]["momentum"] = 0.5
            if index == 5:
                optimizer.add_param_group({"params": [leaf(3.0, place)], "weight_decay": 0.1})
        if index == 5:
            StandInPool.owners[:] = [both[0], *map(State, both[0].params)]
        step(Tensor([1.0, 2.0], dtype="float64"))
        work(both[1], Tensor([1.0, 2.0], dtype="float64"))
        for one, other in zip(both[0].params, both[1].params, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())

    @tg.jit
    def refused(x: Tensor) -> None:
        both[0].param_groups[1]["lr"] = 1.0

    with pytest.raises(RuntimeError, match="lr of a group of SGD is set"):
        refused(Tensor([1.0]))


def test_no_decay_splits_a_model() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3), nn.LayerNorm((2, 3))
    )
    decayed, others = optim.no_decay(model, lr=0.5)
    names = {id(param): name for name, param in model.named_parameters()}
    assert [names[id(param)] for param in decayed["params"]] == ["0.weight", "2.weight"]
    assert len(others["params"]) == 6
    optimizer = optim.AdamW(optim.no_decay(model), weight_decay=0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert len(optim.no_decay(nn.BatchNorm1d(3))) == 1
    with pytest.raises(TypeError, match=r"\[no_decay\] expected a Module, got list"):
        optim.no_decay([])  # type: ignore[arg-type]


def test_a_closure_is_called_before() -> None:
    param = leaf()
    optimizer = optim.SGD([param], lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (param * 3).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        assert optimizer.step(closure).item() == 6
    np.testing.assert_allclose(param.numpy(), 1 - 1.5)
