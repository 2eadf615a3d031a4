"""The way back over the graph: what backward and grad do, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Op, Tensor

pytestmark = pytest.mark.usefixtures("device")


def leaf(*values: float) -> Tensor:
    return Tensor(values if len(values) > 1 else values[0], dtype="float64", requires_grad=True)


# --- backward -----------------------------------------------------------------------------------


def test_backward_fills_every_leaf() -> None:
    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    (x * y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.tolist() == [5.0, 7.0]
    assert y.grad.tolist() == [2.0, 3.0]


def test_backward_accumulates_until_zero_grad() -> None:
    x = leaf(2.0)
    (x * 3).backward()
    (x * 4).backward()
    assert x.grad is not None
    assert x.grad.item() == 7.0
    x.zero_grad()
    assert x.grad is None


def test_accumulating_leaves_the_earlier_gradient_alone() -> None:
    x = leaf(2.0)
    (x * 3).backward()
    first = x.grad
    (x * 4).backward()
    assert first is not None
    assert first.item() == 3.0


def test_a_value_used_twice_counts_twice() -> None:
    x = leaf(3.0)
    y = x * x  # 9, and dy/dx = 6
    (y * y + y).backward()  # (2 y + 1) · 6
    assert x.grad is not None
    assert x.grad.item() == 19 * 6


def test_a_diamond_is_walked_once() -> None:
    calls = []

    class Twice(Op):
        def forward(self, x: Any) -> Any:
            return x * 2

        def backward(self, grad: Tensor) -> Tensor:
            calls.append(grad.item())
            return grad * 2

    x = leaf(1.0)
    shared = Twice()(x)
    (shared * 3 + shared * 5 + shared).backward()
    assert calls == [9.0]
    assert x.grad is not None
    assert x.grad.item() == 18.0


def test_backward_takes_the_gradient_of_what_follows() -> None:
    x = leaf(1.0, 2.0)
    (x * x).backward(Tensor([10.0, 100.0], dtype="float64"))
    assert x.grad is not None
    assert x.grad.tolist() == [20.0, 400.0]


def test_backward_takes_a_number() -> None:
    x = leaf(3.0)
    (x * x).backward(0.5)
    assert x.grad is not None
    assert x.grad.item() == 3.0


def test_backward_of_a_leaf_is_one() -> None:
    x = leaf(3.0)
    x.backward()
    assert x.grad is not None
    assert x.grad.item() == 1.0


def test_only_leaves_keep_gradients() -> None:
    x = leaf(2.0)
    y = x * 2
    (y * 3).backward()
    assert y.grad is None
    assert (x.is_leaf, y.is_leaf) == (True, False)


def test_a_second_backward_says_what_to_do() -> None:
    x = leaf(2.0)
    y = (x * x).exp()
    y.backward()
    with pytest.raises(RuntimeError) as raised:
        y.backward()
    assert str(raised.value) == (
        "[Exp] this graph was already used by a backward pass, which freed its saved values; pass "
        "retain_graph=True to the first pass to use it again"
    )


def test_a_second_backward_of_operations_that_save_nothing_is_refused_too() -> None:
    x = leaf(2.0)
    y = x + 1
    y.backward()
    with pytest.raises(RuntimeError, match=r"^\[Add\] this graph was already used"):
        y.backward()


def test_retain_graph_allows_another_backward() -> None:
    x = leaf(2.0)
    y = x**3
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 24.0


def test_create_graph_retains_unless_told_otherwise() -> None:
    x = leaf(2.0)
    y = x**3
    y.backward(create_graph=True)
    y.backward(create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="already used"):
        y.backward()
    x.zero_grad()


def test_backward_with_create_graph_gives_a_gradient_that_has_one() -> None:
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    first, x.grad = x.grad, None
    assert first is not None
    assert first.requires_grad
    first.backward()
    assert x.grad is not None
    assert x.grad.item() == 12.0


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_leaves_never_share_memory(create_graph: bool) -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    seed = Tensor([5.0, 6.0], dtype="float64")
    (a + b).backward(seed, create_graph)
    assert a.grad is not None
    assert b.grad is not None
    arrays = [a.grad.data, b.grad.data, seed.data]
    pointers = {array.__array_interface__["data"][0] for array in map(as_host, arrays)}
    assert len(pointers) == 3
    a.grad.data[...] = 0
    assert b.grad.tolist() == seed.tolist() == [5.0, 6.0]


def as_host(array: Any) -> Any:
    """An array whose memory can be told apart: on a GPU, one that pretends to be its own."""
    if isinstance(array, np.ndarray):
        return array

    class Pointer:
        __array_interface__ = array.__cuda_array_interface__

    return Pointer()


@pytest.mark.parametrize("view", ["reshape", "transpose", "broadcast", "index"])
def test_a_gradient_that_is_a_view_becomes_memory_of_its_own(view: str) -> None:
    x = Tensor.ones(2, 3, dtype="float64", requires_grad=True)
    y = {
        "reshape": lambda: x.reshape(6),
        "transpose": lambda: x.T,
        "broadcast": lambda: x.sum(),
        "index": lambda: x[:, ::-1],
    }[view]()
    y.backward(Tensor.ones(*y.shape, dtype="float64"))
    assert x.grad is not None
    x.grad.data[0, 0] = 7.0  # a broadcast gradient is read-only, and one element of it is all
    assert x.grad.tolist() == [[7.0, 1.0, 1.0], [1.0, 1.0, 1.0]]


# --- what backward refuses ----------------------------------------------------------------------


def test_backward_of_a_constant_says_so() -> None:
    with pytest.raises(RuntimeError) as raised:
        Tensor([1.0, 2.0]).sum().backward()
    assert str(raised.value) == (
        "[backward] the tensor (shape ()) does not require a gradient: nothing it was computed "
        "from has requires_grad=True"
    )


def test_backward_of_several_elements_asks_for_a_gradient() -> None:
    with pytest.raises(RuntimeError) as raised:
        (leaf(1.0, 2.0) * 2).backward()
    assert str(raised.value) == (
        "[backward] only a tensor with one element has a gradient of its own; for shape (2,) pass "
        "the gradient of what is computed from it"
    )


def test_backward_checks_the_shape_of_the_gradient() -> None:
    with pytest.raises(
        ValueError, match=r"^\[backward\] expected a gradient of shape \(2,\), got"
    ) as e:
        (leaf(1.0, 2.0) * 2).backward(Tensor.ones(3))
    assert str(e.value).endswith("got (3,)")


# --- grad ---------------------------------------------------------------------------------------


def test_grad_returns_and_leaves_dot_grad_alone() -> None:
    x = leaf(3.0)
    found = tg.grad(x**2, x)
    assert found.item() == 6.0
    assert x.grad is None


def test_grad_of_sequences() -> None:
    x, y = leaf(2.0), leaf(5.0)
    found = tg.grad([x * y, x**2], [x, y])
    assert [g.item() for g in found] == [5.0 + 4.0, 2.0]
    weighted = tg.grad([x * y, x**2], [x, y], [Tensor(10.0), Tensor(100.0)])
    assert [g.item() for g in weighted] == [450.0, 20.0]


def test_grad_of_an_intermediate_value() -> None:
    x = leaf(2.0)
    y = x * 3
    z = y**2
    assert [g.item() for g in tg.grad(z, [y, x])] == [12.0, 36.0]


def test_grad_of_the_output_itself() -> None:
    x = leaf(2.0)
    y = x * 3
    assert [g.item() for g in tg.grad(y, [y, x])] == [1.0, 3.0]


def test_grad_stops_at_what_was_asked() -> None:
    ran = []

    class Watched(Op):
        def forward(self, x: Any) -> Any:
            return x * 1

        def backward(self, grad: Tensor) -> Tensor:
            ran.append(True)
            return grad

    x = leaf(2.0)
    y = Watched()(x)
    assert tg.grad(y * 5, y).item() == 5.0
    assert not ran  # the graph above y is neither walked nor freed
    assert tg.grad(y * 7, x).item() == 7.0


def test_grad_of_an_unused_input() -> None:
    x, unused = leaf(2.0), leaf(1.0, 2.0)
    with pytest.raises(RuntimeError) as raised:
        tg.grad(x**2, [x, unused])
    assert str(raised.value) == (
        "[grad] input 1 (shape (2,)) was not used to compute the outputs; pass allow_unused=True "
        "to get None for it"
    )
    assert tg.grad(x**2, [x, unused], allow_unused=True)[1] is None


def test_grad_of_a_constant_input() -> None:
    x = leaf(2.0)
    with pytest.raises(RuntimeError) as raised:
        tg.grad(x**2, [Tensor(1.0)])
    assert str(raised.value) == "[grad] input 0 (shape ()) does not require a gradient"


def test_grad_wants_one_weight_per_output() -> None:
    x = leaf(2.0)
    with pytest.raises(
        ValueError, match=r"^\[grad\] expected 2 grad_outputs, one per output, got 1$"
    ):
        tg.grad([x**2, x], [x], [Tensor(1.0)])


def test_derivatives_of_any_order() -> None:
    x = leaf(2.0)
    value = x**5
    for expected in (80.0, 160.0, 240.0, 240.0, 120.0):
        value = tg.grad(value, x, create_graph=True)
        assert value.item() == pytest.approx(expected)


def test_a_gradient_without_create_graph_is_a_constant() -> None:
    x = leaf(2.0)
    assert not tg.grad(x**3, x).requires_grad
    assert tg.grad(x**3, x, create_graph=True).requires_grad


def test_third_order_against_the_formula() -> None:
    x = leaf(0.3, -0.8)
    y = x.tanh().sum()
    for _ in range(3):
        y = tg.grad(y, x, create_graph=True).sum()
    t = np.tanh([0.3, -0.8])
    expected = (-2 + 8 * t**2 - 6 * t**4).sum()  # tanh''' = -2 + 8 t² - 6 t⁴
    assert y.item() == pytest.approx(expected, rel=1e-12)


def test_backward_and_grad_agree_on_a_mixed_derivative() -> None:
    x, y = leaf(0.5), leaf(1.5)
    by_x = tg.grad((x * y).sin() * y, x, create_graph=True)  # y² cos(x y)
    by_x.backward()
    expected = 2 * 1.5 * np.cos(0.75) - 1.5**2 * 0.5 * np.sin(0.75)
    assert y.grad is not None
    assert y.grad.item() == pytest.approx(expected)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_value_of_16_bits_that_is_used_often_has_its_gradient_rounded_once(dtype: str) -> None:
    """Added up one by one, 1 + 1 + … stays at 2,048 in float16, and at 256 in bfloat16."""
    x = Tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    square = x * x
    calls = [tg.concat([x] * 3000), tg.concat([square] * 3000)]
    for y, expected in zip(calls, ([3000.0, 3000.0], [6000.0, 12000.0]), strict=True):
        found = tg.grad(y.sum(), x, create_graph=True, retain_graph=True)
        assert found.dtype == x.dtype
        np.testing.assert_allclose(found.numpy().astype(float), expected, rtol=2.0**-8)
    second = tg.grad(found.sum(), x)
    assert second.dtype == x.dtype
    np.testing.assert_allclose(second.numpy().astype(float), 6000.0, rtol=2.0**-8)
    x.zero_grad()
    tg.concat([square] * 3000).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == x.dtype
    np.testing.assert_allclose(x.grad.numpy().astype(float), [6000.0, 12000.0], rtol=2.0**-8)
