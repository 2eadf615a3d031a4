"""The graph: when something is recorded, and what operations of the user's own may do."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Op, Tensor

pytestmark = pytest.mark.usefixtures("device")


def leaf(*values: float) -> Tensor:
    return Tensor(values if len(values) > 1 else values[0], dtype="float64", requires_grad=True)


# --- what is recorded ---------------------------------------------------------------------------


def test_detach_shares_memory_and_stops_gradients() -> None:
    x = leaf(2.0, 3.0)
    y = (x * 2).detach()
    assert not y.requires_grad
    assert x.detach().data is x.data
    (x * x.detach()).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 3.0]


def test_no_grad_as_context() -> None:
    x = leaf(2.0)
    with tg.no_grad():
        assert not tg.is_grad_enabled()
        assert not (x * 2).requires_grad
    assert tg.is_grad_enabled()
    assert (x * 2).requires_grad


def test_no_grad_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        raise ZeroDivisionError
    assert tg.is_grad_enabled()


def test_no_grad_as_decorator_even_of_a_recursive_function() -> None:
    x = leaf(2.0)

    @tg.no_grad()
    def power(n: int) -> Tensor:
        return x if n == 1 else power(n - 1) * x

    found = power(4)
    assert found.item() == 16.0
    assert not found.requires_grad
    assert tg.is_grad_enabled()


def test_no_grad_is_per_thread() -> None:
    x = leaf(2.0)
    seen = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
        assert not (x * 2).requires_grad
    assert seen == [True]


def test_a_backward_inside_no_grad_works_on_a_graph_from_outside() -> None:
    x = leaf(2.0)
    y = x**2
    with tg.no_grad():
        y.backward()
    assert x.grad is not None
    assert x.grad.item() == 4.0


def test_requires_grad_is_inherited() -> None:
    constant = Tensor([1.0])
    assert not (constant * 2).requires_grad
    assert (constant * 2).is_leaf
    assert (constant * leaf(1.0)).requires_grad


def test_integers_have_no_gradient() -> None:
    with pytest.raises(TypeError) as raised:
        Tensor([1, 2], requires_grad=True)
    assert str(raised.value) == (
        "[Tensor] only floating-point and complex tensors have gradients, got dtype int64"
    )


def test_comparisons_and_positions_are_not_recorded() -> None:
    x = leaf(1.0, 2.0)
    assert not (x > 1).requires_grad
    assert not (x == x).requires_grad
    assert not x.argmax().requires_grad


# --- gradients that are set -----------------------------------------------------------------------


def test_a_gradient_that_does_not_fit_is_refused() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    where = tg.default_device()
    for wrong, came in (
        (Tensor([1.0]), "shape (1,), dtype float32"),
        (Tensor([[1.0, 2.0]]), "shape (1, 2), dtype float32"),
        (Tensor([1.0, 2.0], dtype="float64"), "shape (2,), dtype float64"),
        (Tensor([1, 2]), "shape (2,), dtype int64"),
    ):
        with pytest.raises(ValueError, match="as the tensor has") as raised:
            x.grad = wrong
        assert str(raised.value) == (
            f"[grad] expected shape (2,), dtype float32 on {where}, as the tensor has, got {came} "
            f"on {where}"
        )
    with pytest.raises(TypeError) as raised_type:
        x.grad = x.numpy()  # type: ignore[assignment]
    assert str(raised_type.value) == "[grad] expected a Tensor or None, got ndarray"
    assert x.grad is None
    x.grad = Tensor([3.0, 4.0])
    (x * 2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [5.0, 6.0]


@pytest.mark.gpu
def test_a_gradient_on_another_device_is_refused() -> None:
    x = Tensor([1.0], device="cuda", requires_grad=True)
    with pytest.raises(ValueError, match=r"on cuda:0, as the tensor has, got .* on cpu$"):
        x.grad = Tensor([1.0], device="cpu")


def test_another_array_forgets_a_gradient_that_does_not_fit_it() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.grad = Tensor([3.0, 4.0])
    x.replace_data(x.data * 2)
    assert x.grad is not None
    x.replace_data(x.data[:1])
    assert x.grad is None
    x.grad = Tensor([3.0])
    x.replace_data(x.data.astype("float64"))
    assert x.grad is None
    with pytest.raises(TypeError, match="only floating-point and complex tensors have gradients"):
        x.replace_data(x.data.astype("int64"))


def test_a_gradient_of_an_earlier_shape_is_not_added_to() -> None:
    x = Tensor([1.0], requires_grad=True)
    x.grad = Tensor([3.0])
    x.data = Tensor([1.0, 2.0]).data
    with pytest.raises(ValueError, match=r"^\[backward\] expected a \.grad of shape \(2,\), "):
        (x * 2).sum().backward()
    x.zero_grad()
    (x * 2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]


# --- operations of the user's own ---------------------------------------------------------------


class Cube(Op):
    saves = ("x",)

    def forward(self, x: Any) -> Any:
        return x**3

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * x * x * 3


def test_an_operation_of_ones_own_is_differentiable_twice() -> None:
    x = leaf(2.0, -1.0)
    assert tg.gradcheck(lambda x: Cube()(x), [x], order=3)


def test_a_gradient_of_the_wrong_shape_names_the_operation() -> None:
    class Summed(Op):
        def forward(self, x: Any) -> Any:
            return x.sum()

        def backward(self, grad: Tensor) -> Tensor:
            return grad

    with pytest.raises(RuntimeError) as raised:
        Summed()(leaf(1.0, 2.0)).backward()
    assert str(raised.value) == (
        "[Summed] expected a gradient of shape (2,) and dtype float64 for input 0, got shape () "
        "and dtype float64"
    )


def test_a_gradient_of_the_wrong_dtype_names_the_operation() -> None:
    class Narrowed(Op):
        def forward(self, x: Any) -> Any:
            return x * 2

        def backward(self, grad: Tensor) -> Tensor:
            return (grad * 2).astype("float32")

    with pytest.raises(RuntimeError) as raised:
        Narrowed()(leaf(1.0, 2.0)).sum().backward()
    assert str(raised.value) == (
        "[Narrowed] expected a gradient of shape (2,) and dtype float64 for input 0, got shape "
        "(2,) and dtype float32"
    )


def test_a_missing_gradient_names_the_operation() -> None:
    class Product(Op):
        saves = ("b",)

        def forward(self, a: Any, b: Any) -> Any:
            return a * b

        def backward(self, grad: Tensor, b: Tensor) -> Tensor:
            return grad * b

    with pytest.raises(RuntimeError) as raised:
        Product()(leaf(1.0), leaf(2.0)).backward()
    assert str(raised.value) == "[Product] expected 2 gradients from backward, got 1"


def test_an_array_as_gradient_names_the_operation() -> None:
    class Bare(Op):
        def forward(self, x: Any) -> Any:
            return x * 2

        def backward(self, grad: Tensor) -> Any:
            return grad.data * 2

    with pytest.raises(TypeError) as raised:
        Bare()(leaf(1.0, 2.0)).sum().backward()
    assert str(raised.value) == (
        "[Bare] expected backward to give tensors, got ndarray for input 0"
    )


def test_an_instance_is_one_node() -> None:
    cube = Cube()
    cube(leaf(1.0))
    with pytest.raises(RuntimeError) as raised:
        cube(leaf(2.0))
    assert str(raised.value) == (
        "[Cube] this instance is a node of a graph already; make a new one for every call"
    )


def test_saving_what_forward_does_not_take_is_refused_at_once() -> None:
    with pytest.raises(TypeError) as raised:

        class Wrong(Op):
            saves = ("z",)

            def forward(self, x: Any) -> Any:
                return x

    assert str(raised.value) == "[Wrong] saves {'z'}, but forward takes ['x']"


def test_needs_says_whose_gradient_is_wanted() -> None:
    seen = []

    class Product(Op):
        saves = ("a", "b")

        def forward(self, a: Any, b: Any) -> Any:
            return a * b

        def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> Any:
            seen.append(self.needs)
            return grad * b if self.needs[0] else None, grad * a if self.needs[1] else None

    x, y = leaf(2.0), leaf(3.0)
    Product()(x, Tensor(4.0, dtype="float64")).backward()
    tg.grad(Product()(x, y), y)
    Product()(x, y).backward()
    assert seen == [(True, False), (False, True), (True, True)]
