"""Every operation under `jit`: a replay gives the bits of an eager call, gradients among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import SAMPLES
from support.examples import examples, in_turn
from support.sampling import Case, Sample, options_on, tensors_of
from tinygrad_cupy import Tensor

CALLS = 4  # as it is, captured, and two replays


def dtype_of(sample: Sample) -> str:
    return "float32" if "float32" in sample.dtypes else sample.dtypes[0]


def is_captured(sample: Sample, case: Case) -> bool:
    return sample.captured if isinstance(sample.captured, bool) else sample.captured(case)


def step_of(sample: Sample, case: Case, device: str) -> Callable[..., list[Tensor]]:
    """The record's call, and the gradients of what it gives."""
    options = options_on(case.options, device)

    def step(*inputs: Tensor) -> list[Tensor]:
        found = sample.call(*inputs, **options)
        outputs = [y for y in (found if isinstance(found, list) else [found]) if y is not None]
        used = [y for y in outputs if y.requires_grad]
        wanted = [x for x in inputs if x.requires_grad]
        if not used:
            return outputs
        seeds = [Tensor.ones(*y.shape, dtype=y.dtype, device=device) for y in used]
        grads = tg.grad(used, wanted, seeds, allow_unused=True)
        return [*outputs, *[g for g in grads if g is not None]]

    return step


def fresh(case: Case, turn: int) -> Case:
    """The case with its values in another order, which keeps them where the operation has them."""
    rng = np.random.default_rng(turn)
    moved = [rng.permutation(x.ravel()).reshape(x.shape) if turn else x for x in case.values]
    return Case(tuple(moved), case.options)


def inputs_of(sample: Sample, case: Case, device: str) -> list[Tensor]:
    layouts: list[tuple[str, Any]] = [("plain", ()) for _ in case.values]
    dtype = dtype_of(sample)
    differentiated = sample.order > 0 and dtype.startswith("float")
    return tensors_of(case, dtype, device, layouts, requires_grad=differentiated)


def results(step: Callable[..., Sequence[Tensor]], inputs: list[Tensor]) -> list[np.ndarray]:
    tg.manual_seed(3)
    return [y.numpy() for y in step(*inputs)]


def replayed(sample: Sample, case: Case, device: str) -> None:
    step = step_of(sample, case, device)
    jitted = tg.jit(step)
    for turn in range(CALLS):
        now = fresh(case, turn)
        expected = results(step, inputs_of(sample, now, device))
        found = results(jitted, inputs_of(sample, now, device))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.hypothesis
@in_turn(SAMPLES, 0)
def test_a_replay_gives_the_bits_of_an_eager_call(sample: Sample, place: str) -> None:
    @examples(3, database=None, derandomize=True, deadline=None)
    @hypothesis.given(data=st.data())
    def run(data: st.DataObject) -> None:
        case = sample.cases(data.draw)
        if is_captured(sample, case):
            replayed(sample, case, place)

    run()


@pytest.mark.gpu
@pytest.mark.parametrize("place", ["cuda:0"], indirect=True)  # the stand-in's CPU refuses nothing
@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.captured is not True], ids=lambda sample: sample.name
)
def test_what_cannot_be_captured_raises_by_name(sample: Sample, place: str) -> None:
    @hypothesis.settings(max_examples=10, database=None, derandomize=True, deadline=None)
    @hypothesis.given(data=st.data())
    def run(data: st.DataObject) -> None:
        case = sample.cases(data.draw)
        if not is_captured(sample, case) and all(x.size for x in case.values):
            with pytest.raises(RuntimeError, match=r"^\[jit\] "):
                replayed(sample, case, place)

    run()


def test_what_cannot_be_captured_says_why() -> None:
    for sample in SAMPLES:
        assert (sample.captured is not True) == bool(sample.obstacle), sample.name
