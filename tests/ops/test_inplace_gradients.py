"""Gradients of what is written in place: sentence by sentence, and in loops as people write them.

At random: test_inplace_programs.py, and transforms/test_inplace_transforms.py inside of transforms.
"""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device
from tinygrad_cupy.ops.inplace import add_at
from tinygrad_cupy.ops.write import Write

pytestmark = pytest.mark.usefixtures("device")


def leaf(*numbers: float) -> Tensor:
    return Tensor(list(numbers), dtype="float64", requires_grad=True)


def zeros(*shape: int) -> Tensor:
    return Tensor.zeros(*shape, dtype="float64")


def gradient(y: Any, x: Tensor) -> Any:
    return tg.grad(y, x, retain_graph=True).tolist()


# --- bases and views ----------------------------------------------------------------------------


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


def test_an_element_gets_its_own_update_once() -> None:
    w = leaf(2.0, 3.0)
    x = zeros(3)
    x[0] += w[0]
    x[1:] += w
    x[1:][0] -= w[1]
    assert x.tolist() == [2.0, -1.0, 3.0]
    assert gradient((x * x).sum(), w) == [4.0 - 2.0, 6.0 + 2.0]
    repeated = zeros(2)
    repeated[[0, 0, 1]] += w[0]
    assert repeated.tolist() == [2.0, 2.0]
    assert gradient(repeated.sum(), w) == [2.0, 0.0]


def test_add_at_adds_up_what_comes_often() -> None:
    w, x = leaf(2.0, 3.0, 5.0), zeros(2)
    view = x.flip()
    np.add.at(view, [0, 0, 1], w * w)
    assert x.tolist() == [25.0, 13.0]
    assert gradient((x * x).sum(), w) == [2 * 13 * 4.0, 2 * 13 * 6.0, 2 * 25 * 10.0]
    n = Tensor([0, 0])
    add_at(n, Tensor([1, 1, 1]), 2)
    assert n.tolist() == [0, 6]
    with pytest.raises(TypeError, match=r"^\[add.at\] expected values of a kind that int64 holds"):
        add_at(n, [0], 0.5)


def test_the_last_of_several_values_for_one_element_gets_the_gradient() -> None:
    w = leaf(1.0, 2.0, 3.0, 4.0)
    for key in ([1, 0, 1, 1], (slice(None), [1, 0, 1, 1]), [[1, 0], [1, 1]]):
        x = zeros(1, 2) if isinstance(key, tuple) else zeros(2)
        x[key] = w if not isinstance(key[0], list) else w.reshape(2, 2)
        assert x.reshape(-1).tolist() == [2.0, 4.0]
        assert gradient((x * x).sum(), w) == [0.0, 4.0, 0.0, 8.0]
    rows = zeros(3, 2)
    rows[[[2, -1], [0, 0]]] = w.reshape(2, 2, 1)
    assert rows.tolist() == [[4.0, 4.0], [0.0, 0.0], [2.0, 2.0]]
    assert gradient(rows.sum(), w) == [0.0, 2.0, 0.0, 2.0]


def test_masks() -> None:
    w = leaf(1.0, 2.0, 3.0)
    for mask in (np.array([True, False, True]), Tensor([True, False, True])):
        x = w * w
        x[to_device(mask, w.device) if isinstance(mask, np.ndarray) else mask] = w[1] * 5
        assert x.tolist() == [10.0, 4.0, 10.0]
        assert gradient(x.sum(), w) == [0.0, 14.0, 0.0]
        x[mask] = w[1:]
        assert x.tolist() == [2.0, 4.0, 3.0]
        assert gradient(x.sum(), w) == [0.0, 5.0, 1.0]
    rows = w.reshape(3, 1) * Tensor.ones(3, 2, dtype="float64")
    rows[w.detach() > 1] = w[:2]
    assert rows.tolist() == [[1.0, 1.0], [1.0, 2.0], [1.0, 2.0]]
    assert gradient(rows.sum(), w) == [4.0, 2.0, 0.0]


def test_a_value_that_is_masked_away_leaves_no_nan() -> None:
    w = leaf(0.0, 4.0)
    with np.errstate(divide="ignore"):
        x = w.log()
    x[w == 0] = 0.0
    assert x.tolist() == [0.0, np.log(4.0)]
    assert gradient(x.sum(), w) == [0.0, 0.25]


