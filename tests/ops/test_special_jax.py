"""Special functions against JAX: values, gradients of first and second order, by every argument.

PyTorch has no derivative of some of them, or not by all of their arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_jax
from tinygrad_cupy import Tensor, special

jax = import_jax()

pytestmark = pytest.mark.usefixtures("device")

POSITIVE = (0.5, 4.0)
# What JAX has of each: the ranges of the arguments, and to which order it is exact there.
CALLS: dict[str, tuple[list[tuple[float, float]], int]] = {
    "beta": ([POSITIVE, POSITIVE], 1),
    "betaln": ([POSITIVE, POSITIVE], 1),
    "gammainc": ([POSITIVE, POSITIVE], 1),
    "gammaincc": ([POSITIVE, POSITIVE], 1),
    "rel_entr": ([POSITIVE, POSITIVE], 2),
    "kl_div": ([POSITIVE, POSITIVE], 2),
    "exp1": ([POSITIVE], 1),
    "expi": ([POSITIVE], 1),
}


def derivatives(call: Callable[..., Any], grad: Any, every: tuple[int, ...], order: int) -> Any:
    """Value, gradients, and of second order the gradient of their sum, of a sum over elements."""

    def slope(*xs: Any) -> Any:
        return sum(g.sum() for g in grad(call, every)(*xs))

    def found(*xs: Any) -> list[Any]:
        second = [*grad(slope, every)(*xs)] if order > 1 else []
        return [call(*xs), *grad(call, every)(*xs), *second]

    return found


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("name", "dtype"), [("gammainc", "float32"), *[(name, "float64") for name in CALLS]]
)
def test_derivatives_are_those_of_jax(name: str, dtype: str, rng: np.random.Generator) -> None:
    ranges, order = CALLS[name]
    values = [rng.uniform(low, high, 40).astype(dtype) for low, high in ranges]
    every = tuple(range(len(ranges)))
    ours, theirs = getattr(special, name), getattr(jax.scipy.special, name)
    xs = [Tensor(v, device=tg.default_device()) for v in values]
    found = derivatives(lambda *xs: ours(*xs).sum(), tg.grad, every, order)(*xs)
    with jax.enable_x64(dtype == "float64"):
        call = derivatives(lambda *xs: theirs(*xs).sum(), jax.grad, every, order)
        expected = [np.asarray(y) for y in jax.jit(call)(*values)]
    for mine, other in zip(found, expected, strict=True):
        scale = max(1.0, float(np.abs(other).max()))
        rtol = 2e-4 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(mine.numpy(), other, rtol=rtol, atol=scale * rtol / 10)
