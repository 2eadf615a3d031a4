"""Gradients of what is written in place, sentence by sentence: bases and views.

Keys and saved values: test_inplace_keys.py; memory: test_inplace_memory.py; inside of transforms
and captures: test_inplace_inside.py; in loops as people write them: test_inplace_loops.py. At
random: test_inplace_programs.py, and transforms/test_inplace_transforms.py inside of transforms.
"""

from __future__ import annotations

import copy
import pickle

import pytest

import tinygrad_cupy as tg
from support.inplace import gradient, leaf, zeros
from tinygrad_cupy import Tensor

pytestmark = pytest.mark.usefixtures("device")


# --- bases and views ------------------------------------------------------------------------------


def test_a_leaf_that_wants_no_gradient_joins_the_graph() -> None:
    w, x = leaf(2.0, 3.0), zeros(3)
    assert x.is_leaf
    x[1:] = w * w
    assert not x.is_leaf
    assert x.requires_grad
    assert x.tolist() == [0.0, 4.0, 9.0]
    assert gradient((x * x).sum(), w) == [32.0, 108.0]


def test_the_base_sees_what_is_written_into_a_view() -> None:
    w, x = leaf(2.0, 3.0), zeros(2, 2)
    row = x[1]
    element = row[0]
    element += w[0] * w[1]
    for y in (x.sum(), row.sum(), element, x.T[0, 1]):
        assert y.item() == 6.0
        assert gradient(y, w) == [3.0, 2.0]
    assert gradient(x[0].sum(), w) == [0.0, 0.0]


def test_views_see_what_is_written_into_the_base() -> None:
    w = leaf(2.0, 3.0)
    x = w * 1
    view, backwards = x.reshape(2, 1), x.flip()
    x *= w
    assert view.tolist() == [[4.0], [9.0]]
    assert gradient(view.sum(), w) == [4.0, 6.0]
    assert gradient(backwards[0], w) == [0.0, 6.0]
    assert view.requires_grad
    assert not view.is_leaf


def test_a_view_lives_on_without_its_base() -> None:
    w, x = leaf(2.0, 3.0), zeros(3)
    first, last = x[:2], x[1:]
    del x
    first += w
    last *= w
    assert first.tolist() == [2.0, 6.0]
    assert gradient(first.sum(), w) == [4.0, 2.0]
    assert gradient(last[0], w) == [3.0, 2.0]


def test_a_view_that_was_used_before_keeps_what_it_was() -> None:
    w = leaf(2.0, 3.0)
    x = w * w
    view = x[:1]
    before = view * 10
    x[0] = w[1]
    assert gradient(before, w) == [40.0, 0.0]
    assert gradient(view, w) == [0.0, 1.0]


def test_what_was_written_over_gets_no_gradient() -> None:
    w = leaf(2.0, 3.0)
    x = w * w
    x[0] = 7.0
    assert gradient(x.sum(), w) == [0.0, 6.0]
    x[...] = 1.0
    assert not x.requires_grad
    assert x.is_leaf
    x[1] = w[0]
    assert gradient(x.sum(), w) == [1.0, 0.0]


def test_a_part_is_computed_where_it_can_be() -> None:
    w = leaf(0.0, 4.0)
    x = w * 1
    y = zeros(2)
    y[1:] = x[1:].sqrt()
    assert gradient(y.sum(), w) == [0.0, 0.25]


def test_no_grad_writes_values_alone() -> None:
    w = leaf(2.0, 3.0)
    x = w * 3
    with tg.no_grad():
        x[0] = 100.0
        x += 1
        inside = w * 2
        inside[0] = w[1]
    assert x.tolist() == [101.0, 10.0]
    assert gradient(x.sum(), w) == [3.0, 3.0]
    assert not inside.requires_grad


def test_a_view_made_under_no_grad_follows_what_wants_no_gradient_yet() -> None:
    w, x = leaf(2.0, 3.0), zeros(3)
    with tg.no_grad():
        view = x[1:]
    x[2] = w[0]
    assert gradient(view.sum(), w) == [1.0, 0.0]


# --- what is apart --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["detach", "tensor", "no_grad"])
def test_what_is_outside_of_the_graph_stays_there(how: str) -> None:
    w = leaf(2.0, 3.0)
    x = w * w
    apart = alias_of(x, how)
    x[0] = w[1]
    assert apart.tolist() == [3.0, 9.0]
    assert not apart.requires_grad
    assert not (apart * 2).requires_grad


@pytest.mark.parametrize("how", ["detach", "tensor", "no_grad"])
def test_a_gradient_written_beside_the_graph_is_not_lost_in_silence(how: str) -> None:
    w = leaf(2.0, 3.0)
    x = w * w
    apart = alias_of(x, how)
    apart[0] = w[1]
    assert gradient(apart.sum(), w) == [0.0, 1.0]
    with pytest.raises(RuntimeError) as raised:
        x * 2
    line = test_a_gradient_written_beside_the_graph_is_not_lost_in_silence.__code__.co_firstlineno
    assert str(raised.value) == (
        "[Tensor] the memory of a tensor of shape (2,) was written in place at "
        f"{__file__}:{line + 5} through one that is outside of its graph (by .detach(), Tensor(x) "
        "or a view under no_grad()), with what wants a gradient: write into the tensor itself, or "
        "into a .clone()"
    )
    with tg.no_grad():
        assert (x * 2).tolist() == [6.0, 18.0]


def alias_of(x: Tensor, how: str) -> Tensor:
    with tg.no_grad():
        return x.detach() if how == "detach" else Tensor(x) if how == "tensor" else x[:]


def test_plain_writes_beside_the_graph_are_seen_by_nobody_but_the_versions() -> None:
    w = leaf(2.0, 3.0)
    x = w * 2
    x.detach()[0] = 7.0
    assert gradient(x.sum(), w) == [2.0, 2.0]
    y = w.exp()
    y.detach()[0] = 7.0
    with pytest.raises(RuntimeError, match=r"^\[Exp\] .* written in place"):
        y.sum().backward()


def test_copies() -> None:
    w = leaf(2.0, 3.0)
    x = w * w
    view, twin = x[:1], copy.copy(x)
    deep, pickled = copy.deepcopy([x, view]), pickle.loads(pickle.dumps(view))
    x[0] = w[1]
    assert gradient(twin.sum(), w) == [0.0, 7.0]
    assert [y.requires_grad for y in (*deep, pickled)] == [False] * 3
    assert deep[0].tolist() == [4.0, 9.0]
    assert pickled.tolist() == [4.0]


def test_data_that_was_replaced_is_no_view_any_more() -> None:
    w, x = leaf(2.0, 3.0), zeros(3)
    view, before = x[:2], x[1:]
    x.replace_data(zeros(3).data)
    x[0] = w[0]
    view[0] = w[1]
    assert x.tolist() == [2.0, 0.0, 0.0]
    assert gradient(x.sum(), w) == [1.0, 0.0]
    assert gradient(view.sum(), w) == [0.0, 1.0]
    assert before.tolist() == [0.0, 0.0]


def test_a_view_that_becomes_a_leaf_begins_a_graph() -> None:
    x = zeros(3)
    view = x[1:].requires_grad_()
    assert view.is_leaf
    x[0] = view.sum()
    assert gradient(x.sum(), view) == [1.0, 1.0]
    assert view.is_leaf
