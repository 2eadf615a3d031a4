"""Writing in place inside of transforms: a loop's values, and tangents that fit the gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_cupy as tg
from records.indexing import draw_key
from support.examples import examples
from support.sampling import Draw
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device
from tinygrad_cupy.ops.inplace import add_at

pytestmark = pytest.mark.usefixtures("device")

SHAPE = (2, 3)
Step = Callable[[list[Any], Any], None]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    return Tensor(values, device=tg.default_device())


# --- random functions ---------------------------------------------------------------------------


def draw_function(draw: Draw) -> Callable[[Any], Any]:
    """A function of a tensor of SHAPE that makes tensors and views, and writes into them."""
    shapes, steps = [SHAPE, SHAPE], []
    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(["new", "view", "view", "assign", "assign", "update", "add_at",
                                     "where", "pick"]))  # fmt: skip
        step, shape = DRAWS[kind](draw, shapes)
        steps.append(step)
        if shape is not None:
            shapes.append(shape)

    def function(x: Any) -> Any:
        tensors = [x * 1, Tensor.full(SHAPE, 0.5, "float64")]
        for step in steps:
            step(tensors, x)
        return tg.concat([(y.clone() * 1.5).sin().reshape(-1) for y in tensors if y.size])

    return function


def draw_value(draw: Draw, shapes: list[Any], place: tuple[int, ...]) -> Callable[..., Any]:
    """Something that broadcasts to a place: of the argument, of a tensor, or a number."""
    kind = draw(st.sampled_from(["number", "argument", "tensor", "tensor itself"]))
    if kind == "number":
        return lambda tensors, x: 0.25
    if kind == "argument":
        if len(place) < 2 or place[-2:] != SHAPE:
            return lambda tensors, x: x[0, 1] * 2
        return lambda tensors, x: x * 2
    fitting = [i for i, shape in enumerate(shapes) if _fits(shape, place)]
    if not fitting:
        return lambda tensors, x: x.sum()
    i = draw(st.sampled_from(fitting))
    if kind == "tensor":
        return lambda tensors, x: tensors[i].clone().sin()
    return lambda tensors, x: tensors[i]


def _fits(shape: tuple[int, ...], place: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, place) == place
    except ValueError:
        return False


def _new(draw: Draw, shapes: list[Any]) -> tuple[Step, Any]:
    return lambda tensors, x: tensors.append(Tensor.full((4,), 0.5, "float64")), (4,)


def _view(draw: Draw, shapes: list[Any]) -> tuple[Step, Any]:
    i = draw(st.integers(0, len(shapes) - 1))
    shape = shapes[i]
    kind = draw(st.sampled_from(["slice", "transpose", "reshape"]))
    if kind == "slice":
        key = draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
        call: Any = lambda a: a[key]  # noqa: E731
    elif kind == "transpose":
        call = lambda a: a.transpose()  # noqa: E731
    else:
        call = lambda a: a.reshape(-1)  # noqa: E731
    made = np.asarray(call(np.empty(shape))).shape
    return lambda tensors, x: tensors.append(call(tensors[i])), made


def _assign(draw: Draw, shapes: list[Any], add: bool = False) -> tuple[Step, Any]:
    i = draw(st.integers(0, len(shapes) - 1))
    key = draw_key(draw, shapes[i])
    place = np.asarray(np.empty(shapes[i])[key]).shape
    value = draw_value(draw, shapes, place)

    def step(tensors: list[Any], x: Any) -> None:
        if add:
            add_at(tensors[i], _here(key), value(tensors, x))
        else:
            tensors[i][_here(key)] = value(tensors, x)

    return step, None


def _here(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple([_here(k) for k in key])
    return to_device(key, tg.default_device()) if isinstance(key, np.ndarray) else key


def _add_at(draw: Draw, shapes: list[Any]) -> tuple[Step, Any]:
    return _assign(draw, shapes, add=True)


def _update(draw: Draw, shapes: list[Any]) -> tuple[Step, Any]:
    i = draw(st.integers(0, len(shapes) - 1))
    key = draw(hnp.basic_indices(shapes[i], allow_newaxis=True))
    place = np.asarray(np.empty(shapes[i])[key]).shape
    value = draw_value(draw, shapes, place)
    sign = draw(st.sampled_from("+-*"))

    def step(tensors: list[Any], x: Any) -> None:
        if sign == "+":
            tensors[i][key] += value(tensors, x)
        elif sign == "-":
            tensors[i][key] -= value(tensors, x)
        else:
            other = value(tensors, x)
            tensors[i][key] *= other.clone() if isinstance(other, Tensor) else other

    return step, None


def _where(draw: Draw, shapes: list[Any]) -> tuple[Step, Any]:
    """A mask of each element's own."""
    i = draw(st.sampled_from([i for i, shape in enumerate(shapes) if shape == SHAPE]))
    value = draw_value(draw, shapes, ())

    def step(tensors: list[Any], x: Any) -> None:
        tensors[i][x > 1] = value(tensors, x)

    return step, None


