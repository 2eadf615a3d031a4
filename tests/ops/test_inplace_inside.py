"""Gradients of what is written in place inside of transforms, checkpoints, rules and captures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.inplace import alive, gradient, leaf, zeros
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

pytestmark = pytest.mark.usefixtures("device")


def test_a_batch_is_written_into_a_tensor_from_inside_and_its_views() -> None:
    def fn(x: Any) -> Any:
        made = zeros(2, 2)
        row, backwards = made[1], made.T.flip()
        made[0] = x
        row[0] += 1
        return made, row * 2, backwards

    xs = Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype="float64")
    for y, parts in zip(
        tg.vmap(fn)(xs), zip(*[fn(x) for x in xs.split(3)], strict=True), strict=True
    ):
        for i, part in enumerate(parts):
            np.testing.assert_array_equal(y[i].numpy(), part.numpy())


def test_an_argument_is_written_as_a_loop_would() -> None:
    def fn(x: Any) -> Any:
        x[0] = 7.0
        x += 1
        return x.sum()

    xs = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert tg.vmap(fn)(xs).tolist() == [11.0, 13.0]
    assert xs.tolist() == [[8.0, 3.0], [8.0, 5.0]]


@pytest.mark.parametrize("transform", ["vmap", "jvp"])
def test_tensors_from_outside_are_not_written_with_tracers(transform: str) -> None:
    outside = zeros(3)
    view, kept = outside[1:], outside.tolist()

    def fn(x: Any) -> Any:
        view[0] = x
        return x

    x = leaf(1.0, 2.0).detach()
    with pytest.raises(RuntimeError) as raised:
        tg.vmap(fn)(x) if transform == "vmap" else tg.jvp(fn, (x[0],), (x[0],))
    assert str(raised.value) == (
        f"[{transform}] a tensor of shape (3,) from outside of the function is written with what "
        f"{transform} computes inside, which is not there any more afterwards: make the tensor "
        "inside of the function, and return it"
    )
    assert outside.tolist() == kept
    view[0] = x[0]


def test_a_detached_tensor_does_not_miss_a_batch_in_silence() -> None:
    def fn(x: Any, late: bool) -> Any:
        made = zeros(2)
        apart = made.detach()
        made[0] = x
        return (made.detach() if late else apart) * 2

    xs = Tensor([1.0, 2.0], dtype="float64")
    assert tg.vmap(lambda x: fn(x, True))(xs).tolist() == [[2.0, 0.0], [4.0, 0.0]]
    with pytest.raises(RuntimeError, match=r"^\[Tensor\] .* take \.detach\(\) after the write$"):
        tg.vmap(lambda x: fn(x, False))(xs)


def test_the_argument_of_a_gradient_is_a_leaf() -> None:
    def fn(x: Any) -> Any:
        x[0] = 1.0
        return x.sum()

    with pytest.raises(RuntimeError, match=r"^\[index\] a leaf that wants a gradient"):
        tg.grad(fn)(Tensor([1.0, 2.0]))


def test_checkpoints() -> None:
    def fn(x: Any) -> Any:
        made = zeros(3)
        view = made[1:]
        made[0] = x[0] * x[1]
        view += x * x
        view *= x
        return made.sum()

    w = leaf(2.0, 3.0)
    expected = gradient(fn(w), w)
    assert gradient(tg.checkpoint(fn, w), w) == expected
    assert gradient(tg.checkpoint(fn, w * 1), w) == expected
    outside = zeros(2)

    def writes(x: Any) -> Any:
        outside[0] = x[0]
        return outside * x

    y = tg.checkpoint(writes, w)
    with pytest.raises(RuntimeError) as raised:
        y.sum().backward()
    assert str(raised.value) == (
        "[checkpoint] the function writes into a tensor of shape (2,) from outside, with what "
        "wants a gradient: it is called again on the way back, so write into a .clone(), and "
        "return that"
    )


@pytest.mark.usefixtures("no_collector")
def test_the_result_of_a_checkpoint_is_written_and_goes_into_its_argument() -> None:
    w = leaf(2.0, 3.0)
    before = alive()
    y = tg.checkpoint(lambda x: x * x, w)
    y[0] = w[1]
    assert gradient(y.sum(), w) == [0.0, 7.0]
    x = w * 1
    x[0] = tg.checkpoint(lambda x: x.exp().sum(), x)
    with pytest.raises(RuntimeError, match=r"^\[Joint\] .* written in place .* at ") as raised:
        x.sum().backward()
    raised.value.__traceback__ = None
    del x, y, raised
    assert alive() == before


def test_a_view_from_a_checkpoint_is_beside_its_argument() -> None:
    w = leaf(2.0, 3.0)
    x = w * 1
    y = tg.checkpoint(lambda x: x[:1], x)
    y[0] = w[1]
    assert gradient(y.sum(), w) == [0.0, 1.0]
    with pytest.raises(RuntimeError, match=r"^\[Tensor\] the memory of .* outside of its graph"):
        x * 2


def test_what_a_checkpoint_uses_from_outside_may_be_written_elsewhere() -> None:
    w = leaf(2.0, 3.0)
    x = w * 1
    view = x[:1]
    y = tg.checkpoint(lambda a: a * view, w)
    x[1] = 5.0
    assert gradient(y.sum(), w) == [9.0 - 2.0, 2.0]
    x[0] = 5.0
    with pytest.raises(RuntimeError, match=r"^\[Joint\] .* written in place .* at "):
        y.sum().backward()


class Halved(tg.Op):
    """An operation of a user's, whose rule writes into what it has made."""

    saves = ("x",)

    def forward(self, x: Any) -> Any:
        return x * x / 2

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        found = grad * 1
        view = found[:1]
        found *= x
        view[0] = grad[0] * x[0]
        return found


