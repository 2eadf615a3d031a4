"""A user's backward that works on arrays: right once, and an error where it is differentiated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import FusedOp, Op, Tensor

pytestmark = pytest.mark.usefixtures("device")


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), dtype="float64", requires_grad=True)


class Cubed(Op):
    saves = ("x",)

    def forward(self, x: Any) -> Any:
        return x**3


class OfArrays(Cubed):
    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return Tensor(grad.data * 3 * x.data**2)


class OfOneArray(Cubed):
    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * Tensor(x.data**2) * 3


class OfAnArrayBehindAnOperation(Cubed):
    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * Tensor((x * x * 3).data)


class Detached(Cubed):
    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (x * x * 3).detach()


class Copied(Cubed):
    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * Tensor(x.numpy() ** 2 * 3, device=x.device)


class Rewrapped(Cubed):
    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * Tensor(x) * Tensor(x) * 3


class Unrecorded(Cubed):
    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        with tg.no_grad():
            return grad * x * x * 3


class OfItsOutput(Op):
    saves = ("x", "y")

    def forward(self, x: Any) -> Any:
        return x**3

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return grad * Tensor(y.data) / x * 3


class Kept(Op):
    def forward(self, x: Any) -> Any:
        self.slope = 3 * x**2
        return x**3

    def backward(self, grad: Tensor) -> Tensor:
        return grad * Tensor(self.slope)


class KeptUnderAKnownName(Kept):
    def __init__(self) -> None:
        self.slope: Any = None


class KeptInside(Kept):
    """In a container or an object that was there before forward."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def forward(self, x: Any) -> Any:
        held = self.held if isinstance(self.held, dict) else vars(self.held)
        held["x"] = [x]
        return x**3

    def backward(self, grad: Tensor) -> Tensor:
        held = self.held if isinstance(self.held, dict) else vars(self.held)
        return grad * Tensor(held["x"][0] ** 2 * 3)


class WithoutReference(FusedOp):
    def forward(self, x: Any) -> Any:
        return x**3

    def backward_arrays(self, grad: Any, x: Any) -> Any:
        return (grad * 3 * x**2,)


class ReferenceOnArrays(WithoutReference):
    def reference(self, x: Tensor) -> Tensor:
        return x * Tensor(x.data**2)


RULES = [
    (OfArrays, r"works on arrays (.data)"),
    (OfOneArray, r"works on arrays (.data)"),
    (OfAnArrayBehindAnOperation, r"works on arrays (.data)"),
    (Detached, r"works on arrays (.detach())"),
    (Copied, r"works on arrays (.numpy())"),
    (Rewrapped, r"works on arrays (Tensor(…))"),
    (Unrecorded, r"works on arrays (no_grad)"),
    (OfItsOutput, r"works on arrays (.data)"),
    (Kept, r"reads self.slope"),
    (KeptUnderAKnownName, r"reads self.slope"),
    (WithoutReference, r"works on arrays (backward_arrays)"),
]


@pytest.mark.parametrize(("kind", "why"), RULES, ids=[kind.__name__ for kind, _ in RULES])
def test_a_second_derivative_raises(kind: type[Op], why: str) -> None:
    x = leaf(1.0, 2.0)
    first = tg.grad((kind()(x) + x * x).sum(), x, create_graph=True)
    assert first.tolist() == [5.0, 16.0]
    with pytest.raises(RuntimeError) as raised:
        tg.grad(first.sum(), x)
    assert str(raised.value).startswith(f"[{kind.__name__}] its backward {why}")
    with pytest.raises(RuntimeError, match=rf"^\[{kind.__name__}\] its backward"):
        tg.grad((kind()(x) * x).sum(), x, create_graph=True).sum().backward()


@pytest.mark.parametrize("held", [dict, SimpleNamespace])
def test_what_forward_puts_into_an_attribute_is_noticed(held: Any) -> None:
    x = leaf(1.0, 2.0)
    first = tg.grad((KeptInside(held())(x) + x * x).sum(), x, create_graph=True)
    assert first.tolist() == [5.0, 16.0]
    with pytest.raises(
        RuntimeError, match=r"^\[KeptInside\] its backward reads self.held, floating"
    ):
        tg.grad(first.sum(), x)


def test_the_errors_say_what_to_give_instead() -> None:
    texts = []
    for kind in (OfArrays, Kept):
        x = leaf(1.0)
        first = tg.grad(kind()(x), x, create_graph=True)
        with pytest.raises(RuntimeError) as raised:
            first.backward()
        texts.append(str(raised.value))
    assert texts == [
        "[OfArrays] its backward works on arrays (.data), so what it gives cannot be "
        "differentiated again: write backward in tensor operations, or make it a FusedOp, with a "
        "reference in them",
        "[Kept] its backward reads self.slope, floating-point values that forward computed, so "
        "what it gives cannot be differentiated again: name what backward reads in saves, or, "
        "where it does not depend on the inputs, in constants",
    ]


