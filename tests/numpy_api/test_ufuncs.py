"""NumPy's ufuncs on tensors: called with all their options, and their methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.sampling import draw_axis, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy import numpy as tnp
from tinygrad_cupy.numpy.ufunc import Ufunc

VALUES = np.array([[0.5, -1.5, 2.0], [3.0, 0.25, -0.75]])
SMALL = np.array([[100, 100, 3], [7, 2, 50]], np.int8)


def same(found: Any, expected: Any) -> None:
    assert isinstance(found, Tensor)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert found.dtype == np.asarray(expected).dtype
    assert found.shape == np.shape(expected)


def gradient(of: Callable[[Any], Any], *, at: np.ndarray = VALUES) -> np.ndarray:
    x = Tensor(at, requires_grad=True)
    assert tg.gradcheck(of, [x])
    found: np.ndarray = tg.grad(of(x).sum(), x).numpy()
    return found


# --- calls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("np_", [np, tnp], ids=["protocol", "namespace"])
@pytest.mark.parametrize(
    "call",
    [
        lambda np_, x: np_.add(x, 2),
        lambda np_, x: np_.add(2, x),
        lambda np_, x: np_.subtract(VALUES, x),
        lambda np_, x: np_.multiply(x, [1.0, 2.0, 3.0]),
        lambda np_, x: np_.multiply([1.0, 2.0, 3.0], x),
        lambda np_, x: np_.exp(x),
        lambda np_, x: np_.less(x, 0.5),
        lambda np_, x: np_.less(0.5, x),
        lambda np_, x: np_.add(x, 1, dtype=np.float64),
        lambda np_, x: np_.add(x, 1, order="C", subok=False, casting="unsafe"),
        lambda np_, x: np_.equal(x, x, dtype=bool),
        lambda np_, x: np_.maximum(x, x[0]),
        lambda np_, x: np_.matmul(x, x.T),
    ],
)
def test_calls(np_: Any, call: Any) -> None:
    same(call(np_, Tensor(VALUES)), call(np, VALUES))


def test_what_is_computed_in_another_dtype() -> None:
    x = Tensor(SMALL)
    same(np.multiply(x, x, dtype=np.int32), np.multiply(SMALL, SMALL, dtype=np.int32))
    same(np.add(x, 1.5, dtype=np.float64), np.add(SMALL, 1.5, dtype=np.float64))
    single = np.exp(Tensor(VALUES), dtype=np.float32)
    assert single.dtype == np.float32
    with pytest.raises(TypeError) as raised:
        np.add(Tensor(VALUES), 1, dtype=int)
    assert str(raised.value) == (
        '[add] expected operands that can be cast to int64 by casting="same_kind", got float64 as '
        "operand 0: use .astype()"
    )
    same(np.add(Tensor(VALUES), 1, dtype=int, casting="unsafe"), VALUES.astype(int) + 1)
    with pytest.raises(TypeError, match=r"^\[add\] expected operands that can be cast to float32"):
        np.add(Tensor(VALUES), 1, dtype=np.float32, casting="safe")
    with pytest.raises(TypeError, match=r"^\[exp\] gives float32, not dtype=int64$"):
        np.exp(Tensor([1, 2]), dtype=np.int64)
    with pytest.raises(TypeError, match=r"^\[add\] takes no signature= with tensors$"):
        np.add(x, x, signature="ll->l")
    with pytest.raises(TypeError, match=r"^\[add\] expected 2 arrays and at most 1 for out, got 1"):
        tnp.add(x)
    with pytest.raises(TypeError, match=r"^\[multiply\] expected a tensor, .* got str$"):
        tnp.multiply("2", x)
    with pytest.raises(TypeError, match=r"^\[equal\] expected a tensor, .* got NoneType$"):
        tnp.equal(x, None)


def test_bfloat16_is_computed_in_float32() -> None:
    x = Tensor([1.0, 2.0], dtype="bfloat16")
    assert np.add(x, x, dtype=np.float32).tolist() == [2.0, 4.0]
    assert np.add(x, x, dtype=np.float32).dtype == np.float32
    assert np.add.reduce(x).dtype.name == "bfloat16"


def test_where_leaves_the_rest_alone() -> None:
    x = Tensor([4.0, 0.0, -1.0], dtype="float64", requires_grad=True)
    out = np.array([7.0, 7.0, 7.0])
    with tg.no_grad():
        assert np.log(x, where=x > 0, out=out) is out
    np.testing.assert_allclose(out, [np.log(4.0), 7, 7])
    kept: Any = Tensor([7.0, 8.0, 9.0], dtype="float64")
    with tg.no_grad():
        assert np.sqrt(x, where=[True, False, False], out=kept) is kept
    assert kept.tolist() == [2.0, 8.0, 9.0]
    for call in (np.log, np.sqrt, lambda x, where: np.divide(1, x, where=where)):
        found = call(x, where=x > 0)
        assert found.tolist()[1:] == [0.0, 0.0]
        grad = tg.grad(found.sum(), x)
        assert np.isfinite(grad.numpy()).all()
        assert grad.tolist()[1:] == [0.0, 0.0]
    assert np.less(x, 5, where=x > 0).tolist() == [True, False, False]
    rows = np.add(x, 1, where=np.array([[True, True, False], [False, True, True]]))
    assert rows.tolist() == [[5.0, 1.0, 0.0], [0.0, 1.0, 0.0]]


# --- out ----------------------------------------------------------------------------------------


def test_out_is_written_and_returned() -> None:
    x = Tensor(VALUES)
    out: Any = Tensor(np.zeros((2, 3)))
    array = np.zeros((2, 3))
    assert np.exp(x, out) is out
    assert np.exp(x, out=array) is array
    assert np.exp(x, out=(array,)) is array
    assert np.exp(x, out=None).shape == (2, 3)
    assert out.tolist() == array.tolist() == np.exp(VALUES).tolist()
    assert np.exp(VALUES, out=out) is out
    sums: Any = Tensor(np.zeros(2))
    assert np.add.reduce(x, 1, out=sums) is sums
    assert sums.tolist() == VALUES.sum(1).tolist()
    wide = np.zeros((2, 2, 3))
    assert np.add(x, 1, out=wide) is wide
    assert wide.tolist() == [(VALUES + 1).tolist()] * 2
    with pytest.raises(TypeError, match="expected values of a kind that int64 holds"):
        np.exp(x, out=np.zeros((2, 3), int))
    with pytest.raises(TypeError, match=r"^\[exp\] expected out to be a tensor or an array"):
        tnp.exp(x, out=[0.0])


def test_out_drops_no_gradient() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for call in (
        lambda out: np.add(np.ones(2), x, out=out),
        lambda out: np.add(out, x, out=out),
        lambda out: np.exp(x, out),
        lambda out: np.add.accumulate(x, out=out),
        lambda out: np.sum(x, keepdims=True, out=out),
        lambda out: np.add.at(out, [0, 1], x),
    ):
        out = np.zeros(2)
        with pytest.raises(TypeError) as raised:
            call(out)
        assert str(raised.value).partition("] ")[2] == (
            "expected out to be a tensor, got an array, which holds no gradient: leave out= away, "
            "or take the values out of the graph with .detach()"
        )
        assert not out.any()
        with tg.no_grad():
            call(np.zeros(2))


def test_an_array_is_not_written_inside_of_a_transform() -> None:
    def into(x: Any) -> Any:
        return np.exp(x, out=np.zeros(()))

    with pytest.raises(TypeError, match="holds no gradient"):
        tg.jvp(into, [Tensor(1.0)], [Tensor(1.0)])
    with pytest.raises(TypeError, match="holds no gradient"):
        tg.vmap(into)(Tensor([1.0]))


@pytest.mark.parametrize("transform", [False, True])
def test_an_array_that_a_tensor_is_added_to_becomes_one(transform: bool) -> None:
    def total(x: Any) -> Any:
        total: Any = np.zeros(2)
        total += x
        total *= 3
        return total

    x = Tensor([1.0, 2.0], requires_grad=True)
    if transform:
        assert tg.jvp(total, [x], [x])[1].tolist() == [3.0, 6.0]
        return
    assert type(total(x)) is Tensor
    assert tg.grad(total(x).sum(), x).tolist() == [3.0, 3.0]
    array: Any = np.zeros(2)
    alias = array
    array += x.detach()
    assert array is alias
    array -= 4 * x
    assert isinstance(array, Tensor)
    assert array.requires_grad
    assert alias.tolist() == [-3.0, -6.0]  # whoever has it by another name sees the values


# --- methods ------------------------------------------------------------------------------------

REDUCED = ("add", "multiply", "maximum", "minimum", "subtract", "divide")


@pytest.mark.parametrize("name", REDUCED)
@given(data=st.data())
def test_reduce(name: str, data: st.DataObject) -> None:
    shape = data.draw(shapes())
    axis: Any = draw_axis(data.draw, len(shape), several=name in REDUCED[:4])
    axis = 0 if name in REDUCED[4:] and axis is None else axis
    options = {"axis": axis, "keepdims": data.draw(st.booleans())}
    if data.draw(st.booleans()):
        options |= {"initial": 1.5}
        options |= {"where": np.arange(shape[-1]) != 1} if shape and name in REDUCED[:4] else {}
    values = np.random.default_rng(3).uniform(0.5, 2, shape)
    expected = getattr(np, name).reduce(values, **options)
    same(getattr(np, name).reduce(Tensor(values), **options), expected)
    found = getattr(tnp, name).reduce(values, **options)
    assert type(found) is tnp.ndarray
    same(found, expected)


def test_reduce_by_halves_or_in_order() -> None:
    logaddexp = Ufunc(np.logaddexp, lambda a, b: ((a - b).exp() + 1).log() + b)
    for n in (1, 2, 3, 5, 8):
        values = np.linspace(-1, 2, n)
        same(logaddexp.reduce(Tensor(values)), np.logaddexp.reduce(values))
        same(np.subtract.reduce(Tensor(values)), np.subtract.reduce(values))
    many = Tensor(np.zeros((4, 5, 3)), requires_grad=True)
    same(logaddexp.reduce(many, axis=(2, 0)), np.full(5, np.log(12)))
    grad = tg.grad(logaddexp.reduce(many, None), many)
    np.testing.assert_allclose(grad.numpy(), np.full((4, 5, 3), 1 / 60))


def test_reduce_without_elements() -> None:
    empty = Tensor(np.zeros((0, 2)))
    for name in ("add", "multiply"):
        same(getattr(np, name).reduce(empty), getattr(np, name).reduce(np.zeros((0, 2))))
        same(getattr(np, name).reduce(empty, 1), np.zeros(0))
    same(np.maximum.reduce(empty, initial=3.0), np.full(2, 3.0))
    same(np.add.reduce(empty, initial=3.0, keepdims=True), np.full((1, 2), 3.0))
    with pytest.raises(ValueError, match=r"^\[maximum.reduce\] no elements to reduce"):
        np.maximum.reduce(empty)
    with pytest.raises(ValueError, match=r"^\[add.reduce\] no elements to reduce"):
        np.add.reduce(empty, initial=None)
    with pytest.raises(ValueError, match=r"^\[maximum.reduce\] has no identity: where= asks"):
        np.maximum.reduce(Tensor(VALUES), where=VALUES > 0)
    with pytest.raises(ValueError, match=r"^\[subtract.reduce\] is not reordered: expected one ax"):
        np.subtract.reduce(Tensor(VALUES), axis=None)
    with pytest.raises(ValueError, match=r"^\[exp.reduce\] is for functions of two arrays that gi"):
        tnp.exp.reduce(Tensor(VALUES))
    with pytest.raises(ValueError, match=r"^\[add.reduce\] axis 2 is out of range for a tensor of"):
        np.add.reduce(Tensor(VALUES), 2)


def test_small_integers_are_added_up_in_64_bits() -> None:
    for array in (SMALL, SMALL > 5, SMALL.astype(np.uint8)):
        for method in ("reduce", "accumulate"):
            for ufunc in (np.add, np.multiply):
                found = getattr(ufunc, method)(Tensor(array))
                same(found, getattr(ufunc, method)(array))
    same(np.add.reduce(Tensor(SMALL), dtype=np.float32), np.add.reduce(SMALL, dtype=np.float32))
    same(np.add.reduce(Tensor(3.0, dtype="float64")), 3.0)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_accumulate_and_reduceat(name: str, axis: int) -> None:
    theirs = getattr(np, name)
    same(theirs.accumulate(Tensor(VALUES), axis), theirs.accumulate(VALUES, axis))
    indices = [0, 1, 0] if axis == 0 else [1, 0, 2, 0]
    for places in (indices, np.array(indices), Tensor(indices)):
        expected = theirs.reduceat(VALUES, indices, axis)
        same(theirs.reduceat(Tensor(VALUES), places, axis), expected)
    ours = getattr(tnp, name)
    at = np.abs(VALUES)
    gradient(lambda x: ours.accumulate(x, axis), at=at)
    gradient(lambda x: ours.reduceat(x, indices, axis), at=at)


def test_accumulate_and_reduceat_of_truth_and_of_nothing() -> None:
    same(np.equal.accumulate(Tensor([True, False, False])), np.array([True, False, True]))
    assert np.add.accumulate(Tensor([])).shape == (0,)
    with pytest.raises(TypeError, match=r"^\[add.accumulate\] expected at least one axis"):
        np.add.accumulate(Tensor(1.0))
    with pytest.raises(IndexError, match=r"^\[add.reduceat\] index 5 is out of range for axis of"):
        np.add.reduceat(Tensor([1.0, 2.0]), [0, 5])


def test_outer() -> None:
    a, b = VALUES, np.array([1.0, -2.0])
    for theirs in (np.add, np.multiply, np.divide, np.less, np.maximum):
        expected = theirs.outer(a, b)
        same(theirs.outer(Tensor(a), b), expected)
        same(theirs.outer(a, Tensor(b)), expected)
        same(getattr(tnp, theirs.__name__).outer(a, b), expected)
    same(np.add.outer(Tensor(a), 2.0), a + 2)
    assert gradient(lambda x: tnp.multiply.outer(x, b)).tolist() == np.full((2, 3), -1.0).tolist()
    with pytest.raises(ValueError, match=r"^\[exp.outer\] is for functions of two arrays$"):
        tnp.exp.outer(Tensor(a), b)


AT: list[tuple[Any, ...]] = [
    (np.add, [0, 1, 0], 1.5),
    (np.add, ([0, 0, 1], [2, 2, 0]), np.array([1.0, 2.0, 3.0])),
    (np.add, (slice(None), [1, 1]), np.array([1.0, 5.0])),
    (np.subtract, [1, 1, 1], VALUES[0]),
    (np.multiply, [0, 0, 1], 3.0),
    (np.multiply, ([0, 0, 1], [2, 2, 0]), np.array([1.0, 2.0, 3.0])),
    (np.maximum, [1, 1], np.array([[0.0], [1.0]])),
    (np.divide, (..., 1), np.array([2.0, 4.0])),
    (np.power, ([0], slice(0, 2)), 2.0),
    (np.add, [], 1.0),
    (np.multiply, [], 1.0),
]


@pytest.mark.parametrize(("ufunc", "indices", "other"), AT)
def test_at(ufunc: Any, indices: Any, other: Any) -> None:
    expected, x, array = VALUES.copy(), Tensor(VALUES.copy()), VALUES.copy()
    indices = indices if isinstance(indices, tuple) else np.array(indices, int)
    ufunc.at(expected, indices, other)
    assert ufunc.at(x, indices, other) is None
    same(x, expected)
    if not isinstance(indices, tuple):
        indices = Tensor(indices)
    ufunc.at(array, indices, Tensor(np.asarray(other)))
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(("ufunc", "indices", "other"), AT)
def test_what_at_and_out_write_is_recorded(ufunc: Any, indices: Any, other: Any) -> None:
    indices = indices if isinstance(indices, tuple) else np.array(indices, int)

    def at(x: Any, y: Any) -> Any:
        written = x * 1
        ufunc.at(written, indices, y)
        return written

    def out(x: Any, y: Any) -> Any:
        written = x * 1
        assert ufunc(x, 1.5, out=written, where=VALUES > 0) is written
        return written + y.sum()

    x = Tensor(np.abs(VALUES) + 0.1, requires_grad=True)
    y = Tensor(np.asarray(other) + 0.25, requires_grad=True)
    for write in (at, out):
        assert tg.gradcheck(write, [x, y])


def test_at_of_one_operand_and_of_a_single_element() -> None:
    x, expected = Tensor(VALUES.copy()), VALUES.copy()
    np.negative.at(x, [0, 1, 1])
    np.negative.at(expected, [0, 1, 1])
    same(x, expected)
    one = Tensor(2.0, dtype="float64")
    np.multiply.at(one, (), 3.0)
    assert one.item() == 6.0
    with pytest.raises(ValueError, match=r"^\[add.at\] expected 2 operands$"):
        tnp.add.at(x, [0])


def test_what_is_known_of_a_ufunc() -> None:
    assert repr(tnp.exp) == "<ufunc 'exp' of tensors>"
    assert (tnp.add.nin, tnp.add.nout, tnp.add.nargs, tnp.add.identity) == (2, 1, 3, 0)
    assert tnp.add.__name__ == "add"


# --- several outputs ----------------------------------------------------------------------------


def test_several_outputs() -> None:
    divmod_ = Ufunc(np.divmod, lambda a, b: ((a - a % b) / b, a % b) if 0 else (a + b, a - b))
    x = Tensor(VALUES)
    for found, expected in zip(divmod_(x, 2.0), (VALUES + 2, VALUES - 2), strict=True):
        same(found, expected)
    out = Tensor(np.zeros((2, 3)))
    first, second = divmod_(x, 2.0, out=(None, out))
    assert second is out
    same(first, VALUES + 2)
    same(out, VALUES - 2)
    first, second = divmod_(x, 2.0, out)
    assert first is out
    same(second, VALUES - 2)
    for found in divmod_(x, 2, where=VALUES > 0, dtype=np.float64):
        assert found.dtype == np.float64
        assert not found.numpy()[VALUES < 0].any()
    with pytest.raises(ValueError, match=r"^\[divmod.reduce\] is for functions of two arrays that"):
        divmod_.reduce(x)