def _pick(draw: Draw, shapes: list[Any]) -> tuple[Step, Any]:
    """Indices of each element's own."""
    i = draw(st.sampled_from([i for i, shape in enumerate(shapes) if shape == SHAPE]))

    def step(tensors: list[Any], x: Any) -> None:
        tensors[i][:, x.argmax(1)] = x[:, :2]

    return step, None


DRAWS: dict[str, Callable[[Draw, list[Any]], tuple[Step, Any]]] = {
    "new": _new,
    "view": _view,
    "assign": _assign,
    "add_at": _add_at,
    "update": _update,
    "where": _where,
    "pick": _pick,
}


@examples(20)
@hypothesis.given(data=st.data())
def test_a_batch_is_a_loop(data: st.DataObject) -> None:
    function = draw_function(data.draw)
    xs = numbers(3, *SHAPE)
    together = tg.vmap(function)(xs)
    gradients = tg.vmap(tg.grad(lambda x: function(x).sum()))(xs)
    summed = tg.grad(lambda xs: tg.vmap(function)(xs).sum())(xs)
    for i in range(3):
        np.testing.assert_allclose(together[i].numpy(), function(xs[i]).numpy(), rtol=1e-12)
        expected = tg.grad(lambda x: function(x).sum())(xs[i]).numpy()
        np.testing.assert_allclose(gradients[i].numpy(), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(summed[i].numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@examples(20)
@hypothesis.given(data=st.data())
def test_tangents_fit_gradients_of_both_orders(data: st.DataObject) -> None:
    function = draw_function(data.draw)
    x, along = numbers(*SHAPE), numbers(*SHAPE, seed=1)
    y, tangent = tg.jvp(function, (x,), (along,))
    np.testing.assert_array_equal(y.numpy(), function(x).numpy())
    u = numbers(*y.shape, seed=2)
    _, pull = tg.vjp(function, x)
    (back,) = pull(u)
    assert (u * tangent).sum().item() == pytest.approx((back * along).sum().item(), rel=1e-9)
    gradient = tg.grad(lambda x: (function(x) * u).sum())
    _, forward = tg.jvp(gradient, (x,), (along,))
    (_, reverse) = tg.jvp(lambda x: tg.jvp(lambda x: (function(x) * u).sum(), (x,), (along,))[1],
                          (x,), (along,))  # fmt: skip
    assert (forward * along).sum().item() == pytest.approx(reverse.item(), rel=1e-8, abs=1e-10)
    expected = tg.hvp(lambda x: (function(x) * u).sum(), x, along)
    np.testing.assert_allclose(forward.numpy(), expected.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@examples(15)
@hypothesis.given(data=st.data())
def test_transforms_inside_of_one_another(data: st.DataObject) -> None:
    function = draw_function(data.draw)
    xs, along = numbers(2, *SHAPE), numbers(2, *SHAPE, seed=1)
    push: Any = lambda x, t: tg.jvp(function, (x,), (t,))[1]  # noqa: E731
    inner = tg.vmap(push)(xs, along)
    _, outer = tg.jvp(tg.vmap(function), (xs,), (along,))
    twice = tg.vmap(tg.vmap(function))(tg.stack([xs, along]))
    for i in range(2):
        expected = push(xs[i], along[i]).numpy()
        np.testing.assert_allclose(inner[i].numpy(), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(outer[i].numpy(), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(twice[0, i].numpy(), function(xs[i]).numpy(), rtol=1e-12)
        np.testing.assert_allclose(twice[1, i].numpy(), function(along[i]).numpy(), rtol=1e-12)
