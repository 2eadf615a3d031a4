"""`jit`: what changes between calls is noticed, and what a call writes is seen outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.jit_runs import State, values
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.backend import capture

# --- what is captured anew ------------------------------------------------------------------------


def test_parameters_with_another_array_are_captured_anew(place: str) -> None:
    w = Tensor([2.0])
    scale = tg.jit(lambda x: x * w)
    x = Tensor([5.0])
    for _ in range(3):
        assert scale(x).item() == 10
    w.assign_(3.0)  # the same memory: the capture reads it
    assert scale(x).item() == 15
    w.replace_data(w.data * 2)
    for _ in range(3):
        assert scale(x).item() == 30


def test_a_tensor_put_in_the_place_of_another_is_noticed(place: str) -> None:
    layer = nn.Linear(1, 1, bias=False)
    apply = tg.jit(lambda x: layer(x))
    x = Tensor([[1.0]])
    for value in (2.0, 5.0):
        layer.weight = nn.Parameter([[value]])
        for _ in range(3):
            assert apply(x).item() == value


def test_an_unfrozen_parameter_is_noticed(place: str) -> None:
    a, b = Tensor([2.0], requires_grad=True), Tensor([3.0])

    @tg.jit
    def step() -> None:
        a.grad = b.grad = None
        (a * b).sum().backward()

    for _ in range(3):
        step()
    assert b.grad is None
    b.requires_grad_()
    for _ in range(3):
        step()
        assert values(b.grad) == [2]


def test_a_gradient_of_another_kind_is_captured_for_anew(place: str) -> None:
    """A capture has memory for a gradient of one shape and dtype, and no other may go there."""
    w = Tensor([2.0, 3.0], requires_grad=True)

    @tg.jit
    def step(x: Tensor) -> None:
        (w * x).sum().backward()

    for dtype in ("float32", "float64", "float32"):
        w.replace_data(w.data.astype(dtype))
        for _ in range(3):
            w.grad = Tensor([1.0, 1.0], dtype=dtype)
            step(Tensor([10.0, 20.0], dtype=dtype))
            assert values(w.grad) == [11, 21]
            assert w.grad is not None
            assert w.grad.dtype == np.dtype(dtype)


def test_a_gradient_of_an_argument_of_another_kind_is_captured_for_anew(place: str) -> None:
    w = Tensor([2.0, 3.0], requires_grad=True)
    step = tg.jit(lambda w: (w * 10).sum().backward())
    for grad, expected in ((Tensor([1.0, 1.0]), 11), (None, 10), (Tensor([2.0, 2.0]), 12)):
        for _ in range(3):
            w.grad = None if grad is None else grad.clone()
            step(w)
            assert w.grad is not None
            assert set(values(w.grad)) == {expected}


def test_zeros_of_either_sign_are_different_numbers(place: str) -> None:
    inverse = tg.jit(lambda x, by: 1 / (x * by))
    with np.errstate(divide="ignore"):
        for _ in range(3):
            for kind in (float, np.float32, np.float64):
                assert inverse(Tensor([1.0]), kind("0.0")).item() == np.inf
                assert inverse(Tensor([1.0]), kind("-0.0")).item() == -np.inf


def test_numbers_of_the_same_bits_share_a_capture(place: str) -> None:
    scale = tg.jit(lambda x, by, power: x * by)
    for kind in (float, np.float32, np.float64):
        for _ in range(3):
            assert np.isnan(scale(Tensor([1.0]), kind("nan"), complex(0.0, float("nan"))).item())
    assert len(scale._variants) == 3
    scale(Tensor([1.0]), kind("nan"), complex(-0.0, float("nan")))
    assert len(scale._variants) == 4


def test_no_grad_and_dtypes_have_captures_of_their_own(place: str) -> None:
    w = Tensor([3.0], requires_grad=True)
    modes = []

    @tg.jit
    def scale(x: Tensor) -> Tensor:
        y = x * w
        modes.append(y.requires_grad)
        return y

    for dtype in ("float32", "float64"):
        x = Tensor([2.0], dtype=dtype)
        for _ in range(3):
            assert scale(x).dtype == dtype
            with tg.no_grad():
                assert scale(x).item() == 6
    assert {True, False} == set(modes)


def test_an_observed_number_is_noticed(place: str) -> None:
    class Scale:
        factor = 2.0

        def __call__(self, x: Tensor) -> Tensor:
            capture.observe(self, "factor")
            return x * self.factor

    scale = Scale()
    function = tg.jit(lambda x: scale(x))
    for factor in (2.0, 3.0, 2.0):
        scale.factor = factor
        for _ in range(3):
            assert function(Tensor([1.0])).item() == factor


# --- what is written ------------------------------------------------------------------------------


def test_a_written_argument_is_written_for_the_caller(place: str) -> None:
    @tg.jit
    def add_one(x: Tensor) -> None:
        x.assign_(x + 1)

    x = Tensor([1.0])
    for _ in range(4):
        before = x._version.count
        add_one(x)
        assert x._version.count > before
    assert x.item() == 5


def test_a_replay_bumps_what_it_writes(place: str) -> None:
    w = Tensor([1.0])
    y = Tensor([1.0], requires_grad=True)
    StandInPool.owners[:] = [State(w)]

    @tg.jit
    def move(x: Tensor) -> None:
        w.assign_(w + x)

    x = Tensor([1.0])
    move(x), move(x), move(x)
    assert w.item() == 4
    loss = (y * w).sum()
    move(x)
    with pytest.raises(RuntimeError, match=r"written in place .*, at .*test_jit_changes\.py:\d+$"):
        loss.backward()


def test_temporary_and_returned_tensors_may_be_written(place: str) -> None:
    w = Tensor([3.0])

    @tg.jit
    def function(x: Tensor) -> Tensor:
        y, z = x * 2, w.reshape(1, 1)
        z = z.reshape(1) + x
        z.assign_(z * 2)
        return y.assign_(y + z)

    for i in range(4):
        assert function(Tensor([float(i)])).item() == 2 * i + 2 * (3 + i)


def test_updates_in_place(place: str) -> None:
    """Of tensors from outside, arguments and gradients: as without a capture."""

    def run(jit: Any) -> list[Any]:
        w, seen = Tensor([1.0, 2.0], requires_grad=True), Tensor([0.0])
        total = Tensor([0.0])
        StandInPool.owners[:] = [State(w), State(seen)]

        def step(x: Tensor, total: Tensor) -> Tensor:
            w.grad = None
            loss = (w * x).sum()
            loss.backward()
            with tg.no_grad():
                assert w.grad is not None
                w.grad *= 0.5
                w[:] -= w.grad
                seen[0] += 1
                total += loss
                total *= 2
            return loss

        function, found = jit(step), []
        for i in range(5):
            loss = function(Tensor([float(i), 1.0]), total)
            found.append([values(x) for x in (loss, w, w.grad, seen, total)])
        return found

    assert run(tg.jit) == run(lambda step: step)
