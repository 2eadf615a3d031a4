"""`root` and `fixed_point`: solutions, and gradients that no iteration is in."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

SIZE = 5


def _tensor(values: Any, device: str, **options: Any) -> Tensor:
    return Tensor(to_device(np.asarray(values), device), **options)


def _values() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((SIZE, SIZE)) * 0.2, rng.standard_normal(SIZE)


def _equation(x: Any, w: Any, b: Any) -> Any:
    return x + (w @ x).tanh() * x * 0.1 + (w @ x).sin() - b


def _root(w: Any, b: Any, method: str = "newton") -> Any:
    return tg.optimize.root(_equation, b.detach() * 0, (w, b), method=method).x


def _fixed(w: Any, b: Any, method: str = "anderson") -> Any:
    return tg.optimize.fixed_point(
        lambda x: (w @ x + b).tanh(), b.detach() * 0, xtol=1e-13, method=method
    )


WAYS = pytest.mark.parametrize(
    "find",
    [
        *(functools.partial(_root, method=name) for name in ("newton", "krylov")),
        *(functools.partial(_fixed, method=name) for name in ("anderson", "iteration", "del2")),
    ],
    ids=("newton", "krylov", "anderson", "iteration", "del2"),
)


@pytest.mark.one_in(3)
@WAYS
def test_gradients(find: Any, device: str) -> None:
    w, b = (_tensor(x, device, requires_grad=True) for x in _values())
    assert tg.gradcheck(find, [w, b], order=2)


@pytest.mark.one_in(3)
@WAYS
def test_transforms_nest(find: Any) -> None:
    w, b = map(Tensor, _values())

    def loss(w: Any) -> Any:
        return (find(w, b) ** 2).sum()

    hessian = tg.hessian(loss)(w).numpy()
    rows = tg.jacobian(tg.grad(loss), mode="reverse")(w).numpy()
    np.testing.assert_allclose(hessian, rows, atol=1e-9)
    forward = tg.jvp(tg.grad(loss), (w,), (w,))[1].numpy()
    np.testing.assert_allclose(forward, np.tensordot(hessian, w.numpy(), 2), atol=1e-9)
    stack = Tensor(np.stack([w.numpy(), w.numpy() * 0.5]))
    together = tg.vmap(tg.grad(loss))(stack).numpy()
    for one, found in zip(stack.numpy(), together, strict=True):
        np.testing.assert_allclose(found, tg.grad(loss)(Tensor(one)).numpy(), atol=1e-9)


def test_solutions_are_scipys(device: str) -> None:
    w, b = _values()
    found = tg.optimize.root(
        _equation, _tensor(b * 0, device), (_tensor(w, device), _tensor(b, device))
    )
    expected = scipy.optimize.root(
        lambda x: x + np.tanh(w @ x) * x * 0.1 + np.sin(w @ x) - b, b * 0, tol=1e-13
    )
    assert found.success
    assert found.message == "converged"
    assert 1 < found.nit < 10
    np.testing.assert_allclose(found.x.numpy(), expected.x, rtol=1e-10)
    assert not found.fun.requires_grad
    assert abs(found.fun.numpy()).max() < 1e-11
    fixed = _fixed(_tensor(w, device), _tensor(b, device))
    there = scipy.optimize.fixed_point(
        lambda x: np.tanh(w @ x + b), b * 0, xtol=1e-12, method="iteration"
    )
    np.testing.assert_allclose(fixed.numpy(), there, rtol=1e-10)


def test_many_unknowns_and_float32(device: str) -> None:
    target = _tensor(np.linspace(0, 1, 400), device, requires_grad=True)
    found = tg.optimize.root(lambda x: x**3 + x - target, target.detach() * 0)
    assert found.success
    found.x.sum().backward()
    assert target.grad is not None
    slope = 1 / (3 * found.x.detach().numpy() ** 2 + 1)
    np.testing.assert_allclose(target.grad.numpy(), slope, rtol=1e-9)
    short = _tensor(np.array([2.0, 3.0], np.float32), device)
    roots = tg.optimize.root(lambda x: x * x - short, short)
    assert roots.success
    assert roots.x.dtype == np.float32
    np.testing.assert_allclose(roots.x.numpy(), np.sqrt(short.numpy()), rtol=1e-5)
    assert tg.optimize.fixed_point(lambda x: x.cos(), short).dtype == np.float32


def test_a_step_that_goes_too_far_is_halved() -> None:
    found = tg.optimize.root(lambda x: np.arctan(x), Tensor(np.array([3.0])))  # Newton's diverges
    assert found.success
    np.testing.assert_allclose(found.x.numpy(), 0, atol=1e-11)


def test_failure_is_told() -> None:
    one = Tensor(np.array([1.0]))
    none = tg.optimize.root(lambda x: x * x + 1, one)
    assert not none.success
    assert none.message in ("the Jacobian is singular", "no step makes the function smaller")
    few = tg.optimize.root(lambda x: x.exp() - 100, one, options={"maxiter": 2})
    assert (few.success, few.message) == (False, "no convergence in 2 steps")
    with pytest.raises(RuntimeError, match=r"\[fixed_point\] no convergence in 10 steps"):
        tg.optimize.fixed_point(lambda x: x * 2 + 1, one, method="iteration", maxiter=10)


def test_a_singular_derivative_has_no_gradient() -> None:
    a = Tensor(np.array([0.0]), requires_grad=True)
    x = tg.optimize.root(lambda x: x * x - a, Tensor(np.array([0.0]))).x
    with pytest.raises(np.linalg.LinAlgError, match="the Jacobian is singular"):
        x.sum().backward()


def test_bad_input() -> None:
    one = Tensor.ones(2)
    bad: Any = 1
    cases: Any = (
        (lambda: tg.optimize.root(bad, one), TypeError, r"\[root\] expected a function"),
        (lambda: tg.optimize.root(abs, one, method="hybr"), ValueError, "got 'hybr'"),
        (lambda: tg.optimize.root(abs, one, options={"x": 1}), ValueError, "maxiter alone"),
        (lambda: tg.optimize.root(lambda x: x.sum(), one), ValueError, "x's shape and dtype"),
        (lambda: tg.optimize.fixed_point(abs, one, method="x"), ValueError, "got 'x'"),
    )
    for call, kind, text in cases:
        with pytest.raises(kind, match=text):
            call()
