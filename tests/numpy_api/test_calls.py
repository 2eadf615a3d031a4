"""Every function of NumPy's that takes a tensor: as NumPy's, called in three ways (calls.py)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from numpy_api.calls import CALLS, CONSTANT, INPUTS, NOT_DIFFERENTIABLE, UNCALLED
from numpy_api.dispatching import dispatching
from numpy_api.running import floats, is_recorded, leaves, names_in, run, tensors
from support.looped import looped
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy import numpy as tnp
from tinygrad_cupy.ops.protocols import TABLE

ALL = dispatching()
THERE = {name for name, function in ALL.items() if function in TABLE}
SCALARS = bool | int | float | complex | np.generic


_EMATH = tuple(f"emath.{name}" for name in ("log2", "log10", "arccos", "arcsin", "arctanh"))


def is_there(expression: str) -> bool:
    """Whether each of NumPy's functions in it takes a tensor by now."""
    names = re.findall(r"\bnp\.([a-z_0-9.]+)\(", expression)
    names += [name.removeprefix("emath.") for name in names if name in _EMATH]
    return all(n in THERE if n in ALL else hasattr(tnp, n.partition(".")[0]) for n in names)


each = looped(
    "name, expression",
    [
        pytest.param(n, e, id=e.removeprefix("np."))
        for n, expressions in CALLS.items()
        if n in THERE
        for e in expressions
        if is_there(e)
    ],
)


def test_every_function_that_takes_a_tensor_is_called() -> None:
    assert set(CALLS) | UNCALLED | _next_issue() == set(ALL)
    assert not set(CALLS) & UNCALLED
    assert set(CALLS) >= NOT_DIFFERENTIABLE | CONSTANT


def _next_issue() -> set[str]:
    return {name for name in ALL if name.startswith("linalg.")}


def arrays() -> dict[str, np.ndarray]:
    return {name: values.copy() for name, values in INPUTS.items()}


def numbers(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def same(found: Any, expected: Any) -> None:
    found, expected = list(leaves(found)), list(leaves(expected))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if not isinstance(theirs, np.ndarray | SCALARS):
            assert ours == theirs
            continue
        a, b = numbers(ours), np.asarray(theirs)
        assert (a.shape, a.dtype.kind) == (b.shape, b.dtype.kind)
        least = 1e-6 if a.dtype == np.float32 else 1e-10  # a Tensor's integers become float32
        np.testing.assert_allclose(a, b, rtol=least, atol=1e-12)


@each
def test_as_numpy_through_the_protocols(name: str, expression: str, device: str) -> None:
    expected = run(expression, np, arrays())
    found = run(expression, np, tensors())
    same(found, expected)
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        if isinstance(theirs, np.ndarray) and not _makes_python_values(name):
            assert type(ours) is Tensor


@each
def test_as_numpy_in_the_namespace(name: str, expression: str, device: str) -> None:
    expected = run(expression, np, arrays())
    given = {name: backend.to_device(array, device) for name, array in arrays().items()}
    found = run(expression, tnp, given)
    same(found, expected)
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        if isinstance(theirs, np.ndarray) and not _makes_python_values(name):
            assert type(ours) is tnp.ndarray
            assert ours.dtype == theirs.dtype
            assert ours.device == device


def _makes_python_values(name: str) -> bool:
    return name in ("einsum_path", "copy")


@each
def test_gradients_are_those_of_differences(name: str, expression: str, device: str) -> None:
    inputs: dict[str, Any] = tensors(requires_grad=True)
    wanted = [n for n in names_in(expression) if inputs[n].requires_grad]
    if not wanted or name in NOT_DIFFERENTIABLE or not is_recorded(expression):
        return
    found = floats(expression, inputs)
    which = [y.requires_grad and y.dtype == np.float64 for y in found]
    for n in wanted:  # away from ties and steps, where a difference says nothing
        off = np.linspace(0.013, 0.031, INPUTS[n].size).reshape(INPUTS[n].shape)
        inputs[n] = Tensor(INPUTS[n] + off, device=device, requires_grad=True)

    def call(*given: Tensor) -> list[Tensor]:
        found = floats(expression, inputs | dict(zip(wanted, given, strict=True)))
        return [y for y, one in zip(found, which, strict=True) if one]

    if any(which):
        assert tg.gradcheck(call, [inputs[n] for n in wanted], order=1, forward_mode=True)


@each
def test_no_gradient_is_dropped(name: str, expression: str, device: str) -> None:
    inputs = tensors(requires_grad=True)
    wanted = [n for n in names_in(expression) if inputs[n].requires_grad]
    if not wanted or not is_recorded(expression):
        return
    if name in NOT_DIFFERENTIABLE:
        with pytest.raises((TypeError, RuntimeError), match=r"\.detach\(\)"):
            run(expression, np, inputs)
        return
    for result in leaves(run(expression, np, inputs)):
        assert not isinstance(result, np.ndarray), "its values were taken out of the graph"
        if isinstance(result, Tensor) and result.dtype.kind == "f" and name not in CONSTANT:
            assert result.requires_grad, "a gradient is dropped in silence"