def test_values_broadcast_and_are_cast() -> None:
    w = Tensor([[1.0], [2.0]], dtype="float16", requires_grad=True)
    x = zeros(2, 3)
    x[...] = w
    x[:, :2] += w
    x[1] = w[None, :, :1][:, 0]
    (found,) = tg.grad((x * x).sum(), [w])
    assert found.dtype == np.float16
    assert found.tolist() == [[2 * (2 * 2 * 2 + 1.0) + 3 * 2.0], [0.0]]
    narrow = Tensor.zeros(2, dtype="float16")
    narrow += leaf(1.0, 2.0)
    assert narrow.dtype == np.float16
    assert narrow.requires_grad


def test_a_tensor_is_written_into_itself() -> None:
    w = leaf(1.0, 2.0, 3.0, 4.0)
    x = w * 1
    x[1:] = x[:-1]
    assert x.tolist() == [1.0, 1.0, 2.0, 3.0]
    assert gradient((x * x).sum(), w) == [4.0, 4.0, 6.0, 0.0]
    x = w * 1
    x[1:] *= x[:-1]
    assert x.tolist() == [1.0, 2.0, 6.0, 12.0]
    assert gradient(x.sum(), w) == [3.0, 4.0, 6.0, 3.0]
    x = w * 1
    x += x.flip()
    x **= 2
    assert gradient(x.sum(), w) == [20.0, 20.0, 20.0, 20.0]


def test_a_product_keeps_what_it_needs_of_the_old_values() -> None:
    w = leaf(2.0, 3.0)
    x = w * 1
    x *= w
    x *= x
    x /= w
    assert x.tolist() == [8.0, 27.0]  # w³
    first = tg.grad(x.sum(), w, create_graph=True)
    assert first.tolist() == [12.0, 27.0]
    assert gradient(first.sum(), w) == [12.0, 18.0]
    m = Tensor([[1.0, 2.0], [3.0, 4.0]], dtype="float64")
    m @= w.reshape(2, 1) * w
    assert m.requires_grad


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


# --- what is apart ------------------------------------------------------------------------------


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


# --- saved values -------------------------------------------------------------------------------


def test_what_was_not_overwritten_may_have_been_saved() -> None:
    w = leaf(0.5)
    x = zeros(6)
    x[0] = w[0]
    for i in range(1, 6):
        x[i] = x[i - 1].sin() * x[i - 1]
    y = float(w.item())
    slope = 1.0
    for _ in range(5):
        y, slope = np.sin(y) * y, slope * (np.cos(y) * y + np.sin(y))
    assert x[5].item() == pytest.approx(y)
    assert gradient(x[5], w) == [pytest.approx(slope)]
    columns = zeros(2, 3)
    columns[:, 0] = w
    for i in (1, 2):
        columns[:, i] = columns[:, i - 1] ** 2
    assert gradient(columns[:, 2].sum(), w) == [pytest.approx(2 * 4 * 0.5**3)]


def test_what_was_overwritten_is_noticed_with_its_line() -> None:
    w = leaf(0.5, 1.0)
    x = w * 1
    y = x[1:].sin()
    x[:1] = 3.0
    assert gradient(y, w) == [0.0, pytest.approx(np.cos(1.0))]
    x[[1]] = 3.0
    x[0] = 4.0
    with pytest.raises(RuntimeError) as raised:
        y.backward()
    line = test_what_was_overwritten_is_noticed_with_its_line.__code__.co_firstlineno + 6
    assert str(raised.value) == (
        "[Sin] a value that its backward needs (shape (1,)) was written in place after it was "
        f"used, at {__file__}:{line}"
    )


def test_many_writes_that_no_graph_knows_count_as_one_of_everything() -> None:
    w = leaf(0.5, 1.0)
    x = w * 1
    y = x[1:].sin()
    with tg.no_grad():
        for _ in range(1500):
            x[:1] = 3.0
    with pytest.raises(RuntimeError, match=r"^\[Sin\] .* written in place"):
        y.backward()


def test_a_key_that_was_written_is_noticed() -> None:
    w, x, key = leaf(2.0, 3.0), zeros(2), Tensor([0, 1])
    x[key] = w
    key.assign_([1, 1])
    with pytest.raises(RuntimeError, match=r"^\[Write\] a value that its backward needs .* at "):
        x.sum().backward()
    rows = to_device(np.array([0, 1]), w.device)
    x = zeros(2)
    x[rows] = w
    rows[...] = 1
    assert gradient(x[0], w) == [1.0, 0.0]


