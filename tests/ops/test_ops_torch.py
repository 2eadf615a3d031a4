"""Every operation against PyTorch: values, and gradients of first and second order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from records import SAMPLES
from support.examples import in_turn
from support.peers import import_torch
from support.sampling import Case, Sample, draw_layout, options_on, tensors_of
from tinygrad_cupy import Tensor

torch = import_torch()

DIFFERENTIABLE = [s for s in SAMPLES if s.order]
few, many = settings(max_examples=4), settings(max_examples=30)  # in the fast suite, the slow
ROUNDING = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-11}


def close(found: Tensor, expected: Any, exact: bool = False) -> None:
    """Equal shape, dtype and, to rounding, values; ``exact``: theirs is rounded to our dtype."""
    theirs = expected.numpy(force=True)
    assert found.shape == theirs.shape
    if exact:
        theirs = theirs.astype(found.dtype)
    assert found.dtype == theirs.dtype
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(found.numpy(), theirs)
        return
    finite = np.abs(theirs[np.isfinite(theirs)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    limit = ROUNDING[theirs.dtype.name]
    np.testing.assert_allclose(found.numpy(), theirs, rtol=10 * limit, atol=limit * scale)


def _list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _plain(x: Tensor) -> np.ndarray:
    return np.array(x.numpy(), order="C")


def _to_torch(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    return tuple(_to_torch(v) for v in value) if isinstance(value, tuple) else value


class Pair:
    """The same call in both libraries, on the same values; ``exact``: theirs is in float64."""

    def __init__(
        self,
        sample: Sample,
        case: Case,
        dtype: str,
        device: str,
        layouts: Any,
        exact: bool = False,
    ) -> None:
        wanted = np.dtype(dtype).kind == "f" and sample.order > 0
        self.sample, self.case, self.dtype, self.device = sample, case, dtype, device
        self.layouts, self.is_exact = layouts, exact
        self.ours = tensors_of(case, dtype, device, layouts, wanted)
        # In C order: PyTorch 2.13 itself gets batch_norm's gradient wrong for some other strides.
        given = [torch.from_numpy(_plain(x)) for x in self.ours]
        given = [x.double() if exact and x.is_floating_point() else x for x in given]
        self.theirs = [x.requires_grad_(wanted) for x in given]
        found = sample.call(*self.ours, **options_on(case.options, device))
        options = {k: _to_torch(v) for k, v in case.options.items()}
        self.found = _list(found)
        self.expected = _list(sample.torch(torch, *self.theirs, **options))
        assert len(self.found) == len(self.expected)

    def exact(self) -> Pair:
        """The same with theirs in float64."""
        return Pair(self.sample, self.case, self.dtype, self.device, self.layouts, exact=True)

    def gradients(self, rng: np.random.Generator, create_graph: bool) -> tuple[Any, Any]:
        """Of the outputs, weighted at random, by the inputs; a missing one is None."""
        weights = [rng.standard_normal(o.shape).astype(o.dtype) for o in self.found]
        ours = tg.grad(
            self.found,
            self.ours,
            [Tensor(w, device=self.device) for w in weights],
            create_graph=create_graph,
            allow_unused=True,
        )
        used = [(o, w) for o, w in zip(self.expected, weights, strict=True) if o.requires_grad]
        theirs = torch.autograd.grad(
            [o for o, _ in used],
            self.theirs,
            [torch.from_numpy(w).to(o.dtype) for o, w in used],
            create_graph=create_graph,
            allow_unused=True,
        )
        return ours, theirs

    def second_gradients(self, rng: np.random.Generator) -> tuple[Any, Any]:
        """Of the first gradients, weighted at random, by the inputs."""
        ours, theirs = self.gradients(rng, create_graph=True)
        weights = [rng.standard_normal(x.shape).astype(x.dtype) for x in self.ours]
        pairs = [(g, w) for g, w in zip(ours, weights, strict=True) if g is not None]
        pairs = [(g, w) for g, w in pairs if g.requires_grad]
        outputs = [(g, w) for g, w in zip(theirs, weights, strict=True) if g is not None]
        outputs = [(g, w) for g, w in outputs if g.requires_grad]
        nothing = [None] * len(weights)
        try:
            again = torch.autograd.grad(
                [g for g, _ in outputs],
                self.theirs,
                [torch.from_numpy(w) for _, w in outputs],
                allow_unused=True,
            )
        except RuntimeError as error:  # grid_sample's, before PyTorch 2.13
            if "derivative for" not in str(error) or "is not implemented" not in str(error):
                raise
            pytest.skip(f"PyTorch {torch.__version__} has none: {error}")
        if not pairs:
            return nothing, again if outputs else nothing
        found = tg.grad(
            [g for g, _ in pairs],
            self.ours,
            [Tensor(w, device=self.device) for _, w in pairs],
            allow_unused=True,
        )
        return found, again if outputs else nothing


def agree(ours: Any, theirs: Any, like: list[Tensor], exact: bool = False) -> None:
    """Gradients agree; one that is missing counts as zeros."""
    for found, expected, x in zip(ours, theirs, like, strict=True):
        zeros = np.zeros(x.shape, x.dtype)
        mine = Tensor(zeros) if found is None else found
        assert mine.dtype == x.dtype
        close(mine, torch.from_numpy(zeros) if expected is None else expected, exact)


def draw_pair(sample: Sample, data: st.DataObject, device: str, dtype: str) -> Pair:
    case = sample.cases(data.draw)
    layouts = [draw_layout(data.draw, x.ndim, not sample.kinks) for x in case.values]
    return Pair(sample, case, dtype, device, layouts)


def check(sample: Sample, data: st.DataObject, device: str) -> None:
    dtype = data.draw(st.sampled_from(sample.dtypes))
    pair = draw_pair(sample, data, device, dtype)
    assert [x.dtype for x in pair.found] == [x.numpy(force=True).dtype for x in pair.expected]
    seed = data.draw(st.integers(0, 2**32 - 1))
    try:
        compare(pair, seed)
    except AssertionError:
        if dtype not in ("float16", "float32"):
            raise
        compare(pair.exact(), seed)  # what PyTorch itself rounds may be what differs


def compare(pair: Pair, seed: int) -> None:
    """Values and first gradients agree."""
    for found, expected in zip(pair.found, pair.expected, strict=True):
        close(found, expected, pair.is_exact)
    if all(o.requires_grad for o in pair.expected):
        ours, theirs = pair.gradients(np.random.default_rng(seed), create_graph=False)
        agree(ours, theirs, pair.ours, pair.is_exact)


def check_second(sample: Sample, data: st.DataObject, device: str) -> None:
    pair = draw_pair(sample, data, device, "float64")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ours, theirs = pair.second_gradients(rng)
    agree(ours, theirs, pair.ours)


@in_turn(SAMPLES, 3, again=True)
@few
@given(data=st.data())
def test_values_and_gradients(sample: Sample, device: str, data: st.DataObject) -> None:
    check(sample, data, device)


@in_turn(DIFFERENTIABLE, 0, again=True)
@few
@given(data=st.data())
def test_second_gradients(sample: Sample, device: str, data: st.DataObject) -> None:
    check_second(sample, data, device)


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
@many
@given(data=st.data())
def test_values_and_gradients_long(sample: Sample, device: str, data: st.DataObject) -> None:
    check(sample, data, device)


@pytest.mark.slow
@pytest.mark.parametrize("sample", DIFFERENTIABLE, ids=lambda sample: sample.name)
@many
@given(data=st.data())
def test_second_gradients_long(sample: Sample, device: str, data: st.DataObject) -> None:
    check_second(sample, data, device)
