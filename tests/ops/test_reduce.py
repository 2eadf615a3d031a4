"""Reductions where it is hard: ties, extreme values, empty axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor

pytestmark = pytest.mark.usefixtures("device")


@pytest.mark.parametrize("name", ["max", "min"])
def test_equal_extrema_share_the_gradient(name: str) -> None:
    x = Tensor([[2.0, 2.0, 2.0, 2.0], [1.0, 3.0, 3.0, 1.0]], requires_grad=True)
    found = tg.grad(getattr(x, name)(axis=1).sum(), x)
    second = [0.0, 0.5, 0.5, 0.0] if name == "max" else [0.5, 0.0, 0.0, 0.5]
    assert found.tolist() == [[0.25] * 4, second]
    everywhere = tg.grad(getattr(x, name)(), x)
    assert everywhere.numpy().sum() == 1.0


def test_positions_are_of_the_first_of_equals() -> None:
    x = Tensor([[0.0, 5.0, 5.0], [1.0, 1.0, 0.0]])
    assert x.argmax(1).tolist() == [1, 0]
    assert x.argmin(0).tolist() == [0, 1, 1]
    assert x.argmax().item() == 1
    assert x.argmax(keepdims=True).shape == (1, 1)


def test_softmax_of_large_numbers() -> None:
    x = Tensor([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]], dtype="float64", requires_grad=True)
    shares = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(x.softmax().numpy(), shares)
    logs = np.array([[0, -1e4, -2e4], np.full(3, -math.log(3))])
    np.testing.assert_allclose(x.log_softmax().numpy(), logs)
    np.testing.assert_allclose(x.logsumexp(1).numpy(), [1e4, -1e4 + math.log(3)])
    for y in (x.softmax(), x.log_softmax(), x.logsumexp(1)):
        assert np.isfinite(tg.grad(y.sum(), x).numpy()).all()


def test_logsumexp_of_infinities() -> None:
    x = Tensor([[-math.inf, -math.inf], [math.inf, 0.0], [-math.inf, 3.0]])
    assert x.logsumexp(1).tolist() == [-math.inf, math.inf, 3.0]


@pytest.mark.parametrize(
    ("shape", "axis"), [((0, 3), 0), ((0, 3), 1), ((3, 0), None), ((0, 0), 1), ((2, 0, 3), (0, 1))]
)
def test_logsumexp_of_nothing(shape: Any, axis: Any) -> None:
    x = Tensor(np.zeros(shape), device=tg.default_device(), requires_grad=True)
    y = x.logsumexp(axis)
    np.testing.assert_array_equal(y.numpy(), np.logaddexp.reduce(x.numpy(), axis))
    assert tg.grad(y.sum(), x).shape == shape


def test_logsumexp_where_all_is_minus_infinity() -> None:
    x = Tensor([[-math.inf, -math.inf], [-math.inf, 1.0]], requires_grad=True)
    (found,) = tg.grad([x.logsumexp(1)], [x], [Tensor([1.0, 1.0])], create_graph=True)
    assert found.tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert np.isfinite(tg.grad(found.sum(), x).numpy()).all()


def test_softmax_leaves_out_what_is_minus_infinity() -> None:
    x = Tensor([1.0, -math.inf, 1.0], requires_grad=True)
    y = x.softmax()
    assert y.tolist() == [0.5, 0.0, 0.5]
    assert tg.grad(y[0], x).tolist() == [0.25, 0.0, -0.25]


def test_an_empty_tuple_of_axes_reduces_nothing() -> None:
    x = Tensor([[1.0, 2.0]])
    assert x.sum(()).tolist() == [[1.0, 2.0]]
    assert x.mean(()).tolist() == [[1.0, 2.0]]
    assert x.max(()).tolist() == [[1.0, 2.0]]


def test_sums_over_no_elements() -> None:
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    assert x.sum().item() == 0.0
    assert x.sum(0).tolist() == [0.0] * 3
    assert x.sum(1).shape == (0,)
    assert tg.grad(x.sum(), x).shape == (0, 3)


@pytest.mark.parametrize("axis", [0, -1, (0, 2), (-1, 0), None, np.int64(1), [0, 1]])
def test_axes_as_numpy_counts_them(axis: Any) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 4))
    x = Tensor(values, device=tg.default_device())
    plain = tuple(axis) if isinstance(axis, list) else axis
    for name in ("sum", "mean", "max", "min", "std", "var"):
        for keepdims in (False, True):
            found = getattr(x, name)(axis, keepdims=keepdims)
            expected = getattr(values, name)(axis=plain, keepdims=keepdims)
            assert found.shape == expected.shape
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_variance_of_numbers_far_from_zero() -> None:
    """Two passes: the sum of squares minus the square of the sum would give 0 or less."""
    x = Tensor([1e8, 1e8 + 1, 1e8 + 2], dtype="float64")
    assert x.var().item() == pytest.approx(2 / 3)
    assert x.var(correction=1).item() == pytest.approx(1.0)


def test_means_and_sums_of_integers() -> None:
    x = Tensor([[1, 2], [3, 5]])
    assert x.sum().item() == 11
    assert x.mean(0).tolist() == [2.0, 3.5]
    assert Tensor([200, 100], dtype="uint8").sum().item() == 300
    assert Tensor([True, True, False]).sum().item() == 2
