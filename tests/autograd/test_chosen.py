"""What an operation did not choose has no gradient, whatever slopes lie behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.looped import looped
from tinygrad_cupy import Tensor

pytestmark = pytest.mark.usefixtures("device", "quiet")

Function = Callable[[Any], Tensor]


@pytest.fixture
def quiet() -> Iterator[None]:
    """NumPy warns where a branch is computed that is not taken."""
    with np.errstate(all="ignore"):
        yield


def leaf(*values: float, dtype: str = "float64") -> Tensor:
    x = Tensor(np.array(values), device=tg.default_device())
    return x.astype(dtype).detach().requires_grad_()


def read(x: Tensor) -> list[float]:
    return x.numpy().astype(float).tolist()  # type: ignore[no-any-return]


# Undefined, or steep, at 0 and below; the other branch has the slope 0.
SINGULAR: dict[str, Function] = {
    "sqrt": lambda x: tg.where(x > 0, x.sqrt(), 0.0),
    "log": lambda x: x.log().where(x > 0, 0.0),
    "entropy": lambda x: tg.where(x > 0, -x * x.log(), 0.0),
    "quotient": lambda x: tg.where(x != 0, x.sin() / x, 1.0).where(x >= 0, 0.0),
    "power": lambda x: tg.where(x > 0, x**0.5, 0.0),
    "power of tensors": lambda x: tg.where(x > 0, x ** (x - 1), 0.0),
    "reciprocal": lambda x: tg.where(x > 0, tnp.reciprocal(x), 0.0),
    "steps": lambda x: tg.where(x > 0, (x.sqrt().log() * 3 + 1).abs().sqrt(), 0.0),
    "arccosh": lambda x: tg.where(x > 0, tnp.arccosh(x + 1), 0.0),
    "arcsin": lambda x: tg.where(x > 0, tnp.arcsin(x / 2 - 1), 0.0),
    "cbrt": lambda x: tg.where(x > 0, tnp.cbrt(x), 0.0),
    "two branches": lambda x: tg.where(x > 0, x.log(), tg.where(x < 0, 0.0, x * 0)),
    "maximum": lambda x: x.log().maximum(-1.0).where(x >= 0, -1.0),
    "clip": lambda x: (x.abs() + 1e-30).log().clip(-1.0, 9.0) * (x > 0),
    "limits": lambda x: x.log().clip(leaf(-1.0), leaf(9.0)).where(x >= 0, -1.0),
    "fmax": lambda x: tnp.fmax(x.log(), -1.0),
    "fmin": lambda x: tnp.fmin(-x.log(), 1.0),
    "select": lambda x: np.select([x > 4, x > 0], [x, x.sqrt()], 0.0),
    "nan_to_num": lambda x: tnp.nan_to_num(x.log(), neginf=0.0),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@looped("name", SINGULAR)
def test_a_branch_that_is_not_taken_has_no_gradient(name: str, dtype: str) -> None:
    """Of orders 1 to 3: 0 where it was not taken, as of it alone where it was."""
    call = SINGULAR[name]
    last, alone = leaf(0.0, 1.5, -1.0, 0.75, dtype=dtype), leaf(1.5, 0.75, dtype=dtype)
    x, y = last, alone
    last, alone = call(x), call(y)
    for _ in range(3):
        if not last.requires_grad:
            break
        last, alone = (
            tg.grad([z], [v], [Tensor.ones(*z.shape, dtype=dtype)], create_graph=True)[0]
            for z, v in ((last, x), (alone, y))
        )
        assert read(last)[::2] == [0.0, 0.0]
        assert read(last)[1::2] == read(alone)


@pytest.mark.parametrize("name", sorted(set(SINGULAR) - {"limits"}))
def test_in_forward_mode_and_in_batches(name: str) -> None:
    call = SINGULAR[name]
    x = leaf(0.0, 1.5, -1.0, 0.75)
    ones = Tensor.ones(4, dtype="float64")
    first = tg.grad(lambda x: call(x).sum())
    expected = read(first(x))
    assert np.isfinite(expected).all()
    assert read(tg.jvp(call, [x.detach()], [ones])[1]) == expected
    assert read(tg.vmap(tg.grad(call))(x.detach())) == expected
    _, second = tg.jvp(first, [x.detach()], [ones])
    reverse = tg.hvp(lambda x: call(x).sum(), [x.detach()], [ones])
    np.testing.assert_allclose(read(second), read(reverse), rtol=1e-14)


def test_where_its_own_value_is_chosen_elsewhere_the_gradient_is_that_of_all_uses() -> None:
    x = leaf(0.0, 4.0)
    root = x.sqrt()
    y = tg.where(x > 0, root, 0.0) + tg.where(x > 1, root, 2.0)
    assert read(tg.grad(y.sum(), x)) == [0.0, 0.5]
    x = leaf(0.0, 4.0)
    assert read(tg.grad((tg.where(x > 0, x.sqrt(), 0.0) + x).sum(), x)) == [1.0, 1.25]


def test_a_branch_that_is_stretched() -> None:
    x, mask = leaf(0.0, 4.0), Tensor([[True, False], [False, True]], device=tg.default_device())
    y = tg.where(mask & (x > 0), x.sqrt(), 0.0)
    assert read(tg.grad(y.sum(), x)) == [0.0, 0.25]
    one = leaf(0.0)
    y = tg.where(Tensor([False, False], device=tg.default_device()), one.sqrt(), 0.0)
    assert read(tg.grad(y.sum(), one)) == [0.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_number_beside_a_tangent(dtype: str) -> None:
    x = leaf(0.0, 4.0, dtype=dtype).detach()
    value, tangent = tg.jvp(lambda x: tg.where(x > 0, x.sqrt(), 3.0), [x], [x])
    assert (value.dtype, tangent.dtype) == (x.dtype, x.dtype)
    assert (read(value), read(tangent)) == ([3.0, 2.0], [0.0, 1.0])


def test_a_branch_whose_elements_get_other_places() -> None:
    mask = Tensor([[True, False], [False, True], [True, True]], device=tg.default_device())

    def f(x: Tensor) -> Tensor:
        wide = tg.where(x > 0, x.sqrt(), 0.0).sum()
        return wide + tg.where((mask & (x > 0)).T.reshape(6), _wide(x).T.reshape(6), 0.0).sum()

    x = leaf(0.0, 4.0)
    assert read(tg.grad(f(x), x)) == [0.0, 0.75]
    batch = Tensor([[0.0, 4.0], [1.0, 0.0]], dtype="float64", device=tg.default_device())
    assert tg.vmap(tg.grad(f))(batch).tolist() == [[0.0, 0.75], [1.5, 0.0]]
    stretched = tg.vmap(tg.grad(lambda x: tg.where(mask & (x > 0), x.sqrt(), 0.0).sum()))
    assert stretched(batch).tolist() == [[0.0, 0.5], [1.0, 0.0]]
    x = leaf(0.0, 4.0)  # one condition for several elements
    rows = tg.where(mask[:, 1:], _wide(x + 1).reshape(3, 2), 0.0)
    expected = [2 * 0.5, 2 * 0.5 / math.sqrt(5)]
    np.testing.assert_allclose(read(tg.grad(rows.sum(), x)), expected)


def _wide(x: Tensor) -> Tensor:
    return (x * Tensor.ones(3, 1, dtype="float64", device=tg.default_device())).sqrt()


def test_a_branch_that_is_written_over_by_a_mask() -> None:
    def f(x: Tensor) -> Tensor:
        y = x.log()
        y[x == 0] = 0.0
        return y.sum()

    x, ones = leaf(0.0, 4.0), Tensor.ones(2, dtype="float64", device=tg.default_device())
    for grad in (tg.grad(f), tg.grad(lambda x: tg.checkpoint(f)(x))):
        assert read(grad(x)) == [0.0, 0.25]
        assert read(tg.jvp(grad, [x.detach()], [ones])[1]) == [0.0, -0.0625]
    assert read(tg.hvp(f, [x.detach()], [ones])) == [0.0, -0.0625]
    assert tg.vmap(tg.grad(f))(x.detach()[None]).tolist() == [[0.0, 0.25]]


def test_a_zero_that_was_computed_is_none_that_was_chosen() -> None:
    """(√x)² has the slope 1 at 0, which 0 · ∞ does not know: not 0."""
    x = leaf(0.0, 4.0)
    found = read(tg.grad((x.sqrt() ** 2).sum(), x))
    assert math.isnan(found[0])
    assert found[1] == 1.0


def test_a_gradient_that_a_hook_gives_counts_everywhere() -> None:
    x = leaf(0.0, 4.0)
    root = x + 1
    root.register_hook(lambda grad: grad + 1)
    y = tg.where(x > 1, root.sqrt(), 0.0)
    expected = [1.0, 1.0 + 0.5 / math.sqrt(5)]
    np.testing.assert_allclose(read(tg.grad(y.sum(), x)), expected, rtol=1e-15)


def test_the_gradient_of_a_seed_is_not_remembered() -> None:
    """A gradient that came from a choice counts everywhere once it is the user's."""
    x = leaf(0.0, 4.0)
    grad = tg.grad(tg.where(x > 1, x * x, 0.0).sum(), x)
    with tg.no_grad():
        grad += 1
    z = leaf(1.0, 1.0)
    (found,) = tg.grad([z * 3], [z], [grad])
    assert read(found) == [3.0, 27.0]


def test_an_infinite_value_that_is_chosen_keeps_its_slope() -> None:
    x = leaf(0.0, 1.0)
    assert read(tg.grad(tg.where(x >= 0, x.sqrt(), 0.0).sum(), x)) == [math.inf, 0.5]
