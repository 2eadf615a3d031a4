"""Elementwise operations where it is hard: extreme values, ties, zeros, scalars, large arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend

pytestmark = pytest.mark.usefixtures("device")


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), dtype="float64", requires_grad=True)


EXTREME: list[tuple[Callable[[Tensor], Tensor], list[float], list[float]]] = [
    (Tensor.softplus, [1e4, 0.0], [1.0, 0.0]),
    (Tensor.sigmoid, [1.0, 0.0], [0.0, 0.0]),
    (Tensor.tanh, [1.0, -1.0], [0.0, 0.0]),
    (Tensor.elu, [1e4, -1.0], [1.0, 0.0]),
    (Tensor.silu, [1e4, 0.0], [1.0, 0.0]),
    (Tensor.gelu, [1e4, 0.0], [1.0, 0.0]),
    (Tensor.relu, [1e4, 0.0], [1.0, 0.0]),
    (Tensor.erf, [1.0, -1.0], [0.0, 0.0]),
]


@pytest.mark.parametrize(("call", "values", "gradients"), EXTREME)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_arguments_neither_overflow_nor_warn(
    call: Callable[[Tensor], Tensor], values: list[float], gradients: list[float], dtype: str
) -> None:
    x = Tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    y = call(x)
    assert y.tolist() == values
    first = tg.grad(y.sum(), x, create_graph=True)
    assert first.tolist() == gradients
    if first.requires_grad:  # the slope of relu does not depend on x
        assert np.isfinite(tg.grad(first.sum(), x).numpy()).all()


AT_ZERO: list[tuple[Callable[[Tensor], Tensor], float]] = [
    (Tensor.relu, 0.0),
    (Tensor.abs, 0.0),
    (Tensor.sign, 0.0),
    (lambda x: x.leaky_relu(0.25), 0.25),
    (lambda x: x.elu(0.5), 0.5),
    (lambda x: x.clip(0.0, 1.0), 1.0),
    (lambda x: x.clip(-1.0, 0.0), 1.0),
    (lambda x: x.maximum(0), 0.5),
    (lambda x: x.minimum(0), 0.5),
    (lambda x: x**2, 0.0),
    (lambda x: x**0, 0.0),
    (lambda x: x**1, 1.0),
]


@pytest.mark.parametrize(("call", "slope"), AT_ZERO)
def test_gradients_at_the_kink(call: Callable[[Tensor], Tensor], slope: float) -> None:
    x = leaf(0.0)
    assert tg.grad(call(x), x).item() == slope


def test_equal_elements_share_the_gradient() -> None:
    a, b = leaf(1.0, 2.0, 3.0), leaf(2.0, 2.0, 2.0)
    for call, by_a in ((Tensor.maximum, [0.0, 0.5, 1.0]), (Tensor.minimum, [1.0, 0.5, 0.0])):
        found = tg.grad(call(a, b).sum(), [a, b])
        assert found[0].tolist() == by_a
        assert found[1].tolist() == [1 - share for share in by_a]


def test_powers_of_zero() -> None:
    a, b = leaf(0.0, 0.0, 0.0, 2.0), leaf(0.0, 1.0, 2.0, 0.0)
    y = a**b
    assert y.tolist() == [1.0, 0.0, 0.0, 1.0]
    by_a, by_b = tg.grad(y.sum(), [a, b])
    assert by_a.tolist() == [0.0, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(by_b.numpy(), [0.0, 0.0, 0.0, math.log(2)])
    x = leaf(2.0)
    assert tg.grad(0**x, x).item() == 0.0


def second_derivatives(a: Tensor, b: Tensor) -> list[list[float]]:
    """∂²y/∂a², ∂²y/∂a∂b, ∂²y/∂b∂a and ∂²y/∂b² of y = aᵇ."""
    by_a, by_b = tg.grad((a**b).sum(), [a, b], create_graph=True)
    found = [tg.grad(first.sum(), [a, b], retain_graph=True) for first in (by_a, by_b)]
    return [x.tolist() for pair in found for x in pair]


def test_second_derivatives_of_powers() -> None:
    a = [2.0, 2.0, 2.0, 0.5, 0.5, 3.0, 1.0]
    b = [0.0, 1.0, 2.0, 0.0, -1.0, 0.5, 0.0]
    found = second_derivatives(leaf(*a), leaf(*b))
    x, n = np.array(a), np.array(b)
    mixed = x ** (n - 1) * (1 + n * np.log(x))
    expected = [n * (n - 1) * x ** (n - 2), mixed, mixed, x**n * np.log(x) ** 2]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert found[1][0] == found[2][0] == 0.5


def test_second_derivatives_of_powers_of_zero() -> None:
    """The limits for exponents above 1; at 0 ** 0 it is the constant 1 that is differentiated."""
    found = second_derivatives(leaf(0.0, 0.0, 0.0, 0.0), leaf(2.0, 3.0, 2.5, 0.0))
    assert found == [[2.0, 0.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4, [0.0] * 4]
    for exponent, slope, second in ((0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0)):
        for b in (exponent, float(exponent), Tensor([float(exponent)], dtype="float64")):
            x = leaf(0.0)
            first = tg.grad((x**b).sum(), x, create_graph=True)
            assert first.tolist() == [slope]
            if first.requires_grad:  # not that of x**0
                assert tg.grad(first.sum(), x).tolist() == [second]


def test_second_derivatives_of_negative_bases() -> None:
    a = leaf(-2.0, -2.0, -0.5, -3.0)
    b = Tensor([3.0, 2.0, -1.0, 0.0], dtype="float64")
    first = tg.grad((a**b).sum(), a, create_graph=True)
    np.testing.assert_allclose(first.numpy(), [12.0, -4.0, -4.0, 0.0])
    np.testing.assert_allclose(tg.grad(first.sum(), a).numpy(), [-12.0, 2.0, -16.0, 0.0])


def test_higher_derivatives_of_powers_of_the_number_zero() -> None:
    exponent = Tensor(np.array([0.5, 2.0]), requires_grad=True)
    assert tg.gradcheck(lambda b: 0.0**b, exponent, order=3)


def test_powers_of_the_number_zero() -> None:
    b = leaf(2.0, 0.5, 0.0)
    assert tg.grad((0.0**b).sum(), b).tolist() == [0.0, 0.0, 0.0]


def test_negative_bases() -> None:
    a = leaf(-2.0)
    assert (a**3).item() == -8.0
    assert tg.grad(a**3, a).item() == 12.0
    assert tg.grad(a**-1, a).item() == -0.25


def test_limits_that_cross_let_no_gradient_through() -> None:
    for limits in ((1.0, 0.0), (Tensor(1.0), Tensor(0.0))):
        x = Tensor([-1.0, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
        y = x.clip(*limits)
        assert y.tolist() == [0.0] * 5
        assert tg.grad(y.sum(), x).tolist() == [0.0] * 5


def test_infinite_values_compare_and_clip() -> None:
    x = Tensor([-math.inf, 0.0, math.inf])
    assert x.clip(-1, 1).tolist() == [-1.0, 0.0, 1.0]
    assert x.maximum(0).tolist() == [0.0, 0.0, math.inf]
    assert (x < 0).tolist() == [True, False, False]


def test_nan_goes_through() -> None:
    x = Tensor([math.nan, 1.0])
    for y in (x.relu(), x.maximum(0), x.clip(0, 1), x.exp(), x.leaky_relu(), x + 1):
        assert np.isnan(y.numpy()).tolist() == [True, False]
    assert (x == x).tolist() == [False, True]
    assert (x != x).tolist() == [True, False]


def test_where_takes_gradients_apart() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    keep = Tensor([True, False])
    assert [g.tolist() for g in tg.grad(tg.where(keep, a, b).sum(), [a, b])] == [
        [1.0, 0.0],
        [0.0, 1.0],
    ]


def test_conditions_of_every_kind() -> None:
    x = Tensor([1.0, 2.0])
    array = backend.to_device(np.array([True, False]), tg.default_device())
    for condition in (Tensor(array), array, [True, False]):
        assert x.where(condition, 0).tolist() == [1.0, 0.0]
        assert tg.where(condition, 9, x).tolist() == [9.0, 2.0]
    assert x.where(True, 0).tolist() == [1.0, 2.0]


@pytest.mark.gpu
def test_a_condition_on_another_device_names_both() -> None:
    with pytest.raises(ValueError, match=r"^\[where\]") as raised:
        Tensor([1.0], device="cuda").where(np.ones(1, bool), 0)
    assert str(raised.value) == (
        "[where] expected the condition on cuda:0 like the values, got cpu; move it with "
        ".to(device)"
    )


def test_where_stops_what_is_not_chosen() -> None:
    """√ at 0 has an infinite slope; where it is not chosen, no gradient may go there."""
    x = leaf(0.0, 4.0)
    safe = x.where(x > 0, 1.0).sqrt()
    found = tg.grad(safe.where(x > 0, 0.0).sum(), x)
    assert found.tolist() == [0.0, 0.25]


@pytest.mark.parametrize("size", [1, (1 << 17) - 1, 1 << 17, 300_001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_of_large_arrays(size: int, dtype: str) -> None:
    """Large ones are worked on by several threads."""
    values = np.random.default_rng(0).standard_normal((size,)).astype(dtype)
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    y = x.relu()
    np.testing.assert_array_equal(y.numpy(), np.maximum(values, 0))
    first = tg.grad(y.sum(), x, create_graph=True)
    np.testing.assert_array_equal(first.numpy(), values > 0)
    assert first.dtype == y.dtype == dtype


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)])
def test_relu_of_large_arrays_in_other_layouts(order: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal((20, 8, 30, 31)).astype(np.float32)
    inverse = tuple(int(i) for i in np.argsort(order))
    memory = backend.to_device(np.ascontiguousarray(values.transpose(order)), tg.default_device())
    x = Tensor(memory.transpose(inverse), requires_grad=True)
    weights = np.random.default_rng(1).standard_normal(values.shape).astype(np.float32)
    seed = Tensor(weights, device=tg.default_device())
    np.testing.assert_array_equal(x.relu().numpy(), np.maximum(values, 0))
    found = tg.grad(x.relu(), x, seed).numpy()
    np.testing.assert_array_equal(found, weights * (values > 0))


def test_comparisons_with_arrays_and_scalars() -> None:
    x = Tensor([1.0, 2.0, 3.0])
    array = backend.to_device(np.array([3.0, 2.0, 1.0]), tg.default_device())
    cases: list[tuple[Any, list[bool]]] = [
        (x == array, [False, True, False]),
        (array == x, [False, True, False]),
        (x != 2, [True, False, True]),
        (x > 2, [False, False, True]),
        (array >= x, [True, True, False]),
        (x <= np.float64(2), [True, True, False]),
    ]
    for found, expected in cases:
        assert isinstance(found, Tensor)
        assert found.tolist() == expected
