"""Modules that hold others: lists, dicts, Sequential as a list, what stands around a module."""

import copy
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def names(model: nn.Module) -> list[str]:
    return list(model.state_dict())


def test_a_layer_of_a_sequential_is_replaced() -> None:
    model = net()
    before = model(Tensor.ones(2, 3))
    model[1] = nn.Tanh()
    assert isinstance(model[1], nn.Tanh)
    assert not np.array_equal(model(Tensor.ones(2, 3)).numpy(), before.numpy())
    model[-1] = nn.Linear(4, 5, bias=False)
    assert model(Tensor.ones(2, 3)).shape == (2, 5)
    assert names(model) == ["0.weight", "0.bias", "2.weight"]


def test_slices_of_a_sequential_share_its_layers() -> None:
    model = net()
    first, rest = model[:2], model[2:]
    assert isinstance(first, nn.Sequential)
    assert first[0] is model[0]
    assert names(rest) == ["0.weight", "0.bias"]  # counted anew
    x = Tensor.ones(2, 3)
    np.testing.assert_array_equal(rest(first(x)).numpy(), model(x).numpy())


def test_a_sequential_changes_as_a_list_does() -> None:
    model = nn.Sequential()
    assert model.append(nn.Linear(2, 3)) is model
    model.extend([nn.ReLU(), nn.Linear(3, 1)]).insert(1, nn.BatchNorm1d(3))
    assert [type(layer).__name__ for layer in model] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert names(model)[2:4] == ["1.weight", "1.bias"]
    assert isinstance(model.pop(1), nn.BatchNorm1d)
    del model[1:]
    assert len(model) == 1
    both = model + nn.Sequential(nn.Sigmoid())
    assert (len(both), len(model)) == (2, 1)
    model += [nn.Tanh()]
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[1], nn.Tanh)


def test_layers_of_a_sequential_have_names_where_they_are_given() -> None:
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), act=nn.ReLU()))
    assert names(model) == ["conv.weight", "conv.bias"]
    assert model.conv is model[0]
    model.act = nn.Tanh()
    assert isinstance(model[1], nn.Tanh)
    model.append(nn.Flatten())
    assert repr(model).splitlines()[2:4] == [
        "  (act): Tanh()",
        "  (2): Flatten(start_axis=1, end_axis=-1)",
    ]
    assert names(model[:1]) == ["conv.weight", "conv.bias"]
    del model[0]
    assert names(model) == []
    with pytest.raises(AttributeError, match="no attribute 'conv'"):
        _ = model.conv


def test_copies_of_a_sequential_keep_names_and_are_independent() -> None:
    model = nn.Sequential({"a": nn.Linear(2, 2), "b": nn.ReLU()})
    other = copy.deepcopy(model)
    assert names(other) == ["a.weight", "a.bias"] == names(pickle.loads(pickle.dumps(model)))
    other.a.weight.assign_(np.zeros((2, 2), np.float32))
    assert model.a.weight.numpy().any()


def test_what_a_function_under_jit_calls_is_captured_anew_when_a_layer_is_replaced(
    place: str,
) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    blocks, heads = nn.ModuleList([nn.ReLU()]), nn.ModuleDict({"a": nn.ReLU()})

    def plain(x: Tensor) -> Tensor:
        y = model(x)
        for block in blocks:
            y = block(y)
        return heads["a"](y)  # type: ignore[no-any-return]

    run = tg.jit(plain)
    x = Tensor(np.full((2, 3), -1.0, np.float32), device=place)
    changes: list[Callable[[], Any]] = [
        lambda: None,
        lambda: model.__setitem__(1, nn.Tanh()),
        lambda: blocks.append(nn.Sigmoid()),
        lambda: heads.update({"a": nn.Tanh()}),
    ]
    for change in changes:
        change()
        for _ in range(4):
            np.testing.assert_allclose(run(x).numpy(), plain(x).numpy(), rtol=1e-6)


