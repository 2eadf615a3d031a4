"""`jit`: what it refuses or warns of, how that reads, and what an error leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.jit_runs import State, batches, training, values
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import capture
from tinygrad_cupy.jit.recording import Recording
from tinygrad_cupy.nn import optim

# --- state that a replay would not move -----------------------------------------------------------


def test_an_optimizer_first_stepped_in_a_capture_is_refused(place: str) -> None:
    w = Tensor([1.0], requires_grad=True)
    adam = optim.Adam([w], lr=0.1)
    calls = []

    @tg.jit
    def step(x: Tensor) -> None:
        w.grad = None
        (x * w).sum().backward()
        calls.append(1)
        if len(calls) > 1:
            adam.step()

    x = Tensor([1.0])
    step(x)
    with pytest.raises(
        RuntimeError, match=rf"{__file__}:\d+: .* of Adam .* first made while .* outside of the"
    ):
        step(x)
    adam.step()
    StandInPool.owners[:] = [adam, State(w)]
    for _ in range(3):
        step(x)
    assert adam.steps == [4]


def test_a_statistic_first_made_in_a_capture_is_refused(place: str) -> None:
    class Statistic:
        mean: Tensor | None = None
        wanted = False

        def __call__(self, x: Tensor) -> None:
            if self.mean is None and self.wanted:
                self.mean = Tensor.zeros(2)
            if self.mean is not None:
                self.mean.assign_(self.mean * 0.5 + x)  # written

    statistic = Statistic()
    function = tg.jit(lambda x: statistic(x))
    x = Tensor([1.0, 2.0])
    function(x)
    statistic.wanted = True
    with pytest.raises(RuntimeError) as caught:
        function(x)
    assert "a tensor of shape (2,) is made, written in place and kept" in str(caught.value)
    assert f"{__file__}:{_line('# written')}: " in str(caught.value)
    statistic.mean = Tensor.zeros(2)
    StandInPool.owners[:] = [State(statistic.mean)]
    for _ in range(3):
        function(x)
    assert values(statistic.mean) == [1.75, 3.5]


def test_a_state_that_is_replaced_rather_than_written_is_refused(place: str) -> None:
    state = {"mean": Tensor.zeros(2)}

    @tg.jit
    def function(x: Tensor) -> Tensor:
        mean = state["mean"] * 0.5 + x  # replaced
        state["mean"] = mean
        return mean * mean

    x = Tensor([1.0, 2.0])
    function(x)
    with pytest.raises(RuntimeError) as caught:
        function(x)
    assert "a tensor of shape (2,) from outside is used and not there any more" in str(caught.value)
    assert ".assign_()" in str(caught.value)
    assert f"{__file__}:{_line('# replaced')}: " in str(caught.value)


def _line(text: str) -> int:
    """The line of this file that ends with ``text``."""
    with open(__file__, encoding="utf-8") as file:
        return next(i for i, line in enumerate(file, start=1) if line.rstrip().endswith(text))


# --- arguments and results ------------------------------------------------------------------------


def test_what_cannot_be_an_argument_or_result(place: str) -> None:
    w = Tensor([1.0], requires_grad=True)
    identity = tg.jit(lambda x: x)
    with pytest.raises(TypeError, match=r"\[jit\] arguments of <lambda>: expected .* got set"):
        identity([{1}])
    with pytest.raises(RuntimeError, match=r"part of a graph.*\.detach\(\)"):
        identity(w * 2)
    with tg.no_grad():
        assert identity(w * 2).item() == 2
    with pytest.raises(TypeError, match=r"\[jit\] results of <lambda>: expected .* got set"):
        tg.jit(lambda x: {1, 2})(w)


@pytest.mark.parametrize("alias", [lambda x: x.detach(), lambda x: x[:2]])
def test_a_written_argument_that_shares_memory_with_another_is_refused(
    place: str, alias: Callable[[Tensor], Tensor]
) -> None:
    @tg.jit
    def step(x: Tensor, y: Tensor) -> Tensor:
        x.assign_(x + 1)
        return y * 1

    x = Tensor([0.0, 0.0, 0.0])
    assert step(x, alias(x)).tolist()[0] == 1
    with pytest.raises(
        RuntimeError, match=r"of step of shape \(3,\) is written in place and shares"
    ):
        step(x, alias(x))
    other = Tensor([5.0, 6.0, 7.0])
    for _ in range(3):
        assert step(x, other).tolist() == [5, 6, 7]
    with pytest.raises(RuntimeError, match="pass one of them only"):  # by a replay
        step(x, alias(x))
    assert x.tolist() == [4, 4, 4]


def test_written_arguments_may_lie_side_by_side(place: str) -> None:
    @tg.jit
    def step(x: Tensor, y: Tensor) -> Tensor:
        x.assign_(x + 1)
        return y * 1

    both = Tensor([0.0, 0.0, 7.0, 8.0])
    for _ in range(4):
        assert step(both[:2], both[2:]).tolist() == [7, 8]
    assert both.tolist() == [4, 4, 7, 8]


def test_arrays_among_the_arguments_that_share_memory_are_refused(place: str) -> None:
    @tg.jit
    def step(x: Tensor, array: Any) -> None:
        x.assign_(x + 1)

    x = Tensor([0.0, 0.0])
    step(x, x.data)
    with pytest.raises(RuntimeError, match="shares memory with another argument"):
        step(x, x.data)


def test_a_hyperparameter_that_is_set_inside_is_refused(place: str) -> None:
    w = Tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    @tg.jit
    def step() -> None:
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.lr = optimizer.lr / 2  # set
        optimizer.step()

    with pytest.raises(RuntimeError, match="lr of SGD is set, which every replay would") as caught:
        step()
    assert f"{__file__}:{_line('# set')}: " in str(caught.value)
    assert optimizer.lr == 0.5


def test_an_argument_that_is_used_from_outside_too_is_refused(place: str) -> None:
    """A capture works on a copy of its arguments: what it wrote into one would be lost."""
    weight = Tensor([1.0, 2.0], requires_grad=True)

    @tg.jit
    def step(w: Tensor) -> Tensor:
        return (w * weight).sum()

    step(weight)
    with pytest.raises(RuntimeError, match="is an argument and is used from outside as well"):
        step(weight)
    assert tg.jit(lambda w: (w * 2).sum())(weight).item() == 6


def test_a_number_that_changes_in_each_call_is_warned_of(place: str) -> None:
    scale = tg.jit(lambda x, factor: x * factor)
    x = Tensor([1.0])
    for i in range(31):
        assert scale(x, i).item() == i
    with pytest.warns(UserWarning, match="32 calls of <lambda> ran eagerly"):
        scale(x, 31)
    scale(x, 32)


# --- errors ---------------------------------------------------------------------------------------


def test_errors_name_the_line() -> None:
    text = rf"\[jit\] {__file__}:\d+: values are read .* inside step"
    with pytest.raises(RuntimeError, match=text):
        Recording("step", (), on_gpu=True).run(lambda: capture.refuse_read())
    capture.refuse_read()


def test_an_exception_leaves_a_usable_program(place: str) -> None:
    model, _, step = training()
    (x, y), *_ = batches(1)
    wanted: list[str] = []

    @tg.jit
    def risky(x: Tensor, y: Tensor) -> Tensor:
        loss = step(x, y)
        if wanted:
            raise KeyError(wanted.pop())
        return loss

    first = risky(x, y).numpy()
    before = [p.grad for p in model.parameters()]
    weights = [p.numpy() for p in model.parameters()]
    wanted.append("inside the capture")
    with pytest.raises(KeyError, match="inside the capture"):
        risky(x, y)
    assert all(p.grad is g for p, g in zip(model.parameters(), before, strict=True))
    for p, old in zip(model.parameters(), weights, strict=True):
        np.testing.assert_array_equal(p.numpy(), old)
    losses = [first, step(x, y).numpy(), *(risky(x, y).numpy() for _ in range(4))]
    _, _, fresh = training()
    np.testing.assert_array_equal(losses, [fresh(x, y).numpy() for _ in range(6)])
