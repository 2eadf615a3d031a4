"""Writing in place: noticed where a backward still needs the old values, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.backend import to_device, to_numpy
from tinygrad_cupy.ops.indexing import array_key

pytestmark = pytest.mark.usefixtures("device")


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), dtype="float64", requires_grad=True)


def test_writing_after_use_names_the_operation() -> None:
    x, w = leaf(1.0, 2.0), Tensor([3.0, 4.0], dtype="float64")
    y = (x * w).sum()
    w.assign_([5.0, 6.0])
    with pytest.raises(RuntimeError) as raised:
        y.backward()
    line = test_writing_after_use_names_the_operation.__code__.co_firstlineno + 3
    assert str(raised.value) == (
        "[Mul] a value that its backward needs (shape (2,)) was written in place after it was "
        f"used, at {__file__}:{line}"
    )


def test_an_output_that_was_written_is_noticed() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    y.detach().assign_(0.0)
    with pytest.raises(RuntimeError, match=r"^\[Exp\] a value that its backward needs"):
        y.sum().backward()


def test_what_is_not_needed_may_be_written() -> None:
    x = leaf(1.0, 2.0)
    y = (x + 1).sum() + x.sum() + x.reshape(2, 1).sum() + x.relu().sum()
    x.assign_([7.0, 8.0])
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 4.0]


def test_a_value_that_nobody_wants_a_gradient_through_is_still_checked() -> None:
    x, w = leaf(1.0), leaf(2.0)
    y = x * w
    x.assign_(3.0)
    with pytest.raises(RuntimeError, match="written in place"):
        tg.grad(y, x)


@pytest.mark.parametrize("name", ["index", "reshape", "transpose", "detach", "flip", "broadcast"])
def test_views_share_the_version(name: str) -> None:
    base = Tensor([[1.0, 2.0], [3.0, 4.0]])
    view = {
        "index": base[0],
        "reshape": base.reshape(4),
        "transpose": base.T,
        "detach": base.detach(),
        "flip": base.flip(),
        "broadcast": base.broadcast_to(3, 2, 2),
    }[name]
    x = Tensor.ones(*view.shape, requires_grad=True)
    of_view, of_base = (x * view).sum(), (x.sum() * base).sum()
    base[1].bump_version()
    for y in (of_view, of_base):
        with pytest.raises(RuntimeError, match=r"^\[Mul\] .* written in place"):
            y.backward()


def test_writing_through_a_view_is_noticed_by_users_of_the_base() -> None:
    base, x = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor.ones(2, 2, requires_grad=True)
    y = (x * base).sum()
    base[0].assign_(0.0)
    assert base.tolist() == [[0.0, 0.0], [3.0, 4.0]]
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


@pytest.mark.parametrize("name", ["clone", "fancy index", "reshape that copies", "astype", "+ 0"])
def test_copies_have_a_version_of_their_own(name: str) -> None:
    base = Tensor([[1.0, 2.0], [3.0, 4.0]])
    copy = {
        "clone": base.clone(),
        "fancy index": base[[0, 1]],
        "reshape that copies": base.T.reshape(4),
        "astype": base.astype("float64"),
        "+ 0": base + 0,
    }[name]
    x = Tensor.ones(*copy.shape, dtype=copy.dtype, requires_grad=True)
    y = (x * copy).sum()
    base.assign_(0.0)
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == copy.tolist()
    assert 0.0 not in copy.numpy()


def test_a_tensor_made_of_a_tensor_shares_the_version() -> None:
    base, x = Tensor([1.0, 2.0]), Tensor([1.0, 1.0], requires_grad=True)
    y = (x * Tensor(base)).sum()
    base.assign_(0.0)
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


def test_bump_version_after_a_write_into_data() -> None:
    """What a fused optimizer kernel does."""
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    w.data[...] = w.data - 0.5
    w.bump_version()
    with pytest.raises(RuntimeError, match=r"^\[Mul\] .* written in place"):
        y.backward()


def test_writing_into_data_alone_is_the_documented_escape() -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    w.data[...] = 10.0
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [10.0, 10.0]


def test_an_optimizer_step_between_forward_and_backward_is_noticed() -> None:
    layer = nn.Linear(3, 2)
    optimizer = nn.optim.SGD(layer.parameters(), lr=0.1)
    x = Tensor.ones(4, 3, requires_grad=True)
    layer(x).sum().backward()
    loss = layer(x).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"^\[Linear\] .* written in place"):
        loss.backward()


def test_running_statistics_may_move_between_forward_and_backward() -> None:
    values = np.random.default_rng(0).standard_normal((4, 2))
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    weight, bias = leaf(1.0, 2.0), leaf(0.0, 0.0)
    mean, var = Tensor(np.zeros(2), device=x.device), Tensor(np.ones(2), device=x.device)
    first = x.batch_norm(weight, bias, mean, var)
    second = x.batch_norm(weight, bias, mean, var)
    (first * second).sum().backward()
    assert x.grad is not None


def test_a_key_or_a_target_that_was_written_is_noticed() -> None:
    mask, x = Tensor([True, False]), Tensor([1.0, 2.0], requires_grad=True)
    chosen = [x.where(mask, 0).sum(), tg.where(mask, 0, x).sum()]
    mask.assign_(False)
    for y in chosen:
        with pytest.raises(RuntimeError, match=r"^\[Where\] .* written in place"):
            y.backward()
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    key = Tensor([0, 1])
    y = (x[0, key] * 2).sum()
    y.backward(retain_graph=True)
    (first,) = tg.grad(y * y, [x], create_graph=True)
    key.assign_([1, 1])
    with pytest.raises(RuntimeError) as raised:
        y.backward()
    assert str(raised.value).startswith(
        "[Index] a value that its backward needs (shape (2,)) was written in place after it was "
        f"used, at {__file__}:"
    )
    with pytest.raises(RuntimeError, match=r"^\[Scatter\] .* written in place"):
        first.sum().backward()


def test_targets_may_be_written_after_the_loss() -> None:
    logits = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = Tensor([0, 1])
    expected = tg.grad(logits.cross_entropy(target), logits).tolist()
    loss = logits.cross_entropy(target)
    target.assign_([1, 0])
    assert tg.grad(loss, logits).tolist() == expected


def test_relu_notices_a_write_at_every_order() -> None:
    x, v = leaf(1.0, 2.0), leaf(1.0, 1.0)
    y = x.relu()
    (first,) = tg.grad([y], [x], [v], create_graph=True)
    y.detach().assign_([-1.0, 5.0])
    with pytest.raises(RuntimeError, match=r"^\[ReluBackward\] .* written in place"):
        tg.grad(first.sum(), v)


def test_what_only_an_unwanted_gradient_reads_is_not_kept() -> None:
    x = leaf(1.0, 2.0)
    constant = Tensor([3.0, 4.0], dtype="float64")
    results = [1 - x, -x, x * 2, x / 2, x * constant, x.linear(Tensor([[1.0, 1.0]], "float64"))]
    x.assign_(7.0)
    for y in results:
        y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [-1 - 1 + 2 + 0.5 + 3 + 1, -1 - 1 + 2 + 0.5 + 4 + 1])


def test_assign_writes_into_the_same_memory() -> None:
    x = leaf(1.0, 2.0)
    array = x.data
    assert x.assign_(np.array([5, 6])) is x
    assert x.data is array
    assert to_numpy(array).tolist() == [5.0, 6.0]
    x.assign_(Tensor(7.0))
    assert x.tolist() == [7.0, 7.0]


def test_assign_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"^\[assign_\]") as raised:
        leaf(1.0, 2.0).assign_(Tensor.ones(2, 2))
    assert str(raised.value) == "[assign_] expected values of shape (2,), got (2, 2)"
    with pytest.raises(ValueError, match=r"^\[assign_\]") as raised:
        leaf(1.0, 2.0).assign_(np.ones(3))
    assert str(raised.value) == "[assign_] expected values of shape (2,), got (3,)"
    with pytest.raises(ValueError, match=r"^\[assign_\]") as raised:
        leaf(1.0, 2.0).assign_([1, 2, 3])
    assert str(raised.value) == "[assign_] expected values of shape (2,), got (3,)"


def test_assign_refuses_what_was_computed() -> None:
    with pytest.raises(RuntimeError) as raised:
        (leaf(1.0) * 2).assign_(3.0)
    assert str(raised.value) == "[assign_] only a leaf can be written; use .detach() first"


def test_replace_data_swaps_the_storage() -> None:
    x, w = leaf(1.0), leaf(2.0)
    y = x * w
    other = w.data * 5
    w.replace_data(other)
    assert w.data is other
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


# --- arrays that are refilled ---------------------------------------------------------------------


def refilled(array: Any) -> None:
    """What the owner of a NumPy or CuPy array does for the next batch."""
    array[...] = array[..., ::-1].copy()


WITH_ARRAYS: dict[str, tuple[Any, Any]] = {
    "rows": (np.array([0, 1]), lambda x, a: x[a]),
    "rows and a slice": (np.array([0, 1]), lambda x, a: x[a, :1]),
    "rows of a tuple": (np.array([0, 0, 1]), lambda x, a: x[(a,)]),
    "rows as a memmap": (np.array([0, 1]), lambda x, a: x[a.view(np.memmap) if _host(a) else a]),
    "boolean rows": (np.array([True, False, False, True, False]), lambda x, a: x[a]),
    "where": (np.array([True, False]), lambda x, a: x.where(a, 0)),
    "where, of the other": (np.array([True, False]), lambda x, a: tg.where(a, 0, x)),
    "where, without x": (
        np.array([True, False]),
        lambda x, a: Tensor.zeros(5, 2, dtype="float64").where(a, x),
    ),
    "product": (np.array([2.0, 3.0]), lambda x, a: x * a),
    "product from the left": (np.array([2.0, 3.0]), lambda x, a: a * x),
    "quotient": (np.array([2.0, 3.0]), lambda x, a: x / a),
    "quotient from the left": (np.array([2.0, 3.0]), lambda x, a: a / x),
    "power": (np.array([2.0, 3.0]), lambda x, a: x**a),
    "matrix product": (np.array([[2.0, 3.0]]), lambda x, a: x @ a.T),
    "matrix product from the left": (np.ones((1, 5)) * np.arange(5), lambda x, a: a @ x),
    "maximum": (np.array([2.0, 3.0]), lambda x, a: x.maximum(a)),
    "classes": (np.array([0, 1, 1, 0, 1]), lambda x, a: x.cross_entropy(a)),
}


def _host(array: Any) -> bool:
    return isinstance(array, np.ndarray)


@pytest.mark.parametrize("name", list(WITH_ARRAYS))
def test_an_array_may_be_refilled_before_backward(name: str, device: str) -> None:
    values, call = WITH_ARRAYS[name]
    found = []
    for refills in (False, True):
        array = to_device(values.copy(), device)
        x = Tensor(to_device(np.arange(1.0, 11).reshape(5, 2), device), requires_grad=True)
        y = call(x, array)
        if refills:
            refilled(array)
        y.sum().backward()
        assert x.grad is not None
        found.append(x.grad.tolist())
    assert found[0] == found[1]


def test_an_array_of_one_element_in_a_slice_may_be_refilled() -> None:
    x, stop = leaf(1.0, 2.0, 3.0), np.array(1)
    y = x[:stop]
    stop[...] = 3
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 0.0]


def test_the_gradient_that_a_backward_starts_with_may_be_refilled(device: str) -> None:
    x, seed = leaf(1.0, 2.0), to_device(np.array([1.0, 10.0]), device)
    first = tg.grad(x * x * x, x, seed, create_graph=True)
    refilled(seed)
    assert tg.grad(first.sum(), x).tolist() == [6.0, 120.0]


def test_keys_are_not_copied_where_no_gradient_is_wanted(device: str) -> None:
    rows = to_device(np.array([1, 0]), device)
    assert array_key(Tensor([1.0, 2.0]), (rows,), kept=False)[0] is rows
    assert array_key(Tensor([1.0, 2.0]), (rows,), kept=True)[0] is not rows
