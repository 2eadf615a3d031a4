"""gradcheck itself: it accepts what is right and finds what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import FusedOp, Op, Tensor

pytestmark = pytest.mark.usefixtures("device")


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), dtype="float64", requires_grad=True)


class WrongFirst(Op):
    """x³ whose derivative forgets the 3, for one element only."""

    saves = ("x",)

    def forward(self, x: Any) -> Any:
        return x**3

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        factor = Tensor([3.0, 3.0, 1.0], dtype="float64")
        return grad * x * x * factor


class WrongSecond(FusedOp):
    """x³ whose derivative is right but its own is not: the reference has a slope that is fixed."""

    def forward(self, x: Any) -> Any:
        self.slope = 3 * x**2
        return x**3

    def reference(self, x: Tensor) -> Tensor:
        return x * Tensor(self.slope)

    def backward_arrays(self, grad: Any, x: Any) -> Any:
        return (3 * grad * x * x,)


class OnArrays(Op):
    """x³ with a backward that works on arrays."""

    saves = ("x",)

    def forward(self, x: Any) -> Any:
        return x**3

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return Tensor(grad.data * x.data**2 * 3)


class WrongKernel(FusedOp):
    """x³ whose kernel forgets the 3 while its reference does not."""

    def forward(self, x: Any) -> Any:
        return x**3

    def reference(self, x: Tensor) -> Tensor:
        return x**3

    def backward_arrays(self, grad: Any, x: Any) -> Any:
        return (grad * x * x,)


class WrongReference(FusedOp):
    """x³ whose reference is x²."""

    def forward(self, x: Any) -> Any:
        return x**3

    def reference(self, x: Tensor) -> Tensor:
        return x**2

    def backward_arrays(self, grad: Any, x: Any) -> Any:
        return (3 * grad * x * x,)


def test_accepts_what_is_right_to_third_order() -> None:
    def fn(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sin() / (y * y + 1)

    assert tg.gradcheck(fn, [leaf(0.3, 1.0), leaf(0.5, -2.0)], order=3)


def test_one_input_may_stand_by_itself() -> None:
    assert tg.gradcheck(lambda x: x.sin() * x, leaf(0.3, 1.0))


def test_finds_a_wrong_first_derivative() -> None:
    with pytest.raises(AssertionError) as raised:
        tg.gradcheck(lambda x: WrongFirst()(x), [leaf(1.0, 2.0, 3.0)], order=1)
    assert str(raised.value).startswith("[gradcheck] order 1, create_graph=False: the backward")


def test_finds_a_wrong_second_derivative() -> None:
    assert tg.gradcheck(lambda x: WrongSecond()(x), [leaf(1.0, 2.0)], order=1)
    with pytest.raises(AssertionError, match=r"^\[gradcheck\] order 2, create_graph=False"):
        tg.gradcheck(lambda x: WrongSecond()(x), [leaf(1.0, 2.0)], order=2)


def test_asks_for_second_derivatives_unless_told_otherwise() -> None:
    with pytest.raises(AssertionError, match=r"^\[gradcheck\] order 2"):
        tg.gradcheck(lambda x: WrongSecond()(x), [leaf(1.0, 2.0)])
    with pytest.raises(RuntimeError, match=r"^\[OnArrays\] its backward works on arrays \(.data\)"):
        tg.gradcheck(lambda x: OnArrays()(x) + x * x, [leaf(1.0, 2.0)])
    assert tg.gradcheck(lambda x: OnArrays()(x) + x * x, [leaf(1.0, 2.0)], order=1)


def test_finds_a_wrong_kernel() -> None:
    with pytest.raises(AssertionError, match=r"^\[gradcheck\] order 1, create_graph=False"):
        tg.gradcheck(lambda x: WrongKernel()(x), [leaf(1.0, 2.0)], order=1)


def test_finds_a_wrong_reference() -> None:
    with pytest.raises(AssertionError, match=r"^\[gradcheck\] order 1, create_graph=True"):
        tg.gradcheck(lambda x: WrongReference()(x), [leaf(1.0, 2.0)], order=1)


def test_shows_both_numbers() -> None:
    with pytest.raises(AssertionError, match=r"rules give \S+, the difference quotient \S+$"):
        tg.gradcheck(lambda x: WrongKernel()(x), [leaf(1.0)], order=1)


def test_checks_every_output_of_several() -> None:
    right = leaf(1.0, 2.0, 3.0)
    assert tg.gradcheck(lambda x: [x**2, x.exp()], [right])
    with pytest.raises(AssertionError):
        tg.gradcheck(lambda x: [x**2, WrongFirst()(x)], [right], order=1)


def test_checks_every_input_that_requires_a_gradient() -> None:
    with pytest.raises(AssertionError):
        tg.gradcheck(lambda a, b: a * WrongFirst()(b), [leaf(1.0, 1.0, 1.0), leaf(1.0, 2.0, 3.0)])
    constant = Tensor([1.0, 2.0, 3.0], dtype="float64")
    assert tg.gradcheck(lambda a, b: a * WrongFirst()(b), [leaf(1.0, 1.0, 1.0), constant])


def test_an_unused_input_has_a_gradient_of_zero() -> None:
    assert tg.gradcheck(lambda a, b: a**2, [leaf(1.0), leaf(2.0)])


def test_a_linear_function_has_no_second_derivative() -> None:
    assert tg.gradcheck(lambda a: a * 3, [leaf(1.0, 2.0)], order=3)


def test_leaves_inputs_as_they_were() -> None:
    x = leaf(1.0, 2.0)
    tg.gradcheck(lambda x: x**3, [x])
    assert x.tolist() == [1.0, 2.0]
    assert x.grad is None


def test_the_direction_is_random_but_repeatable() -> None:
    texts = []
    for seed in (0, 0, 1):
        with pytest.raises(AssertionError) as raised:
            tg.gradcheck(lambda x: WrongKernel()(x), [leaf(1.0, 2.0)], order=1, seed=seed)
        texts.append(str(raised.value))
    assert texts[0] == texts[1] != texts[2]


def test_tolerances_are_respected() -> None:
    def nearly(x: Tensor) -> Tensor:
        return x**2 + x.detach() * 1e-3  # a hidden slope of 1e-3

    with pytest.raises(AssertionError):
        tg.gradcheck(nearly, [leaf(1.0)], order=1)
    assert tg.gradcheck(nearly, [leaf(1.0)], order=1, rtol=1e-2)


def test_inputs_must_be_float64() -> None:
    x = Tensor(np.ones(2, np.float32), device=tg.default_device(), requires_grad=True)
    with pytest.raises(TypeError) as raised:
        tg.gradcheck(lambda x: x**2, [x])
    assert str(raised.value) == (
        "[gradcheck] expected float64 or complex128 inputs, got float32 for input 0"
    )


def test_one_input_must_require_a_gradient() -> None:
    with pytest.raises(ValueError, match="requires_grad") as raised:
        tg.gradcheck(lambda x: x**2, [Tensor([1.0], dtype="float64")])
    assert str(raised.value) == ("[gradcheck] expected at least one input with requires_grad=True")
