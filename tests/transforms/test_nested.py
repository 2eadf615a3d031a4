"""Transforms inside of transforms, every two and three of them, against what they must be."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_torch
from tinygrad_cupy import Tensor

torch = import_torch()
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
X = np.random.default_rng(3).standard_normal((3, 3))
V = np.random.default_rng(4).standard_normal((3, 3))


def energy(x: Any, sqrt: Callable[[Any], Any], sin: Callable[[Any], Any]) -> Any:
    return sqrt((x * x).sum() + 1) + (sin(x) * x).sum()


Fn = Callable[[Any], Any]


def pulled(y: Any, pull: Callable[[Any], Any]) -> Any:
    return pull(y)[0]


STEPS: dict[str, tuple[Callable[[Fn], Fn], Callable[[Fn], Fn]]] = {
    "grad": (
        lambda f: tg.grad(lambda x: f(x).sum()),
        lambda f: torch.func.grad(lambda x: f(x).sum()),
    ),
    "jvp": (
        lambda f: lambda x: tg.jvp(f, (x,), (x.sin(),))[1],
        lambda f: lambda x: torch.func.jvp(f, (x,), (x.sin(),))[1],
    ),
    "jacobian": (
        lambda f: lambda x: tg.jacobian(f)(x),
        lambda f: lambda x: torch.func.jacrev(f)(x),
    ),
    "forward jacobian": (
        lambda f: lambda x: tg.jacobian(f, mode="forward")(x),
        lambda f: lambda x: torch.func.jacfwd(f)(x),
    ),
    "vmap": (
        lambda f: tg.vmap(lambda row: f(row * 2)),
        lambda f: torch.func.vmap(lambda row: f(row * 2)),
    ),
    "vjp": (
        lambda f: lambda x: pulled(*tg.vjp(f, x)),
        lambda f: lambda x: pulled(*torch.func.vjp(f, x)),
    ),
    "vmap over directions": (
        lambda f: lambda x: tg.vmap(lambda v: tg.jvp(f, (x,), (v,))[1])(tg.stack([x, x * 2])),
        lambda f: (
            lambda x: torch.func.vmap(lambda v: torch.func.jvp(f, (x,), (v,))[1])(
                torch.stack([x, x * 2])
            )
        ),
    ),
}


def compare(names: tuple[str, ...]) -> None:
    ours: Fn = lambda x: energy(x, lambda x: x.sqrt(), lambda x: x.sin())  # noqa: E731
    theirs: Fn = lambda x: energy(x, torch.sqrt, torch.sin)  # noqa: E731
    for name in names:
        ours, theirs = STEPS[name][0](ours), STEPS[name][1](theirs)
    expected = theirs(torch.tensor(X)).detach().numpy()
    found = ours(Tensor(X)).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("names", list(itertools.product(STEPS, repeat=2)), ids="-".join)
def test_two(names: tuple[str, ...]) -> None:
    compare(names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [names for names in itertools.product(STEPS, repeat=3) if names.count("vmap") < 3],  # two axes
    ids="-".join,
)
def test_three(names: tuple[str, ...]) -> None:
    compare(names)