def test_a_module_list_is_walked_and_changed_as_a_list_is() -> None:
    blocks = nn.ModuleList([nn.Linear(2, 2)]) + nn.ModuleList([nn.ReLU()])
    blocks.append(nn.Linear(2, 1, bias=False)).extend([nn.Tanh()])
    assert names(blocks) == ["0.weight", "0.bias", "2.weight"]
    assert len(blocks) == 4
    assert isinstance(blocks[1:3], nn.ModuleList)
    assert blocks[1:3][1] is blocks[2]
    blocks[1] = nn.Sigmoid()
    blocks.insert(0, nn.ReLU())
    del blocks[-1]
    assert [type(block).__name__ for block in blocks] == ["ReLU", "Linear", "Sigmoid", "Linear"]
    with pytest.raises(NotImplementedError, match=r"\[ModuleList\] defines no forward"):
        blocks(Tensor.ones(1))


def test_a_module_dict_is_used_as_a_dict_is() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.ReLU()})
    heads["c"] = nn.Linear(2, 2, bias=False)
    assert names(heads) == ["a.weight", "a.bias", "c.weight"]
    assert list(heads) == list(heads.keys()) == ["a", "b", "c"]
    assert [type(value).__name__ for value in heads.values()] == ["Linear", "ReLU", "Linear"]
    assert dict(heads.items())["a"] is heads["a"]
    assert isinstance(heads.pop("b"), nn.ReLU)
    del heads["c"]
    assert ("a" in heads, "c" in heads, len(heads)) == (True, False, 1)
    heads.update([("d", nn.Tanh())])
    assert repr(heads) == "ModuleDict(\n  (a): Linear(2, 1, bias=True)\n  (d): Tanh()\n)"


def test_parameters_in_lists_and_dicts_are_trained() -> None:
    model: Any = nn.Module()
    model.scales = nn.ParameterList([Tensor.ones(2), nn.Parameter(Tensor.zeros(3))])
    model.named = nn.ParameterDict({"gain": Tensor.ones(1)})
    model.scales.append(Tensor.ones(()))
    assert [name for name, _ in model.named_parameters()] == [
        "scales.0",
        "scales.1",
        "scales.2",
        "named.gain",
    ]
    assert repr(model.scales) == "ParameterList((2,), (3,), ())"
    assert repr(model.named) == "ParameterDict(gain: (1,))"
    (model.scales[0].sum() + model.named["gain"].sum()).backward()
    assert model.scales[0].grad is not None


def test_identity_takes_anything() -> None:
    x = Tensor.ones(2)
    assert nn.Identity(3, some="thing")(x) is x


def test_a_residual_adds_what_it_was_given() -> None:
    layer = nn.Linear(3, 3)
    block, x = nn.Residual(layer), Tensor.ones(2, 3)
    np.testing.assert_allclose(block(x).numpy(), (layer(x) + x).numpy())
    assert names(block) == ["module.weight", "module.bias"]
    wider = nn.Residual(nn.Linear(3, 5), nn.Linear(3, 5, bias=False))
    assert wider(x).shape == (2, 5)
    assert names(wider) == ["module.weight", "module.bias", "shortcut.weight"]


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: nn.Sequential(nn.ReLU(), lambda x: x),  # type: ignore[arg-type]
        TypeError,
        "[Sequential] expected Modules, got function at position 1",
    ),
    (
        lambda: nn.Sequential({"a.b": nn.ReLU()}),
        ValueError,
        "[Sequential] expected different names without dots, got ['a.b']",
    ),
    (
        lambda: nn.ModuleList([nn.ReLU(), 3]),
        TypeError,
        "[ModuleList] expected Modules, got int at position 1",
    ),
    (
        lambda: nn.ModuleDict({"a": 3}),
        TypeError,
        "[ModuleDict] expected Modules, got int at 'a'",
    ),
    (
        lambda: nn.ModuleDict({"a.b": nn.ReLU()}),
        ValueError,
        "[ModuleDict] expected names without dots, got 'a.b'",
    ),
    (
        lambda: nn.ParameterList([1.0]),
        TypeError,
        "[ParameterList] expected Parameters or Tensors, got float at position 0",
    ),
    (
        lambda: nn.Residual(nn.Linear(3, 4))(Tensor.ones(2, 3)),
        ValueError,
        "[Residual] expected one shape to add, got (2, 4) of the module and (2, 3) beside it: "
        "give a shortcut that makes the shapes equal",
    ),
    (lambda: net().__setitem__(5, nn.ReLU()), IndexError, "out of range"),
]


@pytest.mark.parametrize(("build", "kind", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_what_does_not_belong_in_a_container_is_named(
    build: Callable[[], Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        build()
