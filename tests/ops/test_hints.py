"""Names of NumPy and PyTorch raise errors that say ours."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import hints

NUMPY: list[tuple[str, Callable[[Any], Any]]] = [
    ("exp] expected arrays, got a Tensor: use x.exp(), or take", np.exp),
    ("absolute] expected arrays, got a Tensor: use x.abs(), or take", np.abs),
    ("sum] expected arrays, got a Tensor: use x.sum(), or take", np.sum),
    ("mean] expected arrays, got a Tensor: use x.mean(), or take", np.mean),
    ("concatenate] expected arrays, got a Tensor: use tg.concat(", lambda x: np.concatenate([x])),
    ("stack] expected arrays, got a Tensor: use tg.stack(…), or", lambda x: np.stack([x, x])),
    ("where] expected arrays, got a Tensor: use tg.where(…), or", lambda x: np.where(True, x, x)),
    ("expand_dims] expected arrays, got a Tensor: use x.unsq", lambda x: np.expand_dims(x, 0)),
    ("arctan] expected arrays, got a Tensor: no operation of tensors does it; take", np.arctan),
    ("add] expected arrays", lambda x: np.add.reduce(x)),
]


@pytest.mark.parametrize(("said", "call"), NUMPY)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_functions_of_numpy(said: str, call: Any, requires_grad: bool) -> None:
    x = Tensor([1.0, 2.0], requires_grad=requires_grad)
    with pytest.raises(TypeError) as raised:
        call(x)
    assert str(raised.value).startswith(f"[numpy.{said}")
    assert str(raised.value).endswith("take the values out of the graph with .detach().numpy()")


def test_functions_of_numpy_that_compare_take_values_outside_the_graph() -> None:
    x = Tensor([1.0, 2.0])
    assert np.allclose(x, [1.0, 2.0])
    assert np.array_equal(x, np.array([1.0, 2.0]))
    with pytest.raises(RuntimeError, match=r"use \.detach\(\) first"):
        np.allclose(x.requires_grad_(), [1.0, 2.0])


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


def test_an_array_that_a_tensor_is_added_to() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    total: Any = np.zeros(2, np.float32)
    total += x
    assert type(total) is Tensor
    assert total.requires_grad
    with pytest.raises(TypeError, match=r"^\[numpy\.add\] expected arrays"):
        np.add(np.zeros(2), x, out=np.zeros(2))


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
        ("masked_fill", ".where(mask == 0, value)"),
    ],
)
def test_names_of_pytorch(name: str, ours: str) -> None:
    x = Tensor([1.0])
    with pytest.raises(AttributeError) as raised:
        getattr(x, name)
    assert str(raised.value) == f"[Tensor] has no {name}: use {ours}"
    assert not hasattr(x, name)
    assert name not in dir(x)


def test_no_name_of_ours_is_taken() -> None:
    for name in hints._FOREIGN:
        assert not any(name in vars(kind) for kind in Tensor.__mro__ if kind is not hints.HintMixin)


def test_names_of_functions() -> None:
    with pytest.raises(AttributeError) as raised:
        tg.cat  # noqa: B018
    assert str(raised.value) == (
        "module 'tinygrad_cupy' has no attribute 'cat': use tg.concat(tensors, axis)"
    )
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        tg.nonsense  # noqa: B018
    assert not set(hints.FUNCTIONS) & set(tg.__all__)


DIM: Any = {"dim": 0}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: x.sum(dim=0), "[sum] takes axis=, not dim="),
        (lambda x: x.max(axis=0, keepdim=True), "[max] takes keepdims=, not keepdim="),
        (lambda x: x.softmax(dim=-1), "[softmax] takes axis=, not dim="),
        (lambda x: x.unsqueeze(dim=0), "[unsqueeze] takes axis=, not dim="),
        (lambda x: x.flatten(start_dim=1), "[flatten] takes start_axis=, not start_dim="),
        (lambda x: x.clip(min=0.0), "[clip] takes low=, not min="),
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