def test_a_reference_on_arrays_raises() -> None:
    x = leaf(2.0)
    first = tg.grad(ReferenceOnArrays()(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^\[ReferenceOnArrays\] its backward works on arrays"):
        tg.grad(first, x)


@pytest.mark.parametrize("kind", [OfArrays, Kept, WithoutReference])
def test_a_first_derivative_is_as_ever(kind: type[Op]) -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    assert tg.gradcheck(lambda x: kind()(x), [x], order=1)
    y = (kind()(x) + w * w).sum()
    by_w = tg.grad(y, w, create_graph=True)
    assert tg.grad(by_w.sum(), w).tolist() == [2.0, 2.0]  # another way, which is differentiable
    (kind()(x)).sum().backward(create_graph=True)
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 12.0]
    x.grad = None


# --- rules that are differentiable ----------------------------------------------------------------


class Rectified(Cubed):
    """max(x, 0)³: what is decided by comparing has no derivative."""

    def forward(self, x: Any) -> Any:
        return x.clip(0) ** 3

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        assert x.ndim == 1
        assert x.dtype == grad.dtype
        positive = (x > 0).data
        return grad.where(positive, 0) * x * x * (3 if (x > 0).numpy().size else 0)


class Product(Op):
    saves = ("a", "b")

    def forward(self, a: Any, b: Any) -> Any:
        return a * b

    def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> Any:
        return grad * b if self.needs[0] else None, grad * a if self.needs[1] else None


class Chosen(Op):
    """Twice the positive elements: a mask, which is boolean, may be kept."""

    def forward(self, x: Any) -> Any:
        self.mask = x > 0
        return x * self.mask * 2

    def backward(self, grad: Tensor) -> Tensor:
        return grad.where(self.mask, 0) * 2


class Dropped(Op):
    constants = ("mask",)

    def forward(self, x: Any) -> Any:
        self.mask = np.array([0.0, 2.0, 2.0]) if self.xp is np else self.xp.array([0.0, 2.0, 2.0])
        return x * self.mask

    def backward(self, grad: Tensor) -> Tensor:
        return grad * self.mask


class Nested(Cubed):
    """x³ as x · x², of which the second is an operation of a user's as well."""

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * Product()(x, x) * 3


class KeptForOthers(Cubed):
    """Values that forward leaves and backward does not read, or leaves itself, lose no term."""

    def __init__(self) -> None:
        self.factors = [1.0, 3.0]

    def forward(self, x: Any) -> Any:
        self.largest, self.steps = float(abs(x).max()), {"square": x * x}
        return x**3

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        self.arrived = grad
        return grad * x * x * self.factors[1]


class OfItsOwnKind(Cubed):
    """x³, whose rule makes another operation of its class."""

    def __init__(self, exponent: int = 3) -> None:
        self.exponent = exponent

    def forward(self, x: Any) -> Any:
        self.largest = float(x.max())
        return x**self.exponent

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        if self.exponent == 1:
            return grad
        return grad * type(self)(self.exponent - 1)(x) * self.exponent


class Named(Op):
    def __init_subclass__(cls, name: str) -> None:
        super().__init_subclass__()


class KeptBySome(Named, name="kept"):
    def forward(self, x: Any) -> Any:
        self.slope = 3 * x**2
        return x**3

    def backward(self, grad: Tensor) -> Tensor:
        return grad * Tensor(self.slope)


def test_a_class_with_subclasses_of_its_own_ways() -> None:
    x = leaf(1.0, 2.0)
    first = tg.grad((KeptBySome()(x) + x * x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^\[KeptBySome\] its backward reads self.slope"):
        tg.grad(first.sum(), x)


class OfAConstantArray(Op):
    """x² · w: the values of a tensor without a gradient may be read."""

    saves = ("x", "w")

    def forward(this, x: Any, w: Any) -> Any:  # noqa: N805
        return x * x * w

    def backward(self, grad: Tensor, x: Tensor, w: Tensor) -> Any:
        assert w.numpy().sum() > 0
        return grad * x * Tensor(w.data * 2), None


def test_values_outside_of_the_graph_may_be_read() -> None:
    w = Tensor([1.0, 2.0, 4.0], dtype="float64")
    assert tg.gradcheck(lambda x: OfAConstantArray()(x, w), [leaf(-1.0, 2.0, 0.5)], order=3)


@pytest.mark.parametrize("kind", [Rectified, Chosen, Dropped, Nested, KeptForOthers, OfItsOwnKind])
def test_rules_in_tensors_are_differentiable(kind: type[Op]) -> None:
    assert tg.gradcheck(lambda x: kind()(x) * x, [leaf(-1.0, 2.0, 0.5)], order=3)


def test_a_product_with_a_constant_is_differentiable() -> None:
    constant = Tensor([3.0, 4.0], dtype="float64")
    assert tg.gradcheck(lambda a: Product()(a, constant) * a, [leaf(1.0, 2.0)], order=3)
    assert tg.gradcheck(lambda a, b: Product()(a, b * a), [leaf(1.0, 2.0), leaf(3.0, 4.0)])


def test_what_a_rule_gives_is_a_plain_tensor() -> None:
    x = leaf(1.0, 2.0)
    first = tg.grad(Nested()(x).sum(), x, create_graph=True)
    assert type(first) is Tensor
    first.data[...] = 0  # and may be read by anybody
    second = tg.grad((first * x).sum(), x, create_graph=True)
    assert type(second) is Tensor
