"""Names of NumPy and PyTorch raise errors that say ours."""

from __future__ import annotations

import operator
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy import numpy as tnp
from tinygrad_cupy.ops import foreign_names, hints, protocols

NUMPY: list[tuple[str, Callable[[Any], Any]]] = [
    ("isnat] expected arrays, got a Tensor: no operation of tensors does it; take", np.isnat),
    ("spam (vectorized)] expected arrays, got a Tensor: use tg.vmap(", np.frompyfunc(abs, 1, 1)),
]


@pytest.mark.parametrize(("said", "call"), NUMPY)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_functions_of_numpy_that_nothing_does(said: str, call: Any, requires_grad: bool) -> None:
    x = Tensor([1.0, 2.0], requires_grad=requires_grad)
    with pytest.raises(TypeError) as raised:
        call(x)
    assert str(raised.value).startswith(f"[numpy.{said.replace('spam', 'abs')}")
    assert str(raised.value).endswith("take the values out of the graph with .detach().numpy()")


def test_a_ufunc_without_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(protocols.TABLE, np.spacing, np.cbrt.__call__)
    with pytest.raises(TypeError, match=r"^\[numpy.spacing\] has no .at for tensors$"):
        np.spacing.at(Tensor([1.0]), [0])


np_: Any = tnp

SIGNS = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul),
    *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
]


@pytest.mark.parametrize("sign", SIGNS)
def test_arrays_and_numbers_on_the_left(sign: Any) -> None:
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    array = np.array([2.0, 2.0, 2.0], np.float32)
    for left in (array, np.float64(2), np.float32(2), np.int64(2)):
        if sign is operator.matmul and left is not array:
            continue
        found = sign(left, x)
        assert type(found) is Tensor
        np.testing.assert_array_equal(found.numpy(), sign(np.asarray(left, np.float32), x.numpy()))
        assert found.requires_grad is (found.dtype == np.float32)
        assert found.dtype in (np.float32, np.bool_)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("clamp", ".clip(low, high)"),
        ("view", ".reshape(*shape)"),
        ("mm", "x @ y"),
        ("t", ".T"),
        ("cuda", '.to("cuda")'),
        ("cat", "tg.concat(tensors, axis)"),
        ("numel", ".size"),
        ("masked_fill", ".where(~mask, value)"),
        ("gather", "np.take_along_axis(x, indices, axis)"),
        ("arctan", "np.arctan(x)"),
        ("median", "np.median(x)"),
        ("exp_", "x[...] = x.exp()"),
        ("clamp_", "x[...] = x.clip(low, high)"),
        ("arctan_", "x[...] = np.arctan(x)"),
        ("lerp_", "x[...] = x + w * (y - x)"),
    ],
)
def test_names_of_pytorch(name: str, ours: str) -> None:
    x = Tensor([1.0])
    with pytest.raises(AttributeError) as raised:
        getattr(x, name)
    assert str(raised.value) == f"[Tensor] has no {name}: use {ours}"
    assert not hasattr(x, name)
    assert name not in dir(x)


def test_names_that_nobody_has() -> None:
    for name in ("nonsense", "nonsense_", "_clamp", "__array_struct__", "float64"):
        with pytest.raises(AttributeError, match=rf"^'Tensor' object has no attribute '{name}'$"):
            getattr(Tensor([1.0]), name)


def test_a_name_that_became_ours_is_ours() -> None:
    foreign = {*foreign_names.METHODS, *foreign_names.SAME, *foreign_names.IN_PLACE}
    named = {name for kind in Tensor.__mro__ if kind is not hints.HintMixin for name in vars(kind)}
    for name in foreign & named:
        assert hasattr(Tensor([1.0]), name), name
        assert name in dir(Tensor([1.0])), name


def test_names_of_functions() -> None:
    for name, ours in (
        ("cat", "tg.concat(tensors, axis)"),
        ("exp", "x.exp()"),
        ("clamp", "x.clip(low, high)"),
        ("mm", "x @ y"),
        ("arctan", "np.arctan(x)"),
        ("einsum", "np.einsum(x)"),
        ("as_tensor", "Tensor(…)"),
    ):
        with pytest.raises(AttributeError) as raised:
            getattr(tg, name)
        assert str(raised.value) == f"module 'tinygrad_cupy' has no attribute '{name}': use {ours}"
    for name in ("nonsense", "_exp", "exp_"):
        with pytest.raises(AttributeError, match=rf"has no attribute '{name}'$"):
            getattr(tg, name)
    assert not set(foreign_names.FUNCTIONS) & set(tg.__all__)
    with pytest.raises(AttributeError, match=r"no attribute 'clamp': use x.clip\(low, high\)$"):
        np_.clamp  # noqa: B018


def test_answers_name_what_there_is() -> None:
    answers = [*foreign_names.METHODS.values(), *foreign_names.FUNCTIONS.values()]
    for answer in [*answers, *foreign_names.NUMPY.values()]:
        for name in re.findall(r"(?:^|\bx|Tensor|and )\.([a-z_A-Z]+)", answer):
            assert hasattr(Tensor, name), answer
        for name in re.findall(r"\btg\.([a-z_]+)", answer):
            assert hasattr(tg, name), answer
        for name in re.findall(r"\bnp\.([a-z_.]+[a-z])", answer):
            assert operator.attrgetter(name)(np), answer


DIM: Any = {"dim": 0}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: x.sum(dim=0), "[sum] takes axis=, not dim="),
        (lambda x: x.max(axis=0, keepdim=True), "[max] takes keepdims=, not keepdim="),
        (lambda x: x.softmax(dim=-1), "[softmax] takes axis=, not dim="),
        (lambda x: x.unsqueeze(dim=0), "[unsqueeze] takes axis=, not dim="),
        (lambda x: x.flatten(start_dim=1), "[flatten] takes start_axis=, not start_dim="),
        (lambda x: np_.sum(x, dim=0), "[sum] takes axis=, not dim="),
        (lambda x: np_.concatenate(tensors=[x]), "[concatenate] takes arrays=, not tensors="),
        (lambda x: x.clip(a_min=0.0), "[clip] takes low=, not a_min="),
        (lambda x: tg.concat([x, x], **DIM), "[concat] takes axis=, not dim="),
        (lambda x: tg.stack([x, x], **DIM), "[stack] takes axis=, not dim="),
        (lambda x: x.sum(nonsense=0), "Tensor.sum() got an unexpected keyword argument 'nonsense'"),
        (lambda x: x.relu(inplace=True), "Tensor.relu() got an unexpected keyword argument 'inp"),
    ],
)
def test_keywords_of_pytorch(call: Any, said: str) -> None:
    with pytest.raises(TypeError) as raised:
        call(Tensor([[1.0, 2.0]]))
    assert str(raised.value).startswith(said)


def test_methods_are_those_of_tensor() -> None:
    for name in ("sum", "exp", "__add__", "conv2d", "cross_entropy"):
        assert getattr(Tensor, name).__qualname__ == f"Tensor.{name}"
    assert pickle.loads(pickle.dumps(Tensor.sum)) is Tensor.sum
