"""Published code runs with NumPy, through NumPy's protocols, and with our namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from numpy_api.published import CALLS

every = pytest.mark.parametrize(("function", "values"), CALLS, ids=[f.__name__ for f, _ in CALLS])


def _plain(x: Any) -> Any:
    return x.detach().numpy() if isinstance(x, tg.Tensor) else numpy.asarray(x)


def _leaves(values: tuple[Any, ...], device: str) -> list[Any]:
    return [tnp.array(v, device=device, requires_grad=v.dtype.kind == "f") for v in values]


@every
def test_all_three_give_the_same_values(
    function: Callable[..., Any], values: tuple[Any, ...], device: str
) -> None:
    tg.set_default_device(device)
    expected = function(numpy, *values)
    ours = function(tnp, *[tnp.array(v, device=device) for v in values])
    numpy.testing.assert_allclose(_plain(ours), expected, rtol=1e-12, atol=1e-12)
    differentiable = function(tnp, *_leaves(values, device))
    numpy.testing.assert_allclose(_plain(differentiable), expected, rtol=1e-12, atol=1e-12)
    assert differentiable.requires_grad
    if device == "cpu":  # NumPy's own functions make arrays on the CPU
        tensors = [tg.Tensor(v) for v in values]
        numpy.testing.assert_allclose(
            _plain(function(numpy, *tensors)), expected, rtol=1e-12, atol=1e-12
        )


@pytest.mark.one_in(3)
@every
def test_gradients_are_those_of_differences(
    function: Callable[..., Any], values: tuple[Any, ...], device: str
) -> None:
    tg.set_default_device(device)
    inputs = _leaves(values, device)
    floats = [x for x in inputs if x.requires_grad]

    def call(*given: Any) -> Any:
        rest = iter(given)
        return function(tnp, *[next(rest) if x.requires_grad else x for x in inputs])

    assert tg.gradcheck(call, floats, order=2)


def test_there_are_thirty() -> None:
    assert len(CALLS) >= 30
