"""What is a module's state: buffers, assignment, names, and what is no state."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, nn

ONE = np.ones((1, 2), np.float32)


class Net(nn.Module):
    """Keeps what it saw, and counts."""

    def __init__(self) -> None:
        self.layer = nn.Linear(2, 2)
        self.count: Any = nn.Buffer(0)
        self.table: Any = nn.Buffer(Tensor.ones(2), persistent=False)
        self.seen: dict[str, Any] = {}
        self.constant = Tensor([3.0])

    def forward(self, x: Tensor) -> Tensor:
        self.input = x
        self.hidden = self.layer(x)
        self.seen["last"] = [x, (self.hidden,)]
        self.count = self.count + 1
        result: Tensor = self.hidden * self.table
        return result


KEYS = ["count", "layer.weight", "layer.bias"]


def raises(error: type[Exception], text: str) -> Any:
    return pytest.raises(error, match=re.escape(text))


@pytest.mark.parametrize("recording", [True, False])
def test_what_forward_keeps_is_no_state(recording: bool) -> None:
    net = Net()
    with nullcontext() if recording else tg.no_grad():
        net(Tensor(ONE))
    assert list(net.state_dict()) == KEYS
    assert [name for name, _ in net.named_buffers()] == ["count", "table"]
    other = Net()
    other.load_state_dict(net.state_dict())
    assert other.count.item() == 1


def test_loading_and_moving_leave_alone_what_is_no_state(device: str) -> None:
    net = Net().to("cpu")
    x = Tensor(ONE, device="cpu")
    net(x)
    input_, hidden, constant = net.input.data, net.hidden.data, net.constant.data
    net.load_state_dict(Net().state_dict())
    net.to(device)
    assert net.input.data is input_
    assert net.hidden.data is hidden
    assert net.constant.data is constant
    assert {t.device for t in (*net.parameters(), *net.buffers())} == {device}


def test_best_weights_come_back_without_touching_what_is_no_state() -> None:
    net = Net()
    trainer = nn.Trainer(net, nn.optim.SGD(net.parameters()))
    kept = trainer._weights()
    assert list(kept) == KEYS
    net.layer.weight.assign_(0.0)
    net(Tensor(ONE))
    net.table = Tensor.zeros(5)  # another shape, which no weights of before would fit
    trainer._restore(kept)
    assert net.layer.weight.numpy().all()
    assert net.count.item() == 0
    assert net.table.shape == (5,)


def test_buffers_in_containers_are_found() -> None:
    net = nn.Module()
    net.parts = {"a": [nn.Buffer([1.0]), Tensor([2.0])], "b": (nn.Parameter(ONE),)}
    assert list(net.state_dict()) == ["parts.a.0", "parts.b.0"]
    net.parts["self"] = net.parts  # type: ignore[attr-defined]
    assert list(net.state_dict()) == ["parts.a.0", "parts.b.0"]


def test_tensors_of_a_class_are_made_of_that_class(device: str) -> None:
    for kind in (nn.Parameter, nn.Buffer):
        made = [kind.zeros(2), kind.ones(2), kind.full(2, 0.5), kind.arange(0.0, 2.0)]
        for tensor in (*made, kind.eye(2), kind.rand(2), kind.randn(2)):
            assert type(tensor) is kind
            assert tensor.requires_grad is (kind is nn.Parameter)
            assert tensor.device == device
    assert not nn.Parameter.zeros(2, requires_grad=False).requires_grad
    assert type(nn.Buffer([1.0]) * 2) is Tensor


# Registering --------------------------------------------------------------------------------------


def test_registered_buffers_are_buffers() -> None:
    net = Net()
    net.register_buffer("mean", np.zeros(3))
    net.register_buffer("mask", Tensor([1.0]), persistent=False)
    net.register_buffer("later", None)
    assert "mean" in net.state_dict()
    assert "mask" not in net.state_dict()
    assert vars(net)["later"] is None
    net.register_buffer("later", [1.0])
    net.register_buffer("mean", np.zeros(4))
    assert net.state_dict()["mean"].shape == (4,)
    for name in ("a.b", "", 3):
        with raises(ValueError, f"[Net] expected a buffer's name without dots, got {name!r}"):
            net.register_buffer(name, [1.0])  # type: ignore[arg-type]
    for name in ("forward", "layer"):
        with raises(ValueError, f"[Net] a buffer cannot be named {name!r}: the attribute is there"):
            net.register_buffer(name, [1.0])


# Assigning ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [Tensor(ONE), ONE, 0.5, "zeros"])
def test_a_parameter_is_not_lost_to_what_is_none(value: Any) -> None:
    layer = nn.Linear(2, 1)
    weight = layer.weight
    with raises(
        TypeError,
        f"[Linear] weight is a Parameter: expected a Parameter or None, got {type(value).__name__}",
    ) as caught:
        layer.weight = value
    assert "under no_grad() in place (weight -= ..., or weight.assign_(...))" in str(caught.value)
    assert "nn.Parameter(...)" in str(caught.value)
    assert layer.weight is weight


def test_state_may_be_replaced_removed_and_brought_back() -> None:
    layer = nn.Linear(2, 1)
    layer.weight = layer.weight
    layer.weight = other = nn.Parameter(2 * ONE)
    assert layer(Tensor(ONE)).shape == (1, 1)
    assert next(layer.parameters()) is other
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    layer.bias = nn.Parameter([1.0])
    assert list(layer.state_dict()) == ["weight", "bias"]
    del layer.weight
    layer.weight = Tensor(ONE)  # type: ignore[assignment]
    assert list(layer.state_dict()) == ["bias"]
    layer.bias = nn.Buffer([1.0])  # type: ignore[assignment]
    assert list(layer.parameters()) == []


def test_a_tensor_assigned_to_a_buffer_becomes_its_value(device: str) -> None:
    norm = nn.BatchNorm1d(2).to(device)
    buffer, array = norm.running_mean, norm.running_mean.data
    norm.running_mean = norm.running_mean * 0.5 + Tensor([1.0, 2.0], device="cpu").to(device)  # type: ignore[assignment]
    assert norm.running_mean is buffer
    assert buffer.data is array
    assert buffer.tolist() == [1, 2]
    norm.running_mean = Tensor([3.0, 4.0], device="cpu")  # type: ignore[assignment]
    assert (buffer.device, buffer.tolist()) == (device, [3, 4])
    norm.running_mean = buffer.flip(0)  # type: ignore[assignment]
    assert buffer.tolist() == [4, 3]
    wide = Tensor(np.arange(3.0), device=device)
    norm.running_mean = wide  # type: ignore[assignment]
    assert norm.running_mean is buffer
    assert buffer.dtype == np.float64
    assert buffer.tolist() == [0, 1, 2]
    wide.assign_(7.0)
    assert buffer.tolist() == [0, 1, 2]
    assert norm.state_dict()["running_mean"].shape == (3,)


def test_a_write_into_a_buffer_is_noticed_by_a_graph_that_needs_it() -> None:
    net = Net()
    loss = net.table * Tensor([1.0, 1.0], requires_grad=True)
    net.table = Tensor([2.0, 2.0])
    with pytest.raises(RuntimeError, match="written in place"):
        loss.sum().backward()


def test_a_buffer_takes_no_graph_and_nothing_but_tensors() -> None:
    net = Net()
    with raises(ValueError, "[Net] table is a Buffer, which holds values and no graph") as caught:
        net.table = net(Tensor(ONE))
    assert ".detach()" in str(caught.value)
    net.table = net(Tensor(ONE)).detach().reshape(2)
    with tg.no_grad():
        net.table = net(Tensor(ONE)).reshape(2)
    for value in (0, ONE, [1.0]):
        with raises(
            TypeError,
            "[Net] table is a Buffer: expected a Tensor (its new value), a Buffer or None, got "
            f"{type(value).__name__}",
        ):
            net.table = value
    net.table = nn.Buffer([1.0])
    assert "table" in net.state_dict()


def test_a_captured_function_writes_buffers(place: str) -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            self.mean: Tensor = nn.Buffer(Tensor.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            self.mean = self.mean * 0.5 + x
            return x - self.mean

    mean = Mean()
    StandInPool.owners[:] = [mean]
    step = tg.jit(lambda x: mean(x))
    x = Tensor([1.0, 2.0])
    for _ in range(4):
        step(x)
    assert mean.mean.tolist() == [1.875, 3.75]
    mean.mean = Tensor.zeros(2)
    step(x)
    assert mean.mean.tolist() == [1, 2]


def test_a_buffer_that_changes_its_shape_in_a_capture_is_refused(place: str) -> None:
    holder = nn.Module()
    holder.memory = nn.Buffer(Tensor.zeros(1))

    def grow(x: Tensor) -> Tensor:
        holder.memory = tg.concat([holder.memory, x])  # type: ignore[attr-defined]
        return x + 1

    step = tg.jit(grow)
    step(Tensor([1.0]))
    with pytest.raises(RuntimeError, match=r"the memory of a Buffer of shape \(3,\)"):
        step(Tensor([1.0]))


# Names --------------------------------------------------------------------------------------------


def dotted_attribute() -> nn.Module:
    net = nn.Module()
    net.a = nn.Module()
    net.a.b = nn.Parameter(ONE)  # type: ignore[attr-defined]
    setattr(net, "a.b", nn.Buffer([1.0]))
    return net


def keys_alike() -> nn.Module:
    net = nn.Module()
    net.heads = {1: nn.Linear(1, 1), "1": nn.Linear(1, 1)}
    return net


def key_with_a_dot() -> nn.Module:
    net = nn.Module()
    net.parts = {"a.b": nn.Parameter(ONE), "a": {"b": nn.Parameter(ONE)}}
    return net


def attribute_like_a_layer() -> nn.Module:
    net = nn.Sequential(nn.Linear(1, 1))
    setattr(net, "0", nn.Linear(1, 1))
    return net


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (dotted_attribute, "'a.b' in a state_dict: getattr(self, 'a.b') and self.a.b"),
        (
            keys_alike,
            "'heads.1.weight' in a state_dict: self.heads[1].weight and self.heads['1'].weight",
        ),
        (key_with_a_dot, "'parts.a.b' in a state_dict: self.parts['a.b'] and self.parts['a']['b']"),
        (
            attribute_like_a_layer,
            "'0.weight' in a state_dict: self[0].weight and getattr(self, '0').weight",
        ),
    ],
)
def test_two_tensors_of_one_name_are_refused_by_both_their_paths(make: Any, text: str) -> None:
    net = make()
    name = type(net).__name__
    for call in (
        net.state_dict,
        lambda: net.load_state_dict({}),
        lambda: dict(net.named_parameters()),
        lambda: nn.optim.SGD(net.parameters()),
    ):
        with raises(ValueError, f"[{name}] two tensors would be {text}"):
            call()


def test_one_tensor_may_have_a_name_twice() -> None:
    weight = nn.Parameter(ONE)
    net = nn.Module()
    net.heads = {1: weight, "1": weight}
    assert list(net.state_dict()) == ["heads.1"]


# Loading ------------------------------------------------------------------------------------------


def test_a_state_of_what_is_none_any_more_names_nn_buffer() -> None:
    state = Net().state_dict() | {"constant": np.zeros(1), "table": np.zeros(2), "x": np.zeros(1)}
    with raises(ValueError, "[Net] the state_dict does not fit, nothing was loaded") as caught:
        Net().load_state_dict(state)
    assert str(caught.value).splitlines()[1:] == [
        "  unexpected: constant (a plain Tensor here, which is no state: make it a buffer with "
        "self.constant = nn.Buffer(...)); table (a Buffer with persistent=False, which is not "
        "saved); x"
    ]
    mismatch = Net().load_state_dict(state, strict=False)
    assert "nn.Buffer(...)" in mismatch.unexpected[0]


@pytest.mark.parametrize("state", [None, "model.safetensors", [("bias", 1)]])
def test_a_state_must_be_a_mapping(state: Any) -> None:
    with raises(
        TypeError,
        "[Linear] expected a state_dict, a mapping from names to arrays, got "
        f"{type(state).__name__}",
    ):
        nn.Linear(1, 1).load_state_dict(state)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1.0], [1.0, 2.0]], "num_batches_tracked: expected (), got an object of type list"),
        (1j, "num_batches_tracked: expected numbers that int64 holds, got others"),
        (0.5, "num_batches_tracked: expected numbers that int64 holds, got others"),
        (float("nan"), "num_batches_tracked: expected numbers that int64 holds, got others"),
    ],
)
def test_values_that_the_dtype_cannot_hold_are_refused(value: Any, text: str) -> None:
    norm = nn.BatchNorm1d(1)
    state = norm.state_dict()
    with raises(ValueError, text):
        norm.load_state_dict(state | {"num_batches_tracked": value})
    norm.load_state_dict(state | {"num_batches_tracked": 3.0, "weight": [1 / 3]})
    assert norm.num_batches_tracked.item() == 3
    with raises(ValueError, "weight: expected numbers that float32 holds, got others"):
        norm.load_state_dict(state | {"weight": [1e300]})


class Filter(nn.Module):
    """A module of complex parameters."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.gains = nn.Parameter(np.array(values, np.complex64))


def test_complex_parameters_are_saved_and_loaded() -> None:
    one, other = Filter([1 + 2j, 3j]), Filter([0, 0])
    other.load_state_dict(one.state_dict())
    assert other.gains.tolist() == [1 + 2j, 3j]
    other.load_state_dict({"gains": [1.0, 2.0]})
    assert other.gains.tolist() == [1, 2]


def test_complex_numbers_do_not_fit_where_real_ones_are() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with raises(ValueError, "weight: expected numbers that float32 holds, got others"):
        layer.load_state_dict({"weight": [[1j]]})
    layer.load_state_dict({"weight": [[2 + 0j]]})
    assert layer.weight.item() == 2
