"""Gradients by sample of a weight that is one for all: what convolution and linear make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Op, Tensor
from tinygrad_cupy.ops.conv import EachConv
from tinygrad_cupy.ops.matmul import EachLinear

Call = Callable[..., Tensor]
LAYERS: dict[str, tuple[type[Op], Call, tuple[tuple[int, ...], ...]]] = {
    "conv2d": (
        EachConv,
        lambda x, w, *bias: x.conv2d(w, *bias, stride=2, padding=1),
        ((3, 2, 5, 4), (4, 2, 3, 3), (4,)),
    ),
    "linear": (EachLinear, lambda x, w, *bias: x.linear(w, *bias), ((3, 5), (4, 5), (4,))),
}
BATCH = 3


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A layer's call, its shapes, and how often it ran as one for all samples."""
    kind, call, shapes = LAYERS[request.param]
    ran: list[Any] = []
    forward = kind.forward

    def spy(op: Any, *arrays: Any) -> Any:
        ran.append(op)
        return forward(op, *arrays)

    monkeypatch.setattr(kind, "forward", spy)
    return call, shapes, ran


def drawn(rng: np.random.Generator, device: str, shapes: Any, biased: bool) -> list[Tensor]:
    """x of every sample, a weight, and a bias if wanted."""
    shapes = [(BATCH, *shapes[0]), *shapes[1 : 2 + biased]]
    return [Tensor(rng.standard_normal(s), device=device) for s in shapes]


def expect_a_loop(function: Callable[..., Any], x: Tensor, *one: Tensor) -> None:
    """``vmap`` over x, with the rest one for all, against a call for each x."""
    together: Any = tg.vmap(function, (0, *[None for _ in one]))(x, *one)
    for i in range(BATCH):
        alone: Any = function(x[i], *one)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i].numpy(), b.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("biased", [False, True])
def test_gradients(layer: Any, biased: bool, device: str, rng: np.random.Generator) -> None:
    call, shapes, ran = layer
    x, *one = drawn(rng, device, shapes, biased)
    gradient: Any = tg.grad(lambda *xs: (call(*xs) ** 3).sum(), argnums=tuple(range(1 + len(one))))
    expect_a_loop(gradient, x, *one)
    assert ran


@pytest.mark.parametrize("biased", [False, True])
def test_second_order(layer: Any, biased: bool, device: str, rng: np.random.Generator) -> None:
    call, shapes, ran = layer
    x, *one = drawn(rng, device, shapes, biased)
    along = [Tensor(rng.standard_normal(v.shape), device=device) for v in (x[0], *one)]

    def product(*xs: Tensor) -> Any:
        return tg.hvp(lambda *ys: (call(*ys) ** 3).sum(), xs, along)

    expect_a_loop(product, x, *one)
    assert ran


@pytest.mark.parametrize("biased", [False, True])
def test_forward_mode(layer: Any, biased: bool, device: str, rng: np.random.Generator) -> None:
    call, shapes, _ = layer
    x, *one = drawn(rng, device, shapes, biased)
    along = [Tensor(rng.standard_normal(v.shape), device=device) for v in (x[0], *one)]
    expect_a_loop(lambda *xs: tg.jvp(call, xs, along), x, *one)
