"""Every operation: its gradients against finite differences, and the texts of its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import SAMPLES
from support.examples import examples, in_turn
from support.looped import looped
from support.sampling import Case, Error, Sample, draw_layout, options_on, tensors_of
from tinygrad_cupy.backend import synchronize

DIFFERENTIABLE = [s for s in SAMPLES if s.order and s.differences]
few, many = settings(max_examples=3), settings(max_examples=30)  # in the fast suite, the slow
errors = looped(
    "sample, error",
    [pytest.param(s, e, id=f"{s.name}-{i}") for s in SAMPLES for i, e in enumerate(s.errors)],
)


def draw_case(sample: Sample, data: st.DataObject) -> tuple[Case, list[tuple[str, Any]]]:
    case = sample.cases(data.draw)
    return case, [draw_layout(data.draw, x.ndim, not sample.kinks) for x in case.values]


def check(sample: Sample, data: st.DataObject, device: str) -> None:
    case, layouts = draw_case(sample, data)
    options = options_on(case.options, device)
    inputs = tensors_of(case, "float64", device, layouts)
    how: dict[str, Any] = {"order": sample.order, "forward_mode": False, "batched": False}
    assert tg.gradcheck(lambda *xs: sample.call(*xs, **options), inputs, **how)


@in_turn(DIFFERENTIABLE, 2, again=True)
@few
@given(data=st.data())
def test_gradients_are_difference_quotients(
    sample: Sample, device: str, data: st.DataObject
) -> None:
    check(sample, data, device)


@pytest.mark.slow
@pytest.mark.parametrize("sample", DIFFERENTIABLE, ids=lambda sample: sample.name)
@many
@given(data=st.data())
def test_gradients_are_difference_quotients_long(
    sample: Sample, device: str, data: st.DataObject
) -> None:
    check(sample, data, device)


@errors
def test_bad_input_says_what_was_expected(sample: Sample, error: Error, device: str) -> None:
    if device != "cpu" and not error.on_gpu:
        error.call()
        synchronize()  # what went astray would be said here
        return
    with pytest.raises(error.kind) as raised:
        error.call()
    assert str(raised.value) == error.text


@in_turn(SAMPLES, 1)
@given(data=st.data())
@examples(2)
def test_inputs_are_left_as_they_were(sample: Sample, device: str, data: st.DataObject) -> None:
    case, layouts = draw_case(sample, data)
    inputs = tensors_of(case, "float64", device, layouts, requires_grad=sample.order > 0)
    before = [x.numpy() for x in inputs]
    outputs = sample.call(*inputs, **options_on(case.options, device))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    seeds = [tg.Tensor.ones(*o.shape, dtype=o.dtype, device=device) for o in outputs]
    if outputs[0].requires_grad:
        tg.grad(outputs, inputs, seeds, allow_unused=True)
    for x, values in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x.numpy(), values)
