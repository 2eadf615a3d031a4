"""Gradients of `cg` and of `odeint` beside JAX's."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_jax
from tinygrad_cupy import Tensor
from tinygrad_cupy.linalg import cg

jax = import_jax()


@pytest.fixture(autouse=True)
def _float64() -> Any:
    with jax.enable_x64(True):
        yield


@pytest.mark.slow
def test_gradients_of_cg() -> None:
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((5, 5)), rng.standard_normal(5)

    def ours(w: Any, b: Any) -> Any:
        return (cg(lambda v: w.permute(1, 0) @ (w @ v) + v * 5, b, rtol=1e-13)[0] ** 3).sum()

    def theirs(w: Any, b: Any) -> Any:
        x, _ = import_module("jax.scipy.sparse.linalg").cg(
            lambda v: w.T @ (w @ v) + v * 5, b, tol=1e-13
        )
        return (x**3).sum()

    found = tg.grad(ours, (0, 1))(Tensor(w), Tensor(b))
    expected = jax.grad(theirs, (0, 1))(w, b)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), np.asarray(other), rtol=1e-8)
    second = tg.hessian(lambda b: ours(Tensor(w), b))(Tensor(b)).numpy()
    np.testing.assert_allclose(second, jax.hessian(theirs, 1)(w, b), rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_gradients_of_odeint() -> None:
    y0, t, rate = np.array([1.0, 0.3]), np.array([0.0, 0.4, 1.5, 2.0]), np.array([0.7, 1.9])
    weights = np.random.default_rng(0).standard_normal((4, 2))

    def ours(y0: Any, t: Any, rate: Any) -> Any:
        def slope(y: Any, t: Any, rate: Any) -> Any:
            return tg.stack([y[1], -rate[1] * y[0].sin() - rate[0] * y[1] + t.cos()])

        y = tg.integrate.odeint(slope, y0, t, rate, rtol=1e-11, atol=1e-11)
        return (y * Tensor(weights)).sum()

    def theirs(y0: Any, t: Any, rate: Any) -> Any:
        def slope(y: Any, t: Any, rate: Any) -> Any:
            return jax.numpy.stack(
                [y[1], -rate[1] * jax.numpy.sin(y[0]) - rate[0] * y[1] + jax.numpy.cos(t)]
            )

        y = import_module("jax.experimental.ode").odeint(slope, y0, t, rate, rtol=1e-11, atol=1e-11)
        return (y * weights).sum()

    value = float(theirs(y0, t, rate))
    assert ours(*map(Tensor, (y0, t, rate))).item() == pytest.approx(value, rel=1e-8)
    found = tg.grad(ours, (0, 1, 2))(*map(Tensor, (y0, t, rate)))
    expected = jax.grad(theirs, (0, 1, 2))(y0, t, rate)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), np.asarray(other), rtol=1e-6, atol=1e-7)
