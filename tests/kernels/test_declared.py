"""Kernels are declared once: both bodies take what the declaration says, which has a docstring."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from support.looped import looped
from tinygrad_cupy.backend import Elementwise, kernel
from tinygrad_cupy.backend.kernel import Kernel


def kernels_under(package: str) -> dict[str, Any]:
    """Every `Kernel` of a package's files, by the first place where it stands."""
    path = importlib.import_module(package).__path__
    modules = [package, *(found.name for found in pkgutil.walk_packages(path, f"{package}."))]
    places: dict[Any, str] = {}
    for module in modules:
        for name, value in vars(importlib.import_module(module)).items():
            if isinstance(value, Kernel):
                places.setdefault(value, f"{module.removeprefix('tinygrad_cupy.')}.{name}")
    return {place: value for value, place in places.items()}


IN_KERNELS = kernels_under("tinygrad_cupy.kernels")
ALL = IN_KERNELS | kernels_under("tinygrad_cupy.nn") | kernels_under("tinygrad_cupy.datasets")
DECLARED = {name: found for name, found in ALL.items() if hasattr(found, "__wrapped__")}
every = looped("declared", [pytest.param(found, id=name) for name, found in DECLARED.items()])


def test_every_kernel_of_the_families_is_declared() -> None:
    assert {"kernels.conv.fprop", "kernels.pool.max_pool"} <= set(IN_KERNELS)
    assert set(IN_KERNELS) <= set(DECLARED)


@every
def test_bodies_take_what_is_declared(declared: Any) -> None:
    """Also what may be left out: the body is called with what the caller gave."""
    expected = parameters(declared.__wrapped__)
    for body in (declared.cpu, declared.cuda):
        if isinstance(body, Elementwise):  # CuPy knows no names
            continue
        found = parameters(body)
        assert [each.name for each in found] == [each.name for each in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.kind == other.kind
            assert other.default in (inspect.Parameter.empty, one.default)


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(inspect.unwrap(function)).parameters.values())


@every
def test_a_declaration_says_what_comes_out(declared: Any) -> None:
    assert declared.__wrapped__.__doc__
    assert inspect.signature(declared).return_annotation is not inspect.Signature.empty


def scaled(x: Any, factor: float) -> Any:
    return x * factor


def renamed(x: Any, by: float) -> Any:
    return x * by


@functools.wraps(renamed)
def wrapped(*arguments: Any) -> Any:
    return renamed(*arguments)


@pytest.mark.parametrize("body", [renamed, wrapped])
@pytest.mark.parametrize("side", ["cpu", "cuda"])
def test_a_body_whose_parameters_are_called_otherwise_is_refused(side: str, body: Any) -> None:
    bodies: dict[str, Any] = {"cpu": scaled, "cuda": scaled, side: body}
    with pytest.raises(TypeError) as caught:
        kernel(**bodies)(scaled)
    assert str(caught.value) == "[scaled] declared with ('x', 'factor'), got ('x', 'by')"


def test_a_kernel_keeps_what_its_declaration_says() -> None:
    def scale(x: Any, factor: float) -> Any:
        """x · factor."""

    generated = Elementwise("T x, T factor", "T y", "y = x * factor", "scale")
    made = kernel(cpu=scaled, cuda=generated)(scale)
    described: Any = made
    assert (described.__name__, described.__doc__) == ("scale", "x · factor.")
    np.testing.assert_array_equal(made(np.arange(3.0), 2.0), [0, 2, 4])
