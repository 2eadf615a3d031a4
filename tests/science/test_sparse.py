"""`tg.sparse` beside SciPy's matrices, whose ``@`` with a tensor is a tensor's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

FORMATS = ("csr", "csc", "coo", "dok", "lil", "bsr", "dia")


def _matrix(seed: int, rows: int = 5, columns: int = 4, dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(seed)
    dense: Any = rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < 0.6)
    if np.dtype(dtype).kind == "c":
        dense = dense * (1 + 2j)
    return scipy.sparse.csr_array(dense.astype(dtype))


def _tensor(values: Any, device: str, **options: Any) -> Tensor:
    return Tensor(to_device(np.asarray(values), device), **options)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("older", [False, True])
def test_scipys_matrices_leave_products_to_tensors(kind: str, older: bool, device: str) -> None:
    a = _matrix(0).asformat(kind)
    if older:
        a = scipy.sparse.csr_matrix(a).asformat(kind)
    rng = np.random.default_rng(1)
    for shape in ((4,), (4, 1), (4, 3)):
        values = rng.standard_normal(shape)
        x = _tensor(values, device, requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # A coo_array's dot asks for an array first, and warns.
            for y in (a @ x, a.dot(x) if kind != "coo" else a @ x):
                assert isinstance(y, Tensor)
                np.testing.assert_allclose(y.numpy(), a @ values, rtol=1e-12)
            (a @ x).sum().backward()
        assert x.grad is not None
        np.testing.assert_allclose(x.grad.numpy(), a.T @ np.ones((5, *shape[1:])), rtol=1e-12)
    left = rng.standard_normal((2, 5))
    found = _tensor(left, device) @ a
    np.testing.assert_allclose(found.numpy(), left @ a.toarray(), rtol=1e-12)
    batch = _tensor(rng.standard_normal((3, 4)), device)
    each = tg.vmap(lambda v: a @ v)(batch)
    np.testing.assert_allclose(each.numpy(), (a @ batch.numpy().T).T, rtol=1e-12)


def test_a_product_with_scipys_matrix_is_of_the_tensors_class(device: str) -> None:
    a, x = _matrix(0), tg.numpy.asarray(to_device(np.ones(4), device))
    assert type(a @ x) is type(x)
    assert type(tg.sparse.spsolve(a[:4], x)) is type(x)


def test_equations_of_a_sparse_matrix_by_iterations(device: str) -> None:
    a = _matrix(3, 6, 6) + scipy.sparse.eye_array(6) * 6
    ours = tg.sparse.csr_array(a, device=device, requires_grad=True)
    b = _tensor(np.ones(6), device, requires_grad=True)

    def solve(values: Any, b: Any) -> Any:
        return tg.linalg.gmres(ours.with_data(values), b, rtol=1e-13)[0]

    assert tg.gradcheck(solve, [ours.data, b], order=2)


def test_what_else_scipy_does_with_a_tensor_is_never_silent(device: str) -> None:
    a, older = _matrix(0), scipy.sparse.csr_matrix(_matrix(0))
    x = _tensor(np.ones((5, 4)), device, requires_grad=True)
    vector = _tensor(np.ones(4), device, requires_grad=True)
    calls: Any = (lambda: older * vector, lambda: x * a, lambda: a + x, lambda: x - a)
    for call in calls:
        with pytest.raises(TypeError, match=r"@ is the product with a sparse matrix"):
            call()
    if device == "cpu":
        with pytest.warns(tg.GradientDroppedWarning):
            a.multiply(vector)


@given(seed=st.integers(0, 2**16), rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_values_are_scipys(seed: int, rows: int, columns: int) -> None:
    a, b = _matrix(seed, rows, columns), _matrix(seed + 1, rows, columns)
    ours, other = tg.sparse.csr_array(a), tg.sparse.csr_array(b)
    dense = a.toarray()
    np.testing.assert_array_equal(ours.toarray().numpy(), dense)
    np.testing.assert_array_equal(ours.T.toarray().numpy(), dense.T)
    np.testing.assert_allclose((ours + other).toarray().numpy(), dense + b.toarray())
    np.testing.assert_allclose((ours - b).toarray().numpy(), dense - b.toarray())
    np.testing.assert_allclose((2 * ours / 3).toarray().numpy(), dense * 2 / 3)
    for k in range(-rows - 1, columns + 1):
        expected = np.diagonal(dense, k) if -rows < k < columns else np.zeros(0)
        np.testing.assert_array_equal(ours.diagonal(k).numpy(), expected)
    for axis in (None, 0, 1):
        np.testing.assert_allclose(ours.sum(axis).numpy(), dense.sum(axis), atol=1e-12)
    column = np.arange(1.0, rows + 1)[:, None]
    np.testing.assert_allclose(ours.multiply(column).toarray().numpy(), dense * column)
    np.testing.assert_allclose((np.ones((2, rows)) @ ours).numpy(), np.ones((2, rows)) @ dense)
    wide = np.random.default_rng(seed).standard_normal((2, 3, columns, 2))
    np.testing.assert_allclose((ours @ wide).numpy(), dense @ wide, atol=1e-12)


@given(seed=st.integers(0, 2**16), many=st.integers(0, 12))
def test_elements_that_are_given_twice_are_added_up(seed: int, many: int) -> None:
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, 3, many), rng.integers(0, 4, many)
    values = Tensor(rng.standard_normal(many), requires_grad=True)
    a = tg.sparse.csr_array((values, (row, column)), (3, 4))
    expected = scipy.sparse.coo_array((values.detach().numpy(), (row, column)), (3, 4)).toarray()
    np.testing.assert_allclose(a.toarray().numpy(), expected, atol=1e-14)
    assert a.nnz == len(set(zip(row.tolist(), column.tolist(), strict=True)))
    if many:
        weights = rng.standard_normal((3, 4))
        (a.toarray() * Tensor(weights)).sum().backward()
        assert values.grad is not None
        np.testing.assert_allclose(values.grad.numpy(), weights[row, column])
    starts = np.searchsorted(np.sort(row), np.arange(4))
    by_rows = tg.sparse.csr_array((values.detach(), column, starts), (3, 4))
    expected = np.zeros((3, 4))
    np.add.at(expected, (np.sort(row), column), values.detach().numpy())
    np.testing.assert_allclose(by_rows.toarray().numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.complex128, np.float64])
def test_equations_are_solved_and_differentiated(dtype: Any, device: str) -> None:
    a = _matrix(3, 6, 6, dtype) + scipy.sparse.eye_array(6) * 4
    ours = tg.sparse.csr_array(a, device=device, requires_grad=True)
    b = np.random.default_rng(0).standard_normal((6, 2)).astype(dtype)
    x = tg.sparse.spsolve(ours, _tensor(b, device))
    np.testing.assert_allclose(x.detach().numpy(), scipy.sparse.linalg.spsolve(a, b), rtol=1e-9)

    def loss(values: Any, side: Any) -> Any:
        y = tg.sparse.spsolve(ours.with_data(values), side)
        return (y.conj() * y).real

    inputs = [ours.data, _tensor(b, device, requires_grad=True)]
    assert tg.gradcheck(loss, inputs, order=2)


def test_a_product_of_complex_numbers(device: str) -> None:
    a = tg.sparse.csr_array(_matrix(0, dtype=np.complex128), device=device, requires_grad=True)
    x = _tensor(np.arange(4) * (1 - 1j), device, requires_grad=True)

    def call(values: Any, x: Any) -> Any:
        y = a.with_data(values) @ x
        return (y.conj() * y).real

    assert tg.gradcheck(call, [a.data, x], order=2)
    np.testing.assert_allclose(
        (a @ x).detach().numpy(), a.toarray().detach().numpy() @ x.detach().numpy()
    )


@pytest.mark.parametrize("kind", [np.int64, np.bool_, np.float32])
def test_dtypes(kind: Any, device: str) -> None:
    a = scipy.sparse.csr_array(np.array([[1, 0, 2], [0, 3, 0]]).astype(kind))
    ours = tg.sparse.csr_array(a, device=device)
    y = ours @ _tensor(np.array([1, 2, 3]).astype(np.int64 if kind is np.bool_ else kind), device)
    expected = [4, 2] if kind is np.bool_ else [7, 6]
    assert y.tolist() == expected
    assert y.dtype == (np.int64 if kind is np.bool_ else kind)


def test_bad_structures_are_named(device: str) -> None:
    one = Tensor.ones(2)
    for arg, kind, text in (
        ((one, [0, 5], [0, 1, 2]), IndexError, None),
        ((one, [0, 1], [0, 2, 1]), ValueError, "rises from 0 to 2"),
        ((one, ([0], [0, 1])), ValueError, "a row and a column for each of 2 values, got 1 and 2"),
        ((one, [0.5, 1.0], [0, 1, 2]), TypeError, "expected integers as indices"),
    ):
        with pytest.raises(kind, match=text):
            tg.sparse.csr_array(arg, (2, 2))
    a = tg.sparse.csr_array((one, [0, 1], [0, 1, 2]))
    with pytest.raises(TypeError, match="another sparse matrix"):
        a @ a
    with pytest.raises(TypeError, match="another sparse matrix"):
        scipy.sparse.eye_array(2, format="csr") @ a
    with pytest.raises(ValueError, match="expected 2 values"):
        a.with_data(Tensor.ones(3))


def test_products_have_the_same_bits_every_time(device: str) -> None:
    a = tg.sparse.csr_array(_matrix(0, 60, 50).astype(np.float32), device=device)
    x = _tensor(np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32), device)
    first = (a @ x).numpy(), (a.T @ (a @ x)).numpy()
    for _ in range(3):
        np.testing.assert_array_equal(first[0], (a @ x).numpy())
        np.testing.assert_array_equal(first[1], (a.T @ (a @ x)).numpy())
