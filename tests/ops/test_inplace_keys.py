"""Gradients of what is written in place: by which key, into which values that were saved."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.inplace import gradient, leaf, zeros
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device
from tinygrad_cupy.ops.inplace import add_at

pytestmark = pytest.mark.usefixtures("device")


# --- keys and values ------------------------------------------------------------------------------


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


def test_a_write_by_a_mask_hides_no_earlier_one() -> None:
    w = leaf(0.5, 1.0)
    x = w.tanh()  # whose gradient needs what it was
    rows, flat = x.reshape(1, 2), x[:]
    rows *= 2
    rows[to_device(np.ones((1, 2), bool), w.device)] = flat[0] * 3
    with pytest.raises(RuntimeError, match=r"^\[Tanh\] a value that its backward needs"):
        x.sum().backward()


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


# --- saved values ---------------------------------------------------------------------------------


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
