"""`cg` and `gmres` beside SciPy's, and their gradients beside JAX's and finite differences."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device
from tinygrad_cupy.linalg import cg, gmres

SIZE = 6
TIGHT = 1e-13


def _tensor(values: Any, device: str, **options: Any) -> Tensor:
    return Tensor(to_device(np.asarray(values), device), **options)


def _values(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((SIZE, SIZE)), rng.standard_normal(SIZE)


def _eye(like: Tensor) -> Tensor:
    return _tensor(np.eye(SIZE, dtype=like.dtype), like.device)


def _by_cg(w: Any, b: Any) -> Any:
    return cg(w @ w.permute(1, 0) + _eye(w) * SIZE, b, rtol=TIGHT)[0]


def _by_gmres(w: Any, b: Any) -> Any:
    return gmres(lambda v: w @ v + w.sin() @ v * 0.1 + v * 5, b, rtol=TIGHT)[0]


def _by_parameters(w: Any, b: Any) -> Any:
    def product(v: Any, w: Any) -> Any:
        return w.permute(1, 0) @ (w @ v) + v * SIZE

    return cg(product, b, rtol=TIGHT, args=(w,))[0]


WAYS = pytest.mark.parametrize("solve", [_by_cg, _by_gmres, _by_parameters])
Solve = Callable[[Any, Any], Any]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("form", ["tensor", "array", "ours", "scipy", "function"])
@pytest.mark.parametrize("name", ["cg", "gmres"])
def test_solutions_are_scipys(name: str, form: str, preconditioned: bool, device: str) -> None:
    w, b = _values()
    dense = w @ w.T + np.eye(SIZE) * SIZE
    if name == "gmres":
        dense = w + 4 * np.eye(SIZE)
    makers: Any = {
        "tensor": lambda: _tensor(dense, device),
        "array": lambda: to_device(dense, device),
        "ours": lambda: tg.sparse.csr_array(scipy.sparse.csr_array(dense), device=device),
        "scipy": lambda: scipy.sparse.csc_array(dense),
        "function": lambda: lambda v: _tensor(dense, device) @ v,
    }
    matrix = makers[form]()
    near = scipy.sparse.diags_array(1 / np.diag(dense)).tocsr() if preconditioned else None
    ours, theirs = {"cg": cg, "gmres": gmres}[name], getattr(scipy.sparse.linalg, name)
    for options in ({}, {"x0": np.ones(SIZE)}, {"atol": 1e-12, "rtol": 0.0}):
        kept: Any = {"rtol": 1e-11, **options}
        expected, info = theirs(dense, b, M=near, **kept)
        found, ended = ours(matrix, _tensor(b, device), M=near, **kept)
        assert (info, ended) == (0, 0)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    column, _ = ours(matrix, _tensor(b[:, None], device), rtol=1e-11)
    assert column.shape == (SIZE, 1)
    zero, ended = ours(matrix, _tensor(b * 0, device))
    assert ended == 0
    assert not zero.numpy().any()


@pytest.mark.one_in(3)
@WAYS
def test_gradients(solve: Solve, device: str) -> None:
    w, b = (_tensor(x, device, requires_grad=True) for x in _values())
    assert tg.gradcheck(solve, [w, b], order=2)


@pytest.mark.one_in(3)
@WAYS
def test_a_third_derivative(solve: Solve) -> None:
    w, b = _values()

    def along(s: Any) -> Any:
        return (solve(Tensor(w) + Tensor(w.T) * s, Tensor(b) * (s + 1)) ** 2).sum()

    third = tg.grad(tg.grad(tg.grad(along)))
    s, eps = 0.1, 1e-3
    second = tg.grad(tg.grad(along))
    around = [second(Tensor(np.array(s + step))).item() for step in (-eps, eps)]
    expected = (around[1] - around[0]) / (2 * eps)
    assert third(Tensor(np.array(s))).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.one_in(3)
@WAYS
def test_transforms_nest(solve: Solve) -> None:
    w, b = map(Tensor, _values())

    def loss(w: Any) -> Any:
        return (solve(w, b) ** 2).sum()

    hessian = tg.hessian(loss)(w).numpy()
    rows = tg.jacobian(tg.grad(loss), mode="reverse")(w).numpy()
    np.testing.assert_allclose(hessian, rows, atol=1e-8)
    forward = tg.jvp(tg.grad(loss), (w,), (w,))[1].numpy()
    np.testing.assert_allclose(forward, np.tensordot(hessian, w.numpy(), 2), atol=1e-8)
    stack = Tensor(np.stack([w.numpy(), w.numpy() * 0.5, w.numpy().T]))
    together = tg.vmap(tg.grad(loss))(stack).numpy()
    for one, found in zip(stack.numpy(), together, strict=True):
        np.testing.assert_allclose(found, tg.grad(loss)(Tensor(one)).numpy(), atol=1e-9)
    sides = Tensor(np.stack([b.numpy(), b.numpy() * 0, -2 * b.numpy()]))
    many = tg.vmap(lambda side: solve(w, side))(sides).numpy()
    np.testing.assert_allclose(many[2], -2 * solve(w, b).numpy(), atol=1e-9)


@pytest.mark.slow
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), size=st.integers(1, 8), restart=st.integers(1, 8))
def test_complex_equations(seed: int, size: int, restart: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, size, size)
    real, imag = rng.standard_normal(shape)
    w = real + 1j * imag
    b = Tensor(rng.standard_normal(size) + 1j * rng.standard_normal(size), requires_grad=True)
    hermitian = w @ w.conj().T + np.eye(size) * size
    x, info = cg(Tensor(hermitian), b, rtol=TIGHT)
    assert info == 0
    np.testing.assert_allclose(hermitian @ x.detach().numpy(), b.detach().numpy(), atol=1e-9)
    a = Tensor(w + 6 * size * np.eye(size), requires_grad=True)
    x, info = gmres(a, b, rtol=TIGHT, restart=restart)
    assert info == 0
    np.testing.assert_allclose((a @ x).detach().numpy(), b.detach().numpy(), atol=1e-9)

    def squares(a: Any, b: Any) -> Any:
        y = gmres(a, b, rtol=TIGHT)[0]
        return (y * y.conj()).real

    assert tg.gradcheck(squares, [a, b], order=1)


def test_a_gradient_is_as_exact_as_rtol_even_where_atol_is_large() -> None:
    w, b = _values()
    a = Tensor(w @ w.T + np.eye(SIZE), requires_grad=True)
    side = Tensor(b * 1e6, requires_grad=True)
    x, _ = cg(a, side, rtol=0.0, atol=1e-3)
    (x * 1e-9).sum().backward()
    assert side.grad is not None
    expected = np.linalg.solve(a.detach().numpy(), np.full(SIZE, 1e-9))
    np.testing.assert_allclose(side.grad.numpy(), expected, rtol=1e-5)


def test_too_few_iterations_are_told() -> None:
    w, b = _values()
    a, side = Tensor(w @ w.T + np.eye(SIZE) * 0.01), Tensor(b, requires_grad=True)
    x, info = cg(a, side, rtol=1e-12, maxiter=2)
    assert info == 2
    with pytest.warns(RuntimeWarning, match=r"\[cg\] the solve of a derivative did not reach rtol"):
        x.sum().backward()
    assert gmres(a, b, rtol=1e-14, maxiter=1, restart=2)[1] == 1


def test_nothing_is_left_over(no_collector: None) -> None:
    w, b = (Tensor(x, requires_grad=True) for x in _values())
    x = _by_gmres(w, b)
    watched = weakref.ref(x.data)
    x.sum().backward()
    del x
    assert watched() is None
    assert gc.collect() >= 0


def test_what_the_function_uses_may_not_be_written_before_the_backward() -> None:
    _w, b = _values()
    scale = Tensor(np.array(2.0), requires_grad=True) * 1.0
    x, _ = cg(lambda v: v * scale, Tensor(b))
    scale += 1
    with pytest.raises(RuntimeError, match="was written in place"):
        x.sum().backward()


def test_a_step_with_a_solve_runs_under_jit_on_the_cpu() -> None:
    w, b = map(Tensor, _values())
    step = tg.jit(_by_cg)
    for _ in range(4):
        np.testing.assert_array_equal(step(w, b).numpy(), _by_cg(w, b).numpy())


def test_bad_input() -> None:
    a = Tensor.eye(3)
    cases: Any = (
        (lambda: cg(a, Tensor.ones(4)), ValueError, r"\[cg\] expected A of shape \(N, N\)"),
        (lambda: cg("a", Tensor.ones(4)), TypeError, r"\[cg\] expected A to be a tensor"),
        (lambda: gmres(a, Tensor.ones(3), rtol=0.0), ValueError, "expected rtol and atol"),
        (lambda: gmres(a, Tensor.ones(3), restart=0), ValueError, "expected restart"),
        (lambda: cg(a, Tensor.ones(3), x0=Tensor.ones(2)), ValueError, "expected x0 of b's shape"),
        (lambda: cg(lambda v: v.sum(), Tensor.ones(3)), ValueError, r"expected A\(x\) of x's"),
        (lambda: cg(a, Tensor.ones(3, dtype="float16")), TypeError, "float32 or wider"),
    )
    for call, kind, text in cases:
        with pytest.raises(kind, match=text):
            call()
