"""Module: what is found by name, applied to all of it, frozen, cast, shared."""

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn


class Net(nn.Module):
    """Layers in a list, one by itself, a Buffer."""

    def __init__(self) -> None:
        self.blocks = [nn.Linear(3, 2), nn.BatchNorm1d(2)]
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(2, 1))
        self.offset = nn.Buffer([0.5])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x) + self.offset  # type: ignore[no-any-return]


def test_modules_parameters_and_buffers_are_found_by_name() -> None:
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("blocks.1") is net.blocks[1]
    assert net.get_submodule("head.1") is net.head[1]
    assert net.get_parameter("head.1.weight") is dict(net.named_parameters())["head.1.weight"]
    assert (
        net.get_buffer("blocks.1.running_mean")
        is dict(net.named_buffers())["blocks.1.running_mean"]
    )
    assert list(net.children()) == [net.blocks[0], net.blocks[1], net.head]
    assert [type(module).__name__ for module in net.modules()] == [
        *("Net", "Linear", "BatchNorm1d", "Sequential", "ReLU", "Linear"),
    ]


@pytest.mark.parametrize(
    ("method", "name", "kind"),
    [
        ("get_submodule", "blocks.2", "Module"),
        ("get_submodule", "blocks", "Module"),
        ("get_parameter", "offset", "Parameter"),
        ("get_parameter", "head.weight", "Parameter"),
        ("get_buffer", "head.1.weight", "Buffer"),
    ],
)
def test_a_name_that_is_not_there_is_an_error(method: str, name: str, kind: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(f"[Net] there is no {kind} named '{name}'")):
        getattr(Net(), method)(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("half", '.astype("float16")'), ("cuda", '.to("cuda")'), ("register_parameter", "Parameter")],
)
def test_pytorchs_other_methods_are_named_in_the_error(name: str, hint: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(hint)):
        getattr(Net(), name)()
    with pytest.raises(AttributeError, match=r"\[Net\] there is no attribute 'nothing'$"):
        _ = Net().nothing  # type: ignore[attr-defined]


def test_apply_reaches_children_first_and_the_module_last() -> None:
    net, seen = Net(), []

    def start(module: nn.Module) -> None:
        seen.append(type(module).__name__)
        if isinstance(module, nn.Linear):
            module.weight.assign_(np.full(module.weight.shape, 0.25, np.float32))

    assert net.apply(start) is net
    assert seen == ["Linear", "BatchNorm1d", "ReLU", "Linear", "Sequential", "Net"]
    assert (net.get_parameter("blocks.0.weight").numpy() == 0.25).all()


def test_a_part_is_frozen_and_thawed(device: str) -> None:
    net = Net().to(device)
    x = Tensor.randn(4, 3, device=device)
    net(x).sum().backward()
    assert net.head.requires_grad_(False) is net.head
    assert all(p.grad is None for p in net.head.parameters())
    optimizer = nn.optim.SGD(net.parameters(), lr=0.1)
    before = net.state_dict()
    optimizer.zero_grad()
    net(x).square().sum().backward() if hasattr(Tensor, "square") else (
        net(x) ** 2
    ).sum().backward()
    optimizer.step()
    after = net.state_dict()
    assert np.array_equal(before["head.1.weight"], after["head.1.weight"])
    assert not np.array_equal(before["blocks.1.bias"], after["blocks.1.bias"])
    net.requires_grad_()
    net(x).sum().backward()
    assert net.get_parameter("head.1.weight").grad is not None


def test_freezing_is_noticed_by_a_captured_function(place: str) -> None:
    layer = nn.Linear(2, 1)

    @tg.jit
    def step(x: Tensor) -> Tensor:
        y = layer(x)
        return y.detach() + float(y.requires_grad)  # type: ignore[no-any-return]

    x = Tensor.ones(1, 2, device=place)
    for wanted in (True, False, True):
        layer.requires_grad_(wanted)
        for _ in range(3):
            assert step(x).item() == pytest.approx(layer(x).item() + wanted)


def test_astype_casts_floats_and_keeps_objects_gradients_and_sharing(device: str) -> None:
    net = Net().to(device)
    net.tied = net.get_parameter("blocks.0.weight")
    kept = {name: id(tensor) for name, tensor in net.named_parameters()}
    net(Tensor.randn(4, 3, device=device)).sum().backward()
    grad = net.get_parameter("blocks.0.weight").grad
    assert net.astype("float64") is net
    assert {name: id(tensor) for name, tensor in net.named_parameters()} == kept
    state = net.state_dict()
    assert state["tied"].dtype == state["offset"].dtype == np.float64
    assert state["blocks.1.num_batches_tracked"].dtype == np.int64
    cast = net.get_parameter("blocks.0.weight").grad
    assert grad is not None
    assert cast is not None
    assert cast.dtype == np.float64
    np.testing.assert_array_equal(cast.numpy(), grad.numpy())
    assert net(Tensor.randn(4, 3, dtype="float64", device=device)).dtype == np.float64
    assert net.astype("bfloat16").get_parameter("tied").dtype.name == "bfloat16"
    with pytest.raises(TypeError, match=r"\[Net\] expected a floating-point dtype, got int64"):
        net.astype("int64")


def test_tied_weights_are_one_parameter_with_two_names() -> None:
    net: Any = nn.Module()
    net.embed, net.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    net.head.weight = net.embed.weight
    assert [name for name, _ in net.named_parameters()] == ["embed.weight"]
    assert list(net.state_dict()) == ["embed.weight", "head.weight"]
    (net.head(net.embed(Tensor([1, 2]))) ** 2).sum().backward()
    optimizer = nn.optim.SGD(net.parameters(), lr=0.1)
    optimizer.step()
    np.testing.assert_array_equal(net.head.weight.numpy(), net.embed.weight.numpy())
    other: Any = nn.Module()
    other.embed, other.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.head.weight.numpy(), net.embed.weight.numpy())
