"""Norms as NumPy has them, and what they are at 0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor

ORDERS = [None, 0, 0.5, 1, 1.5, 2, 3, -1, -2, -0.5, math.inf, -math.inf]


@pytest.mark.parametrize("ord", ORDERS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_vectors_as_numpy(ord: Any, keepdims: bool, device: str, rng: np.random.Generator) -> None:
    for shape, axis in (((5,), None), ((5,), 0), ((3, 4), 1), ((3, 4), -2), ((2, 3, 4), 1)):
        x = rng.standard_normal(shape)
        x.flat[1] = 0
        with np.errstate(divide="ignore"):
            expected = np.linalg.norm(x, ord, axis, keepdims)
        found: Any = np.linalg.norm(Tensor(x, device=device), ord, axis, keepdims)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("ord", [None, "fro", 1, -1, math.inf, -math.inf])
@pytest.mark.parametrize("keepdims", [False, True])
def test_matrices_as_numpy(ord: Any, keepdims: bool, device: str, rng: np.random.Generator) -> None:
    for shape, axis in (
        ((3, 4), None),
        ((3, 4), (1, 0)),
        ((2, 3, 4), (-1, 0)),
        ((2, 3, 4), (1, 2)),
    ):
        x = rng.standard_normal(shape)
        found: Any = np.linalg.norm(Tensor(x, device=device), ord, axis, keepdims)
        expected = np.linalg.norm(x, ord, axis, keepdims)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)


def test_without_an_order_all_is_one_vector(device: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4))
    there = Tensor(x, device=device)
    for keepdims in (False, True):
        found: Any = np.linalg.norm(there, None, None, keepdims)
        expected = np.linalg.norm(x, None, None, keepdims)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)
    assert tg.numpy.linalg.norm(Tensor(-3.0, device=device)).item() == 3
    assert tg.numpy.linalg.norm(Tensor([3, 4], device=device)).item() == 5
    assert tg.numpy.linalg.norm(Tensor(np.zeros(0), device=device)).item() == 0
    assert math.isnan(tg.numpy.linalg.norm(Tensor([math.nan, 1.0], device=device)).item())


@pytest.mark.parametrize("ord", [2, 1, 3, 0.5, -1, math.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_slope_at_0_is_0(ord: Any, dtype: str, device: str) -> None:
    for values in ([0.0, 0.0, 0.0], [0.0]):
        x = Tensor(np.array(values, dtype), device=device, requires_grad=True)
        y = tg.numpy.linalg.vector_norm(x, ord=ord)
        first = tg.grad(y, x, create_graph=True)
        assert (y.item(), first.tolist()) == (0.0, [0.0] * len(values))
        assert tg.grad(first.sum(), x, allow_unused=True).tolist() == [0.0] * len(values)


def test_an_element_that_is_0_gets_no_gradient(device: str) -> None:
    for ord in (0.5, 1, 1.5, 2, 3):
        x = Tensor([3.0, 0.0, -4.0], device=device, requires_grad=True)
        slope = tg.grad(tg.numpy.linalg.vector_norm(x, ord=ord), x).tolist()
        assert slope[1] == 0
        assert all(map(math.isfinite, slope))
    x = Tensor([[3.0, 4.0], [0.0, 0.0]], device=device, requires_grad=True)
    by_row = tg.grad(tg.numpy.linalg.norm(x, axis=1).sum(), x)
    np.testing.assert_allclose(by_row.numpy(), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
