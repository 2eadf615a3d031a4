"""Which dtype comes out: scalars never widen, tensors promote as NumPy arrays do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor

pytestmark = pytest.mark.usefixtures("device")

WIDE_SCALARS = [2, 2.0, np.float64(2), np.int64(2), True, np.True_]
KEEPING: list[Callable[[Any, Any], Tensor]] = [
    lambda x, s: x + s,
    lambda x, s: s + x,
    lambda x, s: x - s,
    lambda x, s: s - x,
    lambda x, s: x * s,
    lambda x, s: x / s,
    lambda x, s: s / x,
    lambda x, s: x**s,
    lambda x, s: s**x,
    lambda x, s: x.maximum(s),
    lambda x, s: x.minimum(s),
    lambda x, s: x.where(x > 0, s),
    lambda x, s: tg.where(x > 0, s, x),
]


@pytest.mark.parametrize("scalar", WIDE_SCALARS, ids=repr)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_scalar_never_widens(scalar: Any, dtype: str) -> None:
    x = Tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    for call in KEEPING:
        y = call(x, scalar)
        assert y.dtype == dtype
        assert tg.grad(y.sum(), x).dtype == dtype


def one() -> Tensor:
    return Tensor.ones(1)


def test_a_scalar_argument_never_widens() -> None:
    wide: Any = np.float64(0.5)
    x = Tensor([1.0, 2.0], requires_grad=True)
    image = Tensor.ones(1, 1, 2, 2, requires_grad=True)
    for y in (
        x.leaky_relu(wide),
        x.elu(wide),
        x.pad(((1, 1),), wide),
        x.dropout(wide),
        x.pow(wide),
        x.clip(wide, np.float64(1.5)),
        x.layer_norm(2, eps=wide),
        x.reshape(1, 2).cross_entropy([1], label_smoothing=wide),
        image.batch_norm(one(), one(), one(), one(), momentum=wide, eps=wide),
    ):
        assert y.dtype == np.float32
        y.sum().backward()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_an_integer_tensor_meets_a_float(dtype: str) -> None:
    x = Tensor([1, 2], dtype=dtype)
    for y in (x * 2.0, x + 0.5, x / 2, 1 / x, x.maximum(1.5), x.mean(), x.exp(), x.softmax()):
        assert y.dtype == np.float32
    assert x.clip(0.5).dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_stay_integers(dtype: str) -> None:
    x = Tensor([1, 2], dtype=dtype)
    for y in (x + 1, x * 2, x**2, x.abs(), x.maximum(2), x[0], x.reshape(2, 1), x.max()):
        assert y.dtype == dtype
    for y in (x - 1, 3 - x, x - x, -x, x.minimum(2), x.minimum(x), x.clip(0, 1)):
        assert y.dtype == dtype
    assert (3 - x).tolist() == [2, 1]
    assert x.minimum(1).tolist() == [1, 1]


def test_an_unsigned_negative_wraps_as_in_numpy() -> None:
    x = Tensor([1, 2], dtype="uint8")
    assert (-x).tolist() == [255, 254]
    assert (x - 2).tolist() == [255, 0]


def test_what_is_cast_to_integers_leaves_the_graph() -> None:
    x = Tensor([1.5, 2.5], requires_grad=True)
    for dtype in ("int64", "uint8", "bool"):
        assert not x.astype(dtype).requires_grad
    found = tg.grad((x * x.astype("int64").astype("float32")).sum(), x)
    assert found.tolist() == [1.0, 2.0]  # the slope of a step is 0


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_sums_and_positions_are_int64(dtype: str) -> None:
    x = Tensor([1, 0], dtype=dtype)
    assert x.sum().dtype == np.int64
    assert x.argmax().dtype == np.int64
    assert x.argmin(0, keepdims=True).dtype == np.int64


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("float32", "float64"),
        ("float16", "float32"),
        ("float64", "int64"),
        ("int32", "int64"),
        ("uint8", "int64"),
        ("bool", "float32"),
    ],
)
def test_tensors_promote_as_arrays_do(a: str, b: str) -> None:
    x, y = Tensor([1, 1], dtype=a), Tensor([1, 1], dtype=b)
    expected = np.result_type(np.dtype(a), np.dtype(b))
    assert (x + y).dtype == (y + x).dtype == (x * y).dtype == x.maximum(y).dtype == expected
    assert tg.concat([x, y]).dtype == x.where(x == y, y).dtype == expected


def test_gradients_come_back_in_their_own_dtype() -> None:
    x = Tensor([1.0, 2.0], dtype="float32", requires_grad=True)
    y = Tensor([3.0, 4.0], dtype="float64", requires_grad=True)
    for z in (x * y, x + y, x / y, x**y, x.maximum(y), tg.concat([x, y]), x @ y):
        assert z.dtype == np.float64
        by_x, by_y = tg.grad(z.sum(), [x, y])
        assert (by_x.dtype, by_y.dtype) == (np.float32, np.float64)


def test_products_of_mixed_dtypes() -> None:
    x = Tensor.ones(2, 3, requires_grad=True)
    weight = Tensor.ones(4, 3, dtype="float64", requires_grad=True)
    bias = Tensor.ones(4, requires_grad=True)
    y = x.linear(weight, bias)
    assert y.dtype == np.float64
    assert [g.dtype.name for g in tg.grad(y.sum(), [x, weight, bias])] == [
        "float32",
        "float64",
        "float32",
    ]
    images = Tensor.ones(1, 1, 3, 3, requires_grad=True)
    kernel = Tensor.ones(1, 1, 2, 2, dtype="float64", requires_grad=True)
    for z in (images.conv2d(kernel), images.conv_transpose2d(kernel)):
        assert z.dtype == np.float64
        assert [g.dtype.name for g in tg.grad(z.sum(), [images, kernel])] == ["float32", "float64"]


def test_norms_of_mixed_dtypes() -> None:
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((4, 2)).astype("float32"), device=tg.default_device())
    x.requires_grad_()
    weight, bias = Tensor.ones(2, dtype="float64"), Tensor.zeros(2, dtype="float64")
    inputs = [x, weight.requires_grad_(), bias.requires_grad_()]
    y = x.batch_norm(weight, bias, Tensor.zeros(2), Tensor.ones(2))
    assert y.dtype == np.float64
    for create_graph in (False, True):
        found = tg.grad((y * y * y).sum(), inputs, create_graph=create_graph, retain_graph=True)
        assert [g.dtype.name for g in found] == ["float32", "float64", "float64"]
    integers = Tensor([[1, 2], [3, 5]])
    ones, zeros = Tensor.ones(2), Tensor.zeros(2)
    assert integers.batch_norm(ones, zeros, zeros.clone(), ones.clone()).dtype == np.float32
    assert integers.layer_norm(2).dtype == np.float32


def test_comparisons_are_boolean() -> None:
    x = Tensor([1.0, 2.0])
    for y in (x == 1, x != 1, x < 1, x <= np.float64(1), x > x, x >= x):
        assert y.dtype == bool
