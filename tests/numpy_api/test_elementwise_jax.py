"""Gradients of first and second order against JAX's, of what PyTorch has not or says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.peers import import_jax
from tinygrad_cupy import Tensor

jax = import_jax()

pytestmark = pytest.mark.usefixtures("device")

POSITIVE, ANY = (0.5, 3.0), (-3.0, 3.0)
ONE = {"cbrt": POSITIVE, "sinc": ANY, "angle": ANY, "fabs": ANY, "rint": ANY}
TWO = {"heaviside": ANY, "float_power": POSITIVE, "fmod": ANY, "copysign": ANY}


def ours(name: str, values: list[np.ndarray], weights: list[np.ndarray]) -> list[Any]:
    """Value, gradients and gradients of their weighted sum."""
    xs = [Tensor(v, device=tg.default_device(), requires_grad=True) for v in values]
    w = [Tensor(v, device=tg.default_device()) for v in weights]
    y = getattr(tnp, name)(*xs)
    first = tg.grad((y * w[0]).sum(), xs, create_graph=True)
    total = sum(((g * v).sum() for g, v in zip(first, w, strict=False)), start=(y * 0).sum())
    second = tg.grad(total, xs)
    return [x.numpy() for x in (y, *first, *second)]


def theirs(name: str, values: list[np.ndarray], weights: list[np.ndarray]) -> list[Any]:
    function = getattr(jax.numpy, name)
    every = tuple(range(len(values)))

    def loss(*xs: Any) -> Any:
        return (function(*xs) * weights[0]).sum()

    def slope(*xs: Any) -> Any:
        found = jax.grad(loss, every)(*xs)
        return sum((g * v).sum() for g, v in zip(found, weights, strict=False))

    def derivatives(*xs: Any) -> Any:
        return [function(*xs), *jax.grad(loss, every)(*xs), *jax.grad(slope, every)(*xs)]

    compiled = jax.jit(derivatives)  # once, and not each of its operations
    return [np.asarray(x) for x in compiled(*values)]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", [*ONE, *TWO])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients(name: str, dtype: str) -> None:
    rng = np.random.default_rng(len(name))
    low, high = (ONE | TWO)[name]
    shapes = [(3, 4), (4,)] if name in TWO else [(50,)]
    values = [rng.uniform(low, high, shape).astype(dtype) for shape in shapes]
    weights = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    with jax.enable_x64(dtype == "float64"):
        expected = theirs(name, values, weights)
    rounding = {"float64": 1e-11, "float32": 2e-4}[dtype]
    if name == "sinc" and dtype == "float32":
        rounding = 0.1  # JAX's loses its digits near 0
    for found, exact in zip(ours(name, values, weights), expected, strict=True):
        assert found.shape == exact.shape
        np.testing.assert_allclose(found, exact, rtol=rounding, atol=rounding)
