"""What Python does with a tensor: iterate, index with it, convert it, compare it with a list."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.looped import looped
from tinygrad_cupy import GradientDroppedWarning, Tensor
from tinygrad_cupy import numpy as tnp
from tinygrad_cupy.ops.protocols import TABLE

on_device = pytest.mark.usefixtures("device")


# --- as a sequence ------------------------------------------------------------------------------


@on_device
def test_iteration_goes_over_the_first_axis_and_is_recorded() -> None:
    x: Any = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    rows = list(x)
    assert [row.tolist() for row in rows] == x.tolist()
    a, b = x
    assert tg.grad((a * b).sum(), x).tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert sum(x).tolist() == [4.0, 6.0]
    assert max(x[0]).item() == 2.0
    assert [n.item() for n in reversed(Tensor([1, 2]))] == [2, 1]
    assert list(Tensor.zeros(0, 2)) == []
    pairs = tg.vmap(lambda x: sum(n * n for n in x))(x)
    assert pairs.tolist() == [5.0, 25.0]
    with pytest.raises(TypeError, match=r"^\[iter\] a tensor without axes is not iterated over$"):
        iter(Tensor(1.0))


@on_device
def test_in() -> None:
    x = Tensor([[1.0, 2.0], [3.0, math.nan]])
    assert 2 in x
    assert 5 not in x
    assert math.nan not in x
    assert [1.0, 9.0] in x
    assert x[1, 0] in x
    assert "text" not in x
    assert 1 not in Tensor([])


@on_device
def test_an_integer_is_an_index() -> None:
    n: Any = Tensor(2)
    assert [*range(n)] == [0, 1]
    assert ["a", "b", "c"][Tensor([2])] == "c"
    assert np.zeros(3)[n] == 0
    assert operator.index(n) == 2
    assert hex(Tensor(255)) == "0xff"
    for bad, said in (
        (Tensor(2.0), "got dtype float32 and shape ()"),
        (Tensor(True), "got dtype bool and shape ()"),
        (Tensor([1, 2]), "got dtype int64 and shape (2,)"),
    ):
        with pytest.raises(TypeError) as raised:
            operator.index(bad)
        assert str(raised.value) == f"[index] expected one integer, {said}"


# --- lists --------------------------------------------------------------------------------------

SIGNS = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.pow),
    *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
]


@on_device
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_are_operands(sign: Any, kind: Any) -> None:
    values, other = np.array([1.0, 2.0, 4.0]), kind([2.0, 2.0, 2.0])
    x = Tensor(values, device=tg.default_device(), requires_grad=True)
    for found, expected in (
        (sign(x, other), sign(values, np.array(other))),
        (sign(other, x), sign(np.array(other), values)),
    ):
        assert type(found) is Tensor
        np.testing.assert_allclose(found.numpy(), expected)
        assert found.requires_grad is (found.dtype == np.float64)


BESIDE_LISTS: dict[str, Any] = {
    "add": np.add,
    "copysign": np.copysign,
    "where": lambda x, y: np.where(x > 1, x, y),
    "clip": lambda x, y: np.clip(x, y, 9.0),
    "concatenate": lambda x, y: np.concatenate([x, y]),
    "stack": lambda x, y: np.stack([y, x]),
    "dot": np.dot,
    "matmul": np.matmul,
    "einsum": lambda x, y: np.einsum("i,j", x, y),
    "convolve": np.convolve,
    "interp": lambda x, y: np.interp(x, y, y),
    "average": lambda x, y: np.average(x, weights=y),
    "cov": np.cov,
    "linspace": lambda x, y: np.linspace(x, y, 3),
    "polyval": np.polyval,
    "select": lambda x, y: np.select([x > 1], [y], x),
    "choose": lambda x, y: np.choose([0, 1], [x, y]),
    "ldexp": lambda x, y: np.ldexp(x, [1, 2]),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@looped("name", BESIDE_LISTS)
def test_numbers_in_a_list_do_not_widen(name: str, dtype: str) -> None:
    x = Tensor([0.5, 1.5]).astype(dtype)
    for numbers in ([1, 2], [1.0, 2.0], (1, 2.0)):
        found = BESIDE_LISTS[name](x, numbers)
        assert found.dtype == x.dtype
        expected = BESIDE_LISTS[name](np.array([0.5, 1.5]), np.array(numbers))
        np.testing.assert_allclose(found.astype("float64").numpy(), expected, rtol=1e-2)


@on_device
def test_numbers_in_lists_widen_no_more_than_numbers_do() -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        x = Tensor([1.0, 2.0], dtype=dtype)
        for other in ([1, 2], [1.5, 2.5], [True, False], [np.float64(1), 2], [[1], [2]]):
            assert (x * other).dtype == dtype
    small, ones, large, halves = Tensor([1, 2], dtype="int8"), [1, 2], [1, 1000], [0.5, 1]
    assert (small + ones).dtype == np.int8
    assert (small + large).tolist() == [2, 1002]
    assert (small + halves).dtype == np.float32
    assert (small == large).tolist() == [True, False]
    assert (Tensor([True, False]) + ones).dtype == np.int64
    assert (tnp.ndarray([1, 2]) + halves).dtype == np.float64
    assert (Tensor([[1.0, 2.0]]) @ [3.0, 4.0]).tolist() == [11.0]
    assert ([3.0, 4.0] @ Tensor([1.0, 2.0])).item() == 11.0


@on_device
def test_lists_with_tensors_in_them_stay_in_the_graph() -> None:
    x: Any = Tensor([1.0, 2.0], requires_grad=True)
    y = x * [x[1], 3]
    assert y.tolist() == [2.0, 6.0]
    assert tg.grad(y.sum(), x).tolist() == [2.0, 4.0]
    z = x * [[x[0], 1], (2, x[1])]
    assert z.tolist() == [[1.0, 2.0], [2.0, 4.0]]
    assert z.requires_grad
    for other in ([x[0], "a"], [x[0], None], ["a"], [None]):
        with pytest.raises(TypeError):
            x * other
        assert (x == other) is False
    assert (x * [1j, 2]).tolist() == [1j, 4]
    with pytest.raises(ValueError, match=r"^\[Mul\] shapes \(2,\) and \(3,\) do not broadcast"):
        x * [1, 2, 3]


# --- leaving the graph --------------------------------------------------------------------------

LEAVING: list[Callable[[Any], Any]] = [
    float,
    int,
    math.exp,
    complex,
    np.float64,
    lambda x: "%f" % x,  # noqa: UP031
    lambda x: np.zeros(2).__setitem__(0, x),
]


@pytest.mark.parametrize("call", LEAVING)
def test_a_number_of_a_value_with_a_gradient_warns(call: Any) -> None:
    w = Tensor(2.0, requires_grad=True)
    for x in (w, w * 3):
        with pytest.warns(GradientDroppedWarning, match="carries a gradient") as told:
            call(x)
        assert len(told) == 1
        assert told[0].filename == __file__
    with pytest.warns(GradientDroppedWarning):
        tg.jvp(lambda x: (call(x), x)[1], [Tensor(2.0)], [Tensor(1.0)])
    with tg.no_grad():
        call(w)
    call(w.detach())
    loss = w * w
    loss.backward()
    call(loss)  # as every loop does: the graph is used up


def test_the_warning_says_what_to_do_and_comes_once_for_a_place() -> None:
    x = Tensor(2.0, requires_grad=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            math.exp(x)
        float(x)
        int(x)
    assert [str(w.message).partition(" takes ")[0] for w in told] == [
        "[Tensor] float()",
        "[Tensor] float()",
        "[Tensor] int()",
    ]
    assert str(told[0].message) == (
        "[Tensor] float() takes a value that carries a gradient out of the graph: what is computed "
        "from the number has no gradient. Compute with tensors (x.exp(), not math.exp(x)), or, "
        "where the number is meant, say x.item(), or x.detach() before"
    )


def test_what_says_that_it_leaves_the_graph_is_quiet() -> None:
    x = Tensor([2.0], requires_grad=True) * 3
    assert x.item() == 6.0
    assert x.tolist() == [6.0]
    assert x.numpy()[0] == 6.0
    assert f"{x:.1f} {x} {x!r}".startswith("6.0 Tensor([6.]")
    assert bool(x)
    assert x > 5


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.array([x[0], 1.0]),
        lambda x: np.array([x[0], x[1]]),
        lambda x: np.array([x, x]),
        lambda x: np.asarray(x[0]),
        lambda x: np.zeros(2).__setitem__(slice(None), x),
        lambda x: np.float32(x[0]),
        lambda x: np.full(2, x[0]),
        lambda x: np.vectorize(abs)(x),
    ],
)
def test_an_array_of_values_with_a_gradient_warns_once_for_a_place(call: Any) -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with tg.no_grad():
        expected = call(x)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            np.testing.assert_array_equal(call(x), expected)
    assert [w.category for w in told] == [GradientDroppedWarning]
    assert told[0].filename == __file__
    assert ".detach()" in str(told[0].message)
    with pytest.warns(GradientDroppedWarning, match=r"\.detach\(\)"):
        tg.jvp(lambda x: (call(x), x)[1], [x.detach()], [x.detach()])
    with pytest.raises(RuntimeError, match=r"^\[vmap\] the .* inside of a transformed function"):
        tg.vmap(lambda x: (call(x), x)[1])(Tensor.ones(2, 2))


def test_an_array_of_a_loss_whose_backward_pass_is_over_is_quiet() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    assert np.array([loss, loss]).tolist() == [5.0, 5.0]


def test_arrays_beside_values_with_a_gradient_become_tensors() -> None:
    x, array = Tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0])
    for found in (array + x, np.dot(array, x), np.stack([array, x]), tnp.array([x[0], array[0]])):
        assert isinstance(found, Tensor)
        assert found.requires_grad
    with pytest.raises(TypeError, match=r"\.detach\(\)"):
        np.add(array, x, out=array)


# --- matplotlib ---------------------------------------------------------------------------------

PLOTS: dict[str, tuple[Callable[[Any, Any, Any], Any], tuple[Any, ...]]] = {
    "plot": (lambda ax, x, y: ax.plot(x, y), ()),
    "plot list": (lambda ax, x, y: ax.plot([*y]), ()),
    "scatter": (lambda ax, x, y: ax.scatter(x, x, c=y, s=y), ()),
    "semilogy": (lambda ax, x, y: ax.semilogy(x, y), ()),
    "step": (lambda ax, x, y: ax.step(x, y), ()),
    "errorbar": (lambda ax, x, y: ax.errorbar(x, y, yerr=y), ()),
    "fill_between": (lambda ax, x, y: ax.fill_between(x, y, 2 * y), ()),
    "hist": (lambda ax, x, y: ax.hist(y), ()),
    "boxplot": (lambda ax, x, y: ax.boxplot(y), ()),
    "imshow": (lambda ax, x, y: ax.imshow(y.reshape(2, 4)), ()),
    "pcolormesh": (lambda ax, x, y: ax.pcolormesh(y.reshape(2, 4)), ()),
    "contour": (lambda ax, x, y: ax.contour(y.reshape(2, 4)), ()),
    "pie": (lambda ax, x, y: ax.pie(y), ()),
    "axhline": (lambda ax, x, y: ax.axhline(y[0]), ()),
    "text": (lambda ax, x, y: ax.text(y[0], y[1], "here"), ()),
    "set_xlim": (lambda ax, x, y: ax.set_xlim(y[0], y[1]), (np.isfinite,)),
    "bar": (lambda ax, x, y: ax.bar(x, y), (np.broadcast_arrays,)),
    "stem": (lambda ax, x, y: ax.stem(x, y), (np.min,)),
    "quiver": (lambda ax, x, y: ax.quiver(x, y, y, y), (np.atleast_1d,)),
    "stackplot": (lambda ax, x, y: ax.stackplot(x, y, y), (np.vstack,)),
    "hist2d": (lambda ax, x, y: ax.hist2d(x, y), (np.histogram2d,)),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", list(PLOTS))
def test_matplotlib_plots_what_wants_no_gradient(name: str) -> None:
    import matplotlib.pyplot as plt

    plot, needed = PLOTS[name]
    missing = [function.__name__ for function in needed if function not in TABLE]
    if missing:
        pytest.skip(f"needs {missing}")
    figure, ax = plt.subplots()
    try:
        plot(ax, Tensor(np.linspace(0.1, 1, 8)), Tensor(np.linspace(1, 2, 8) ** 2))
        figure.canvas.draw()
    finally:
        plt.close(figure)


def test_matplotlib_says_detach_where_a_gradient_is_wanted() -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    x = Tensor([1.0, 2.0], requires_grad=True)
    try:
        for plot in (lambda: ax.plot(x), lambda: ax.bar([0, 1], x), lambda: ax.scatter(x, x)):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("default")
                plot()
                figure.canvas.draw()
            assert {w.category for w in told} == {GradientDroppedWarning}
            assert {w.filename for w in told} == {__file__}
            assert all(".detach()" in str(w.message) for w in told)
        (line,) = ax.get_lines()
        assert np.array_equal(line.get_ydata(), [1.0, 2.0])
    finally:
        plt.close(figure)
