"""Indexing means what NumPy means by it, and repeats add up in the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
from records.indexing import draw_key
from support.examples import examples
from tinygrad_cupy import Tensor, backend, kernels

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


def check(values: np.ndarray, key: Any, device: str) -> None:
    """Values as NumPy's; the gradient as a loop over the elements taken."""
    x = Tensor(backend.to_device(values, device), requires_grad=True)
    expected = values[key]
    y = x[key]
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y.numpy(), expected)
    weights = np.random.default_rng(0).standard_normal(expected.shape)
    gradient = np.zeros(values.size)
    positions = np.asarray(np.arange(values.size).reshape(values.shape)[key])
    for position, weight in zip(positions.ravel(), weights.ravel(), strict=True):
        gradient[position] += weight
    found = tg.grad(y, x, Tensor(backend.to_device(weights, device)))
    np.testing.assert_allclose(found.numpy(), gradient.reshape(values.shape), atol=1e-12)


def values_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape)


@examples(20)
@given(data=st.data())
def test_basic_keys(device: str, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    check(values_of(shape), key, device)


@examples(20)
@given(data=st.data())
def test_integer_arrays(device: str, data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    result = hnp.array_shapes(min_dims=0, max_dims=2, max_side=5)
    key = data.draw(hnp.integer_array_indices(shape, result_shape=result))
    check(values_of(shape), key, device)


@examples(20)
@given(data=st.data())
def test_keys_of_all_kinds(device: str, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    check(values_of(shape), draw_key(data.draw, shape), device)


@pytest.mark.parametrize(
    "key",
    [
        [0, 2, 0, 0],
        ([0, 0, 1], [1, 1, 2]),
        ((0, 0, 1), (1, 1, 2)),  # sequences inside of a key, which NumPy takes for arrays
        ((0, 0, 1),),
        (range(2), [0, 0]),
        ([[0], [0]], [1, 1]),
        (slice(None), [1, 1]),
        ([0, 0], slice(None), None),
        (0, ..., [3, 3]),
        ([0, 1], 0, [2, 2]),  # arrays apart: their axis goes first
        (None, [0, 0], ...),
        np.array([[True] * 4, [False] * 4, [True, False, True, False]]),
        (np.array([True, False, True]), 1),
        (np.array([True, False, True]), [1, 3]),
        np.int64(1),
        (np.int32(1), np.uint8(2)),
        [True, False, True],
        [],
        True,
        False,
        (),
        ...,
        None,
        np.zeros((0,), np.int64),
        np.array(2),
    ],
    ids=str,
)
def test_particular_keys(key: Any, device: str) -> None:
    check(values_of((3, 4, 5)[: 3 if isinstance(key, tuple) else 2]), key, device)


def test_tensors_as_keys(device: str) -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], device=device, requires_grad=True)
    rows = Tensor([1, 1, 0], device=device)
    assert x[rows].tolist() == [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    assert x[x > 1.5].tolist() == [2.0, 3.0, 4.0]
    assert x[rows, Tensor([0, 1, 0], device=device)].tolist() == [3.0, 4.0, 1.0]
    assert tg.grad(x[rows].sum(), x).tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_host_keys_move_to_the_device(device: str) -> None:
    x = Tensor([1.0, 2.0, 3.0], device=device)
    assert x[np.array([2, 0])].tolist() == [3.0, 1.0]
    assert x[np.array([True, False, True])].tolist() == [1.0, 3.0]


def test_basic_indexing_is_a_view() -> None:
    x = Tensor(np.zeros((3, 4)))
    keys: list[Any] = [0, slice(1, 3), (slice(None), slice(None, None, -2)), (None, ...)]
    for key in keys:
        assert np.shares_memory(x[key].data, x.data)
    assert not np.shares_memory(x[[0, 1]].data, x.data)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (3, "index 3 is out of bounds for axis 0 with size 2"),
        ((0, 0, 0), "too many indices for array: array is 2-dimensional, but 3 were indexed"),
        ((..., ...), "an index can only have a single ellipsis ('...')"),
        ([0, 2], "index 2 is out of bounds for axis 0 with size 2"),
    ],
)
def test_keys_that_do_not_fit(key: Any, text: str) -> None:
    with pytest.raises(IndexError) as raised:
        Tensor.ones(2, 3)[key]
    assert str(raised.value) == f"[index] {text} (tensor of shape (2, 3))"


