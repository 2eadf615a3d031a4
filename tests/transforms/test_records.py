"""Every operation in forward mode and batched: its record says whether it can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import SAMPLES
from support.examples import in_turn
from support.sampling import Sample, draw_layout, options_on, tensors_of
from tinygrad_cupy import Tensor

EPS = 1e-6
DIFFERENTIABLE = [s for s in SAMPLES if s.order and s.differences]
every = pytest.mark.parametrize("sample", DIFFERENTIABLE, ids=lambda s: s.name)
few = settings(max_examples=2)  # the long test below asks all of it


def a_call(
    sample: Sample, data: st.DataObject, device: str
) -> tuple[Callable[..., list[Tensor]], list[Tensor]]:
    """The record's call as a function of tensors that gives a list, and inputs for it."""
    case = sample.cases(data.draw)
    options = options_on(case.options, device)
    layouts = [draw_layout(data.draw, x.ndim, False) for x in case.values]
    inputs = tensors_of(case, "float64", device, layouts, requires_grad=False)

    def call(*xs: Tensor) -> list[Tensor]:
        found = sample.call(*xs, **options)
        return found if isinstance(found, list) else [found]

    return call, inputs


def like(tensors: Sequence[Tensor], rng: np.random.Generator) -> list[Tensor]:
    return [Tensor(rng.standard_normal(x.shape), device=x.device) for x in tensors]


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return sum(float((x.numpy() * y.numpy()).sum()) for x, y in zip(a, b, strict=True))


def size(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """What the terms of a dot product add up to, signs apart."""
    return sum(float(np.abs(x.numpy() * y.numpy()).sum()) for x, y in zip(a, b, strict=True))


def moved(xs: Sequence[Tensor], along: Sequence[Tensor], step: float) -> list[Tensor]:
    return [x + t * step for x, t in zip(xs, along, strict=True)]


@in_turn(DIFFERENTIABLE, 5, again=True)
@few
@given(data=st.data())
def test_forward_mode_is_the_difference_quotient_and_the_adjoint_of_reverse_mode(
    sample: Sample, device: str, data: st.DataObject
) -> None:
    assert sample.forward_mode
    call, xs = a_call(sample, data, device)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    along = like(xs, rng)
    ys, tangents = tg.jvp(call, xs, along)
    us = like(ys, rng)
    above, below = call(*moved(xs, along, EPS)), call(*moved(xs, along, -EPS))
    numeric = (dot(us, above) - dot(us, below)) / (2 * EPS)
    assert dot(us, tangents) == pytest.approx(numeric, rel=1e-4, abs=1e-5)
    _, pull = tg.vjp(call, *xs)
    back = pull(us)
    least = 1e-10 * max(size(us, tangents), size(back, along), 1e-30)
    assert dot(us, tangents) == pytest.approx(dot(back, along), rel=1e-10, abs=least)


@pytest.mark.slow
@every
@few
@given(data=st.data())
def test_forward_over_reverse_is_reverse_over_reverse(
    sample: Sample, device: str, data: st.DataObject
) -> None:
    call, xs = a_call(sample, data, device)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    along = like(xs, rng)
    weights = like(call(*xs), rng)

    def loss(*xs: Tensor) -> Any:
        terms = [(y * y * w).sum() for y, w in zip(call(*xs), weights, strict=True)]
        return sum(terms[1:], terms[0])

    everything = tuple(range(len(xs)))
    gradient = tg.grad(loss, argnums=everything)
    _, forward = tg.jvp(gradient, xs, along)
    reverse = tg.hvp(loss, xs, along)
    reverse = [reverse] if len(xs) == 1 else reverse
    for a, b in zip(forward, reverse, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-8, atol=1e-9)


@pytest.mark.filterwarnings("error:.vmap.*one element of the batch")
@in_turn(SAMPLES, 4)
@few
@given(data=st.data())
def test_a_batch_is_a_loop(sample: Sample, device: str, data: st.DataObject) -> None:
    assert sample.batched
    call, xs = a_call(sample, data, device)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    which = data.draw(st.lists(st.booleans(), min_size=len(xs), max_size=len(xs)).filter(any))
    batch = [
        tg.stack([x * scale for scale in rng.uniform(0.5, 2, 3)]) if one else x
        for x, one in zip(xs, which, strict=True)
    ]
    axes = tuple(0 if one else None for one in which)
    tg.manual_seed(3)
    together = tg.vmap(call, axes, randomness="same")(*batch)
    for i in range(3):
        tg.manual_seed(3)
        alone = call(*[x[i] if one else x for x, one in zip(batch, which, strict=True)])
        for a, b in zip(together, alone, strict=True):
            assert a[i].dtype == b.dtype
            np.testing.assert_allclose(a[i].numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@every
@few
@given(data=st.data())
def test_gradients_of_a_batch_are_those_of_a_loop(
    sample: Sample, device: str, data: st.DataObject
) -> None:
    call, xs = a_call(sample, data, device)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weights = like(call(*xs), rng)

    def loss(*xs: Tensor) -> Any:
        terms = [(y * w).sum() for y, w in zip(call(*xs), weights, strict=True)]
        return sum(terms[1:], terms[0])

    gradient = tg.grad(loss, argnums=tuple(range(len(xs))))
    batch = [tg.stack([x, x * 1.25]) for x in xs]
    together = tg.vmap(gradient, randomness="same")(*batch)
    for i in range(2):
        for a, b in zip(together, gradient(*[x[i] for x in batch]), strict=True):
            np.testing.assert_allclose(a[i].numpy(), b.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@every
@settings(max_examples=8)
@given(data=st.data())
def test_forward_mode_and_batches_long(sample: Sample, device: str, data: st.DataObject) -> None:
    call, xs = a_call(sample, data, device)
    for x in xs:
        x.requires_grad_()
    tg.manual_seed(0)
    numbers = tg.random.get_state()

    def again(*xs: Tensor) -> list[Tensor]:
        tg.random.set_state(numbers)
        return call(*xs)

    assert tg.gradcheck(again, xs, order=1, forward_mode=True, batched=True)