# --- memory -------------------------------------------------------------------------------------


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    return sum(issubclass(type(x), Tensor | tg.Op) for x in gc.get_objects())


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
    copies = []
    forward = Write.forward
    for i in range(8):
        x[i] = w[i] * w[i]

    def counting(self: Write, x: Any, values: Any) -> Any:
        copies.append(x.shape)
        return forward(self, x, values)

    monkeypatch.setattr(Write, "forward", counting)
    x.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [8.0 * i for i in range(1, 9)]
    assert copies == [(8, 4)]


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


# --- under transforms ---------------------------------------------------------------------------


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


# --- loops as people write them -----------------------------------------------------------------

Loop = Callable[[Any, Any, Any], Any]


def heat(np_like: Any, x: Any, k: Any) -> Any:
    """An explicit step of the heat equation, in place."""
    u = x * 1.0
    for _ in range(8):
        u[1:-1] += k * (u[2:] - 2 * u[1:-1] + u[:-2])
    return u


def running_filter(np_like: Any, x: Any, k: Any) -> Any:
    """y[i] = k x[i] + (1 - k) y[i - 1]"""
    y = np_like(x.shape)
    y[0] = x[0]
    for i in range(1, len(x)):
        y[i] = k * x[i] + (1 - k) * y[i - 1]
    return y


def gauss_seidel(np_like: Any, x: Any, k: Any) -> Any:
    """Sweeps over -u'' = x, each from what the sweep has found already."""
    u = np_like(x.shape)
    for _ in range(3):
        for i in range(1, len(x) - 1):
            u[i] = (u[i - 1] + u[i + 1] + k * x[i]) / 2
    return u


def logistic_map(np_like: Any, x: Any, k: Any) -> Any:
    """Each from the one before, not linearly: the values are saved."""
    y = np_like(x.shape)
    y[0] = x[0] * 0.3
    for i in range(1, len(x)):
        y[i] = 3 * k * y[i - 1] * (1 - y[i - 1])
    return y


def rows(np_like: Any, x: Any, k: Any) -> Any:
    """A matrix, row by row, each from the last."""
    m = np_like((4, len(x)))
    m[0] = x
    for i in range(1, 4):
        m[i] = m[i - 1] * k + m[i - 1, ::-1]
    m = m * 1.0  # the products above have saved what is written next
    m[:, 0] *= 2
    return m


def cumulated(np_like: Any, x: Any, k: Any) -> Any:
    y = x * k
    for i in range(1, len(x)):
        y[i] += y[i - 1]
    return y


def triangle(np_like: Any, x: Any, k: Any) -> Any:
    """Forward substitution with a matrix that is filled element by element."""
    n = len(x)
    a = np_like((n, n))
    for i in range(n):
        for j in range(i + 1):
            a[i, j] = 1.0 / (1 + i + j) + k * (i == j)
    y = np_like(x.shape)
    for i in range(n):
        y[i] = (x[i] - (a[i, :i] * y[:i]).sum()) / a[i, i]
    return y


LOOPS: list[Loop] = [heat, running_filter, gauss_seidel, logistic_map, rows, cumulated, triangle]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_gives_what_numpy_gives_and_its_slope(loop: Loop) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1, 7)
    k, eps = 0.3, 1e-6
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    factor = Tensor(k, dtype="float64", requires_grad=True)
    y = loop(lambda shape: zeros(*shape), x, factor)
    np.testing.assert_allclose(y.numpy(), loop(np.zeros, values, k), rtol=1e-12)
    weights = np.random.default_rng(1).standard_normal(y.shape)
    loss = (y * to_device(weights, x.device)).sum()
    by_x, by_k = tg.grad(loss, [x, factor])

    def numeric(step: Any, k_step: float) -> float:
        above = loop(np.zeros, values + eps * step, k + eps * k_step)
        below = loop(np.zeros, values - eps * step, k - eps * k_step)
        return float(((above - below) * weights).sum() / (2 * eps))

    expected = [numeric(unit, 0.0) for unit in np.eye(7)]
    np.testing.assert_allclose(by_x.numpy(), expected, rtol=1e-6, atol=1e-8)
    assert by_k.item() == pytest.approx(numeric(np.zeros(7), 1.0), rel=1e-6)
    assert tg.gradcheck(lambda x, k: loop(lambda shape: zeros(*shape), x, k), [x, factor], order=2)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_in_a_batch(loop: Loop) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1, (3, 7))
    xs = Tensor(values, device=tg.default_device())
    found = tg.vmap(lambda x: loop(lambda shape: zeros(*shape), x, 0.3))(xs)
    for i in range(3):
        np.testing.assert_allclose(found[i].numpy(), loop(np.zeros, values[i], 0.3), rtol=1e-12)