def test_a_mask_of_another_shape() -> None:
    with pytest.raises(IndexError, match=r"^\[index\] boolean index did not match") as raised:
        Tensor.ones(2, 3)[np.ones(3, bool)]
    assert str(raised.value).endswith("(tensor of shape (2, 3))")


@pytest.mark.parametrize("key", [1.0, "name", np.array([0.5]), [0.5], (0, 1j)])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(IndexError, match=r"^\[index\] "):
        Tensor.ones(2, 3)[key]


def test_many_repeats_add_up_exactly(device: str) -> None:
    """In float32 a running sum of 20,000 ones is exact; lost updates would show."""
    x = Tensor(backend.to_device(np.zeros(7, np.float32), device), requires_grad=True)
    key = np.random.default_rng(0).integers(0, 7, 20_000)
    found = tg.grad(x[key].sum(), x)
    assert found.tolist() == np.bincount(key, minlength=7).tolist()


def test_the_gradient_of_repeats_is_reproducible(device: str) -> None:
    rng = np.random.default_rng(0)
    key = rng.integers(0, 5, 10_000)
    weights = Tensor(backend.to_device(rng.standard_normal(10_000).astype(np.float32), device))
    x = Tensor(backend.to_device(np.zeros(5, np.float32), device), requires_grad=True)
    runs = {tg.grad(x[key], x, weights).numpy().tobytes() for _ in range(5)}
    assert len(runs) == 1


@examples(40)
@given(data=st.data())
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_parts_of_one_array(device: str, dtype: str, data: st.DataObject) -> None:
    """The gradients of parts, which may overlap, and of the whole beside them, are added up."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    keys = data.draw(st.lists(hnp.basic_indices(shape, allow_newaxis=True), max_size=5))
    rng = np.random.default_rng(0)
    x = Tensor(backend.to_device(values_of(shape).astype(dtype), device), requires_grad=True)
    moved, total, expected = x * 2, x.sum() * 0, np.zeros(shape)
    for key in keys:
        weight: Any = np.asarray(rng.integers(-8, 9, np.zeros(shape)[key].shape), dtype)
        total = total + (moved[key] * Tensor(backend.to_device(weight, device))).sum()
        expected[key] += 2 * weight
    if data.draw(st.booleans()):
        total, expected = total + moved.sum(), expected + 2
    found = tg.grad(total, x)
    np.testing.assert_array_equal(found.numpy(), expected.astype(dtype))


def test_parts_that_do_not_overlap_are_stored_in_one_array(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = kernels.indexing.scattered

    def noted(*given: Any) -> Any:
        made.append(given[1])
        return real(*given)

    monkeypatch.setattr(kernels.indexing, "scattered", noted)
    x = Tensor(backend.to_device(values_of((4, 9)), device), requires_grad=True)
    a, b, c = (x * 2).split(3, 1)
    loss = (a * b).sum() + c.exp().sum() + (x * 3)[0, ::2].sum() + (x * 3)[0, 1::2].sum()
    first = tg.grad(loss, x, create_graph=True)
    count = len(made)
    second = tg.grad(loss, x)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert len(made) - count == 3  # of the split's parts one; x * 3 is made twice


def test_many_parts_take_a_time_that_grows_as_they_do(device: str) -> None:
    """Beyond `MOST_PARTS` they are added up, with the same result."""
    x = Tensor(backend.to_device(values_of((200, 3)), device), requires_grad=True)
    rows = x * 2
    total = sum((rows[i] * i for i in range(1, 200)), rows[0])
    found = tg.grad(total.sum(), x)
    expected = 2.0 * np.maximum(np.arange(200.0), [1.0] + [0.0] * 199)
    np.testing.assert_array_equal(found.numpy(), np.repeat(expected[:, None], 3, 1))


def test_a_part_of_a_graph_that_is_gone_is_noticed_in_any_order(device: str) -> None:
    x = Tensor(backend.to_device(values_of((4,)), device), requires_grad=True)
    for first in (True, False):
        h = x * 2
        a, b = h[:2], h[2:]
        a.sum().backward()
        terms = [a.reshape(2, 1).sum(), b.sum()]
        total = terms[0] + terms[1] if first else terms[1] + terms[0]
        with pytest.raises(RuntimeError, match=r"second time|retain_graph"):
            tg.grad(total, h)
