"""`jit`: what it returns and the gradients it leaves, and when they are written over."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import tinygrad_cupy as tg
from support.jit_runs import values
from tinygrad_cupy import Tensor

# --- results --------------------------------------------------------------------------------------


def test_a_result_is_read_before_the_next_call(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    inputs = [Tensor([float(i)]) for i in range(5)]
    results = [double(x) for x in inputs[:2]]
    kept = double(inputs[2]).detach().clone()
    third = double(inputs[3])
    assert isinstance(third, Tensor)
    assert third.item() == 6
    last = double(inputs[4])
    with pytest.raises(RuntimeError) as caught:
        third.numpy()
    said = str(caught.value)
    assert "result of call 4 of <lambda>, and call 5 wrote over it" in said
    assert ".detach().clone()" in said
    assert ".item()" in said
    for use in (lambda: third + 1, lambda: third.shape, lambda: third[0], lambda: bool(third)):
        with pytest.raises(RuntimeError, match="wrote over it"):
            use()
    assert repr(third) == "Tensor(of call 4 of <lambda>, overwritten)"
    assert [x.item() for x in (results[0], kept, last)] == [0, 4, 8]


def test_views_of_a_result_age_with_it_and_copies_do_not(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    x = Tensor([[1.0, 2.0]])
    double(x), double(x)
    y = double(x)
    views = [y.detach(), y[0], y.reshape(2), y.T]
    copies = [y.clone(), Tensor(y), copy.copy(y), copy.deepcopy(y), pickle.loads(pickle.dumps(y))]
    assert [v.sum().item() for v in views] == [6] * 4
    double(x * 10)
    for view in views:
        with pytest.raises(RuntimeError, match="wrote over it"):
            view.numpy()
    assert [values(c) for c in copies] == [[2, 4]] * 5
    assert {type(c) for c in copies} == {Tensor}


def test_results_may_be_nested_and_hold_arguments_and_parameters(place: str) -> None:
    class Pair(NamedTuple):
        a: Any
        b: Any

    weight = Tensor([3.0], requires_grad=True)

    @tg.jit
    def function(x: Tensor, factor: float = 2.0) -> Any:
        y = x * weight
        return {"y": [y, y], "x": x, "pair": Pair(weight, None), "factor": factor}

    x = Tensor([5.0])
    for _ in range(4):
        result = function(x, factor=7.0)
        assert values(result["y"][0]) == [15]
        assert result["y"][0] is result["y"][1]
        assert not result["y"][0].requires_grad
        assert result["x"] is x
        assert result["pair"].a is weight
        assert result["pair"].b is None
        assert result["factor"] == 7


def test_a_result_may_be_an_argument_of_the_next_call(place: str) -> None:
    grow = tg.jit(lambda x: x * 2)
    x = Tensor([1.0])
    for _ in range(6):
        x = grow(x)
    assert x.item() == 64


def test_a_graph_that_used_a_result_notices_that_it_was_overwritten(place: str) -> None:
    double = tg.jit(lambda x: x * 2)
    x, w = Tensor([1.0]), Tensor([3.0], requires_grad=True)
    double(x), double(x)
    loss = double(x) * w
    double(x)
    with pytest.raises(RuntimeError, match="written in place"):
        loss.backward()


# --- gradients ------------------------------------------------------------------------------------


def test_gradients_of_a_replay_belong_to_it(place: str) -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)

    @tg.jit
    def step(x: Tensor) -> None:
        w.grad = None
        (x * w).sum().backward()

    for i in range(3):
        step(Tensor([float(i), 1.0]))
    old = w.grad
    assert values(old) == [2, 1]
    step(Tensor([9.0, 1.0]))
    assert values(w.grad) == [9, 1]
    with pytest.raises(RuntimeError, match="wrote over it"):
        values(old)


def test_gradients_add_up_where_nobody_forgets_them(place: str) -> None:
    w = Tensor([1.0], requires_grad=True)
    step = tg.jit(lambda x: (x * w).sum().backward())
    total = 0
    for i in range(1, 8):
        if i == 5:
            w.grad = None
            total = 0
        step(Tensor([float(i)]))
        total += i
        assert values(w.grad) == [total]
    w.grad = Tensor([100.0])
    step(Tensor([1.0]))
    assert values(w.grad) == [101]


def test_the_gradient_of_an_argument(place: str) -> None:
    step = tg.jit(lambda x: (x * x).sum().backward())
    for i in range(4):
        x = Tensor([float(i)], requires_grad=True)
        step(x)
        assert values(x.grad) == [2 * i]
    step(x)
    assert values(x.grad) == [4 * i]


@pytest.mark.parametrize("how", ["adds up", "resets", "moves against it", "only resets", "doubles"])
def test_gradients_of_arguments_are_those_of_eager_calls(place: str, how: str) -> None:
    def function(x: Tensor) -> None:
        if how in ("resets", "only resets"):
            x.grad = None
        if how == "only resets":
            return
        (x * x).sum().backward()
        assert x.grad is not None
        if how == "moves against it":
            x.assign_(x - 0.125 * x.grad)
        if how == "doubles":
            x.grad.assign_(x.grad * 2)

    def run(function: Callable[[Tensor], None]) -> list[Any]:
        x, found = Tensor([1.0, 3.0], requires_grad=True), []
        for i in range(12):
            if i % 5 == 4:
                x.grad = None if i == 4 else Tensor([100.0, 200.0])
            function(x)
            found.append((values(x), None if x.grad is None else values(x.grad)))
        return found

    assert run(tg.jit(function)) == run(function)


def test_gradients_add_up_where_temporaries_lay_before(place: str) -> None:
    """What a replay adds to is read after much was computed in memory that is free again."""

    def run(jit: Callable[[Any], Any]) -> list[Any]:
        w, found = Tensor([1.0, 3.0], requires_grad=True), []
        add = jit(lambda x: (w * w * x).sum().backward())
        for i in range(6):
            add(Tensor([1.0 + i, 2.0]))
            found.append(values(w.grad))
        return found

    assert run(tg.jit) == run(lambda function: function)


def test_the_gradient_of_an_argument_that_nobody_touches_stays(place: str) -> None:
    double = tg.jit(lambda x: x.detach() * 2)
    x = Tensor([1.0], requires_grad=True)
    x.grad = grad = Tensor([5.0])
    for _ in range(4):
        double(x)
        assert x.grad is grad
    assert values(grad) == [5]