def test_a_rule_writes_in_place_and_is_differentiated() -> None:
    assert tg.gradcheck(lambda x: Halved()(x * x), [leaf(2.0, 3.0)], order=2)


def test_a_captured_step_writes_in_place(place: str) -> None:
    w = Tensor(to_device(np.array([2.0, 3.0]), place), requires_grad=True)

    @tg.jit
    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        made = Tensor.zeros(3, dtype="float64", device=place)
        view = made[1:]
        made[0] = x[0] * w[0]
        view += w * x
        view *= w
        loss = (made * made).sum()
        return made, tg.grad(loss, w)

    for i in range(4):
        x = Tensor(to_device(np.array([1.0 + i, 2.0]), place))
        made, slope = (y.numpy() for y in step(x))
        a, b = 1.0 + i, 2.0
        np.testing.assert_allclose(made, [2 * a, 4 * a, 9 * b])
        np.testing.assert_allclose(slope, [2 * a * 2 * a + 2 * 4 * a * 4 * a, 2 * 9 * b * 6 * b])


def test_a_tensor_from_outside_does_not_join_the_graph_of_a_captured_step(place: str) -> None:
    w = Tensor(to_device(np.array([2.0, 3.0]), place), requires_grad=True)
    outside = Tensor(to_device(np.zeros(2), place))

    @tg.jit
    def step() -> Tensor:
        outside[0] = w[0]
        return outside.sum()

    with pytest.raises(
        RuntimeError, match=r"^\[jit\] .*:\d+: a tensor of shape \(2,\) from outside is"
    ):
        step()


def test_what_was_saved_of_a_memory_that_a_batch_writes_later() -> None:
    def decay(rate: Tensor) -> Tensor:
        y = zeros(4)
        y[0] = 0.5  # a constant, which the batch has one of
        for i in range(3):
            y[i + 1] = y[i] - rate * y[i] * y[0]
        return y.sum()

    rates = Tensor([0.1, 0.3], dtype="float64")
    found = tg.vmap(tg.grad(decay))(rates)
    assert found.tolist() == pytest.approx([tg.grad(decay)(rate).item() for rate in rates])
