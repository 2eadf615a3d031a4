"""Writing in place: `x += y` and the like, `x[key] = y`, and what may not be written.

Gradients of what is written: test_inplace_gradients.py and the files that it names.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Op, Tensor, nn

pytestmark = pytest.mark.usefixtures("device")

UPDATES: list[tuple[Callable[[Any, Any], Any], list[float]]] = [
    (operator.iadd, [5.0, 7.0]),
    (operator.isub, [-1.0, -3.0]),
    (operator.imul, [6.0, 10.0]),
    (operator.itruediv, [2 / 3, 0.4]),
    (operator.ipow, [8.0, 32.0]),
]


def leaf(*numbers: float) -> Tensor:
    return Tensor(list(numbers), dtype="float64", requires_grad=True)


@pytest.mark.parametrize(("update", "expected"), UPDATES)
@pytest.mark.parametrize("kind", ["tensor", "array", "leaf"])
def test_an_update_is_in_place(update: Any, expected: list[float], kind: str) -> None:
    x = Tensor([2.0, 2.0], dtype="float64", requires_grad=kind == "leaf")
    other: Any = Tensor([3.0, 5.0], dtype="float64")
    array, view, version = x.data, x.detach(), x._version.count
    with tg.no_grad():
        y = update(x, other.data if kind == "array" else other)
    assert y is x
    assert x.data is array
    assert x._version.count == version + 1
    np.testing.assert_allclose(view.numpy(), expected, rtol=1e-15)


def test_a_matrix_product_in_place() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    same = x
    x @= Tensor([[0.0, 1.0], [1.0, 0.0]])
    assert x is same
    assert x.tolist() == [[2.0, 1.0], [4.0, 3.0]]


def test_a_loop_by_hand_trains() -> None:
    model = nn.Linear(3, 1)
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((32, 3)), dtype="float32", device=tg.default_device())
    y = x @ Tensor([[1.0], [-2.0], [0.5]])
    parameters = list(model.parameters())
    losses = []
    for _ in range(50):
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        losses.append(loss.item())
        with tg.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p -= 0.1 * p.grad
                p.grad = None
    assert losses[-1] < 0.01 * losses[0]
    assert all(p is q for p, q in zip(parameters, model.parameters(), strict=True))


def test_a_parameter_stays_one() -> None:
    model = nn.Linear(2, 2)
    weight = model.weight
    with tg.no_grad():
        model.weight -= 1.0
        model.weight[0] = 0.0
    assert model.weight is weight
    assert len(list(model.parameters())) == 2
    assert model.weight[0].tolist() == [0.0, 0.0]


def test_the_dtype_of_the_left_side_stays() -> None:
    x = Tensor([1.0, 2.0], dtype="float16")
    x += Tensor([0.5, 0.5], dtype="float64")
    assert x.dtype == np.float16
    assert x.tolist() == [1.5, 2.5]
    x[0] = Tensor(9.0, dtype="float64")
    assert x.tolist() == [9.0, 2.5]


def test_an_update_with_its_own_elements() -> None:
    x = Tensor([1.0, 2.0, 3.0, 4.0])
    x += x.flip()
    assert x.tolist() == [5.0, 5.0, 5.0, 5.0]
    x = Tensor([1.0, 2.0, 3.0, 4.0])
    x[1:] = x[:-1]
    assert x.tolist() == [1.0, 1.0, 2.0, 3.0]
    x.assign_(x.flip())
    assert x.tolist() == [3.0, 2.0, 1.0, 1.0]


# --- while operations are recorded ---------------------------------------------------------------


def test_a_leaf_that_wants_a_gradient_is_not_written() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError) as raised:
        x += 1
    assert str(raised.value) == (
        "[+=] a leaf that wants a gradient (shape (2,)) is not written in place while operations "
        "are recorded: do it under no_grad(), or say x = x + y"
    )
    with pytest.raises(RuntimeError, match=r"^\[\*\*=\] a leaf .* or say x = x \*\* y$"):
        x **= leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"^\[index\] a leaf .* write into a \.clone\(\)$"):
        x[0] = 1.0
    with pytest.raises(RuntimeError, match=r"^\[\+=\] a view \(shape \(\)\) of a leaf that wants"):
        x[0] += 1.0
    before = Tensor([1.0, 2.0], dtype="float64")
    view = before[:1]
    before.requires_grad_()
    with pytest.raises(
        RuntimeError, match=r"^\[index\] a view \(shape \(1,\)\) of a leaf that wants"
    ):
        view[0] = x[0]
    assert x.tolist() == before.tolist() == [1.0, 2.0]


def test_a_leaf_is_written_under_no_grad() -> None:
    x = leaf(1.0, 2.0)
    view = x[1:]
    with tg.no_grad():
        x[0] = 5.0
        view += x[:1]
        x[0] = leaf(7.0) * 2
    assert x.is_leaf
    assert x.requires_grad
    assert x.tolist() == [14.0, 7.0]


def test_where_a_gradient_is_wanted_an_update_is_in_place() -> None:
    w, total = leaf(2.0), Tensor.zeros(1, dtype="float64")
    first, array = total, total.data
    view = total.reshape(1, 1)
    for _ in range(3):
        total += w * w
    total *= w
    assert total is first
    assert total.data is array
    assert view.tolist() == [[24.0]]
    assert tg.grad(view.sum() + total, w).tolist() == [72.0]  # of 6 w³


def test_where_none_is_wanted_it_is_in_place() -> None:
    x, y = Tensor([1.0, 2.0]), leaf(3.0, 4.0).detach()
    same = x
    x += y
    x[0] = 9.0
    assert x is same
    assert x.tolist() == [9.0, 6.0]


@pytest.mark.parametrize("write", ["update", "element", "view"])
def test_a_saved_value_that_was_written_is_noticed(write: str) -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    with tg.no_grad():
        if write == "update":
            w -= 0.1
        elif write == "element":
            w[0] = 0.0
        else:
            row = w.reshape(2, 1)[1]
            row += 1.0
    with pytest.raises(
        RuntimeError, match=r"^\[Mul\] .* written in place after it was used, at "
    ) as e:
        y.backward()
    name, _, line = str(e.value).rpartition(", at ")[2].rpartition(":")
    assert name == __file__
    first = test_a_saved_value_that_was_written_is_noticed.__code__.co_firstlineno
    assert int(line) - first == {"update": 6, "element": 8, "view": 11}[write]


# --- what does not fit ---------------------------------------------------------------------------


def test_a_result_of_another_shape() -> None:
    x = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="expected a result") as raised:
        x += Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert str(raised.value) == (
        "[+=] expected a result of shape (2,), the left side's, got (2, 2); say x = x + y"
    )
    with pytest.raises(ValueError, match="do not broadcast") as raised:
        x[:1] = Tensor([1.0, 2.0])
    assert str(raised.value) == (
        "[index] values of shape (2,) do not broadcast to the place, of shape (1,)"
    )
    assert x.tolist() == [1.0, 2.0]


def test_values_of_another_kind() -> None:
    n = Tensor([1, 2])
    with pytest.raises(TypeError) as raised:
        n += 0.5
    assert str(raised.value) == (
        "[+=] expected values of a kind that int64 holds, got float32: cast them with .astype()"
    )
    with pytest.raises(TypeError, match=r"^\[/=\] .* int64 holds, got float32"):
        n /= 2
    with pytest.raises(TypeError, match=r"^\[index\] .* int64 holds, got float32"):
        n[0] = 0.5
    small = Tensor([1, 2], dtype="uint8")
    small[0] = 7
    small[1:] = [9]
    small += 1
    assert small.dtype == np.uint8
    assert n.tolist() == [1, 2]
    assert small.tolist() == [8, 10]


def test_a_key_out_of_range() -> None:
    x = Tensor([1.0, 2.0])
    with pytest.raises(IndexError, match=r"^\[index\] .*\(tensor of shape \(2,\)\)$"):
        x[0, 0] = 1.0


def test_memory_that_cannot_be_written() -> None:
    stretched = Tensor([1.0]).broadcast_to(3)
    with pytest.raises(ValueError, match=r"^\[\+=\] .* of shape \(3,\) .* \.clone\(\)$"):
        stretched += 1
    with pytest.raises(ValueError, match=r"^\[index\] .* of shape \(3,\)"):
        stretched[0] = 1.0
    with pytest.raises(ValueError, match=r"^\[assign_\] .* of shape \(3,\)"):
        stretched.assign_(1.0)
    copy = stretched.clone()
    copy += 1
    assert copy.tolist() == [2.0, 2.0, 2.0]


def test_read_only_memory() -> None:
    array = np.ones(2, np.float32)
    array.flags.writeable = False
    x = Tensor(array, device="cpu")
    for write in (lambda: x.__iadd__(1), lambda: x.assign_(1), lambda: x.__setitem__(0, 1)):
        with pytest.raises(ValueError, match=r"the memory of this tensor of shape \(2,\) is read"):
            write()


@pytest.mark.gpu
def test_another_device() -> None:
    x, y = Tensor([1.0], device="cuda"), Tensor([1.0], device="cpu")
    with pytest.raises(ValueError, match=r"^\[Add\] expected all inputs on one device, got cpu"):
        x += y
    with pytest.raises(ValueError, match=r"^\[index\] expected values on cuda:0, .* got cpu"):
        x[0] = y


# --- inside a backward rule ----------------------------------------------------------------------


class Twice(Op):
    saves = ("x",)
    what = ""

    def forward(self, x: Any) -> Any:
        return x * 2

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        if self.what == "own":
            mine = grad * 1
            mine *= 2
            return mine
        target = {"grad": grad, "saved": x, "view": grad.reshape(-1), "wrapped": Tensor(x.data)}
        target[self.what] *= 2
        return grad * 2


@pytest.mark.parametrize("what", ["grad", "saved", "view", "wrapped"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_rule_does_not_write_into_what_it_is_handed(what: str, create_graph: bool) -> None:
    x = leaf(1.0, 2.0)
    op = Twice()
    op.what = what
    y = op(x)
    with pytest.raises(RuntimeError) as raised:
        tg.grad(y.sum(), x, create_graph=create_graph)
    assert str(raised.value) == (
        "[*=] the backward of Twice may not write into what it is handed, here a tensor of shape "
        "(2,): others have the same memory; compute a new tensor, or write into a .clone()"
    )
    assert x.tolist() == [1.0, 2.0]
    x.assign_(3.0)  # the walk is over


def test_a_rule_writes_into_what_it_made() -> None:
    x = leaf(1.0, 2.0)
    op = Twice()
    op.what = "own"
    op(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]


# --- arrays beside tensors ------------------------------------------------------------------------


def test_one_element_is_a_view() -> None:
    x = Tensor([1.0, 2.0, 3.0])
    element = x[1]
    element += 5
    x[np.int64(2)].assign_(9)
    assert x.tolist() == [1, 7, 9]
    assert element.shape == ()
    w = leaf(1.0, 2.0)
    y = w[0] * w[1]
    with tg.no_grad():
        w[1].assign_(4)
    with pytest.raises(RuntimeError, match=r"^\[Mul\] a value that its backward needs"):
        y.backward()


def test_the_array_of_a_leaf_takes_a_gradient() -> None:
    if tg.default_device() != "cpu":
        pytest.skip("CuPy's arrays take no tensors")
    w = leaf(1.0, 2.0)
    kept = w.data
    (w * w).sum().backward()
    assert w.grad is not None
    w.data -= 0.25 * w.grad
    assert w.data is kept
    assert w.tolist() == [0.5, 1.0]
    with tg.no_grad():
        w.data *= w
    assert w.data is kept
    assert w.tolist() == [0.25, 1.0]


def test_what_is_no_array_is_no_data() -> None:
    x = leaf(1.0, 2.0)
    x.data = x.detach()
    with pytest.raises(
        TypeError, match=r"^\[Tensor\] expected an array as the .data of a tensor, "
    ):
        x * x
    with pytest.raises(
        TypeError, match=r"^\[Tensor\] expected an array as the .data of a tensor, "
    ):
        x.exp()


def test_a_scalar_of_numpy_as_data() -> None:
    x = Tensor(2.0)
    x.data = np.float32(3)
    assert (x * x).item() == 9
    x += 1
    assert x.tolist() == 4
