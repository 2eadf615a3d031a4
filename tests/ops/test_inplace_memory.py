"""Gradients of what is written in place: what memory it keeps, and what it copies."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

import tinygrad_cupy as tg
from support.inplace import alive, gradient, leaf, zeros
from tinygrad_cupy.ops.write import Write

pytestmark = pytest.mark.usefixtures("device")


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("walked", [False, True])
def test_nothing_is_left(walked: bool) -> None:
    w = leaf(2.0, 3.0)
    before = alive()
    x = zeros(2, 2)
    row, flat = x[0], x.reshape(4)
    row += w
    flat[1:3] *= w
    x[[0, 1], [1, 1]] = w * x[0, 0].clone()
    y = (x * x).sum() + row.sum() + flat[0]
    kept = weakref.ref(x)
    if walked:
        tg.grad(tg.grad(y, w, create_graph=True).sum(), w)
    del x
    assert kept() is not None  # its views need it
    del row, flat, y
    assert kept() is None
    assert alive() == before


@pytest.mark.slow
@pytest.mark.usefixtures("no_collector")
def test_a_buffer_that_is_filled_anew_keeps_no_old_graph() -> None:
    w, x = leaf(2.0, 3.0), zeros(3)
    view = x[:2]
    counts = []
    for _ in range(4):
        x[:] = w[0]
        view *= w
        view[...] = w
        x.sum().backward()
        w.zero_grad()
        counts.append(alive())
        x[...] = w.sum()
    assert counts[1] == counts[2] == counts[3]


@pytest.mark.slow
@pytest.mark.usefixtures("no_collector")
def test_views_of_views_for_ever_keep_a_bounded_number() -> None:
    w, x = leaf(2.0, 3.0), zeros(2)
    before, y = alive(), x
    for _ in range(2500):
        y = y.flip()
    assert alive() - before < 2500
    y[0] = w[0]
    assert gradient(y.sum(), w) == [1.0, 0.0]
    with pytest.raises(
        RuntimeError, match=r"^\[Tensor\] the memory of .* was written in place at "
    ):
        x * 2
    y = z = zeros(2)
    for _ in range(1500):
        y = y.flip()
    z[0] = w[0]
    with pytest.raises(
        RuntimeError, match=r"^\[Tensor\] .* is a view by more than 1000 steps of one"
    ):
        y * 2


def test_filling_row_by_row_copies_the_gradient_once(monkeypatch: pytest.MonkeyPatch) -> None:
    w, x = leaf(*range(1, 9)), zeros(8, 4)
    copied = []
    backward = Write._backward_now
    for i in range(8):
        x[i] = w[i] * w[i]

    def counting(self: Write, grad: Any) -> Any:
        copied.append(not self.absorbed)
        return backward(self, grad)

    monkeypatch.setattr(Write, "_backward_now", counting)
    x.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [8.0 * i for i in range(1, 9)]
    assert copied == [True] + [False] * 7


def test_gradients_that_others_see_are_not_written() -> None:
    w, x = leaf(1.0, 2.0), zeros(2)
    seen = []
    x[0] = w[0]
    middle = x.clone()
    x[1] = w[1]
    x.register_hook(lambda g: seen.append(g))
    before = tg.grad((x * 3).sum(), [x], retain_graph=True)[0]
    y = (x * 3).sum() + (middle * 5).sum()
    y.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [8.0, 3.0]
    assert before.tolist() == [3.0, 3.0]
    assert seen[-1].tolist() == [3.0, 3.0]
