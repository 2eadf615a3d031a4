"""Gradients of what is written in place in loops as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.inplace import zeros
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

pytestmark = pytest.mark.usefixtures("device")


Loop = Callable[[Any, Any, Any], Any]


def heat(np_like: Any, x: Any, k: Any) -> Any:
    """An explicit step of the heat equation, in place."""
    u = x * 1.0
    for _ in range(8):
        u[1:-1] += k * (u[2:] - 2 * u[1:-1] + u[:-2])
    return u


def running_filter(np_like: Any, x: Any, k: Any) -> Any:
    """y[i] = k x[i] + (1 - k) y[i - 1]"""
    y = np_like(x.shape)
    y[0] = x[0]
    for i in range(1, len(x)):
        y[i] = k * x[i] + (1 - k) * y[i - 1]
    return y


def gauss_seidel(np_like: Any, x: Any, k: Any) -> Any:
    """Sweeps over -u'' = x, each from what the sweep has found already."""
    u = np_like(x.shape)
    for _ in range(3):
        for i in range(1, len(x) - 1):
            u[i] = (u[i - 1] + u[i + 1] + k * x[i]) / 2
    return u


def logistic_map(np_like: Any, x: Any, k: Any) -> Any:
    """Each from the one before, not linearly: the values are saved."""
    y = np_like(x.shape)
    y[0] = x[0] * 0.3
    for i in range(1, len(x)):
        y[i] = 3 * k * y[i - 1] * (1 - y[i - 1])
    return y


def rows(np_like: Any, x: Any, k: Any) -> Any:
    """A matrix, row by row, each from the last."""
    m = np_like((4, len(x)))
    m[0] = x
    for i in range(1, 4):
        m[i] = m[i - 1] * k + m[i - 1, ::-1]
    m = m * 1.0  # the products above have saved what is written next
    m[:, 0] *= 2
    return m


def cumulated(np_like: Any, x: Any, k: Any) -> Any:
    y = x * k
    for i in range(1, len(x)):
        y[i] += y[i - 1]
    return y


def triangle(np_like: Any, x: Any, k: Any) -> Any:
    """Forward substitution with a matrix that is filled element by element."""
    n = len(x)
    a = np_like((n, n))
    for i in range(n):
        for j in range(i + 1):
            a[i, j] = 1.0 / (1 + i + j) + k * (i == j)
    y = np_like(x.shape)
    for i in range(n):
        y[i] = (x[i] - (a[i, :i] * y[:i]).sum()) / a[i, i]
    return y


LOOPS: list[Loop] = [heat, running_filter, gauss_seidel, logistic_map, rows, cumulated, triangle]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_gives_what_numpy_gives_and_its_slope(loop: Loop) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1, 7)
    k, eps = 0.3, 1e-6
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    factor = Tensor(k, dtype="float64", requires_grad=True)
    y = loop(lambda shape: zeros(*shape), x, factor)
    np.testing.assert_allclose(y.numpy(), loop(np.zeros, values, k), rtol=1e-12)
    weights = np.random.default_rng(1).standard_normal(y.shape)
    loss = (y * to_device(weights, x.device)).sum()
    by_x, by_k = tg.grad(loss, [x, factor])

    def numeric(step: Any, k_step: float) -> float:
        above = loop(np.zeros, values + eps * step, k + eps * k_step)
        below = loop(np.zeros, values - eps * step, k - eps * k_step)
        return float(((above - below) * weights).sum() / (2 * eps))

    expected = [numeric(unit, 0.0) for unit in np.eye(7)]
    np.testing.assert_allclose(by_x.numpy(), expected, rtol=1e-6, atol=1e-8)
    assert by_k.item() == pytest.approx(numeric(np.zeros(7), 1.0), rel=1e-6)
    assert tg.gradcheck(lambda x, k: loop(lambda shape: zeros(*shape), x, k), [x, factor], order=2)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_in_a_batch(loop: Loop) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1, (3, 7))
    xs = Tensor(values, device=tg.default_device())
    found = tg.vmap(lambda x: loop(lambda shape: zeros(*shape), x, 0.3))(xs)
    for i in range(3):
        np.testing.assert_allclose(found[i].numpy(), loop(np.zeros, values[i], 0.3), rtol=1e-12)
