"""The CUDA kernels of linear algebra, run on the CPU, against NumPy and the reference."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.cuda_emulator import on_device
from tinygrad_cupy.kernels.linalg import cuda, reference, small

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]

SIZES = [(1, 1, 1), (3, 2, 2), (1, 33, 3), (2, 5, 1)]  # matrices, rows, right sides
sizes = pytest.mark.parametrize(("count", "n", "right"), SIZES)


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())
    for module in (cuda, small):
        monkeypatch.setattr(module, "float64s", lambda *values: tuple(map(np.float64, values)))
        monkeypatch.setattr(module, "int32s", lambda *values: tuple(map(np.int32, values)))
        monkeypatch.setattr(module, "int64s", lambda *values: tuple(map(np.int64, values)))
    monkeypatch.setattr(small, "null", lambda: np.int64(0))
    monkeypatch.setattr(small, "properties_of", lambda x: SimpleNamespace(shared=1 << 17))
    monkeypatch.setattr(cuda._kernels, "threads", cuda_emulator.THREADS)


def normal(*shape: int) -> Any:
    return on_device(np.random.default_rng(sum(shape)).standard_normal(shape))


def factored(a: Any) -> Any:
    count, n = a.shape[:2]
    packed = on_device(np.full((count, n * n + n), np.nan))
    small.lu_factor(a, packed)
    return packed


@sizes
@pytest.mark.parametrize("transposed", [False, True])
def test_equations(count: int, n: int, right: int, transposed: bool) -> None:
    a, b, grad = normal(count, n, n), normal(count, n, right), normal(count, right, n)
    grad = grad.swapaxes(1, 2)  # in any order
    packed, y = factored(a), on_device(np.full(b.shape, np.nan))
    whole = np.asarray(a.swapaxes(1, 2) if transposed else a)
    small.lu_solve(packed, b, y, transposed)
    np.testing.assert_allclose(y, np.linalg.solve(whole, b), rtol=1e-8, atol=1e-9)
    of_a, of_b = small.solve_backward(packed, grad, y, transposed)
    expected = np.linalg.solve(whole.swapaxes(1, 2), grad)
    np.testing.assert_allclose(of_b, expected, rtol=1e-8, atol=1e-8)
    left, other = (y, expected) if transposed else (expected, y)
    product: Any = left @ other.swapaxes(1, 2)
    np.testing.assert_allclose(np.asarray(of_a), -product, rtol=1e-7, atol=1e-8)
    nothing, alone = small.solve_backward(packed, grad, None, transposed)
    assert nothing is None
    np.testing.assert_array_equal(alone, of_b)


def test_one_matrix_for_many_and_the_identity() -> None:
    a, b = normal(1, 4, 4), normal(3, 4, 2)
    packed, y = factored(a), on_device(np.empty((3, 4, 2)))
    small.lu_solve(packed, b, y, False)
    np.testing.assert_allclose(y, np.linalg.solve(a, b))
    inverse = on_device(np.empty((1, 4, 4)))
    small.lu_solve(packed, None, inverse, False)
    np.testing.assert_allclose(inverse, np.linalg.inv(a))


@sizes
def test_cholesky(count: int, n: int, right: int) -> None:
    a, grad = normal(count, n, n), normal(count, n, n)
    x = on_device(a @ a.swapaxes(1, 2) + np.eye(n))
    y = small.cholesky(x)
    np.testing.assert_allclose(y, np.linalg.cholesky(x), rtol=1e-10, atol=1e-12)
    expected = reference.cholesky_backward(
        grad, y, lambda a, b: np.linalg.solve(a.swapaxes(1, 2), b)
    )
    found = small.cholesky_backward(grad, y.view(cuda_emulator.OnDevice))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    x[-1, -1, -1] = -1
    assert np.isnan(small.cholesky(x)[-1]).all()


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("count", "n"), [(1, 1), (3, 5), (2, 18)])  # of 1 to 6 blocks each
def test_gradients_by_spectra(count: int, n: int, alone: bool) -> None:
    turned, by_values = normal(count, n, n), normal(count, n)
    packed = on_device(np.full((count, 2 * n), np.nan))
    values = packed[:, n:]  # which rows of others lie between
    values[...] = np.sort(normal(count, n), -1)
    values[0, -1] = values[0, -n // 2]  # equal to others
    values.sort(-1)
    if count > 1:  # the whole gradient is known where eigenvalues alone count
        turned[1:] = 0 if alone else turned[1:]
    found, nowhere = cuda.spread(turned, by_values, values, False, alone)
    assert nowhere is None
    plain = [np.asarray(x) for x in (turned, by_values, values)]
    expected, wrong = reference.spread(plain[0], plain[1], plain[2], False, alone)
    assert wrong is not None
    expected = np.where(wrong, np.nan, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("count", "n"), [(1, 1), (3, 5), (2, 18), (1, 35)])
def test_gradients_by_small_spectra(count: int, n: int, alone: bool) -> None:
    values, rows = np.linalg.eigh(normal(count, n, n))
    y = on_device(np.concatenate([rows.swapaxes(1, 2).reshape(count, -1), values], 1))
    if n > 1:
        y[0, -1] = y[0, -2]  # equal: no gradient is known, unless by the values alone
    grad = normal(count, n * n + n)
    if alone:
        grad[:, : n * n] = 0
        grad[0, -1] = grad[0, -2 if n > 1 else -1]
    found = np.asarray(cuda.eigh_backward(grad, y, False, alone, "turns", "equal"))
    for i in range(count):
        plain = np.asarray(grad[i]), np.asarray(y[i])
        if n > 1 and i == 0 and not alone:
            assert np.isnan(found[0]).all()
            with pytest.raises(np.linalg.LinAlgError, match="equal"):
                reference.eigh_backward(*plain, False, alone, "turns", "equal", reference.spread)
        else:
            expected = reference.eigh_backward(
                *plain, False, alone, "turns", "equal", reference.spread
            )
            np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-10)


def test_a_gradient_that_is_nan_stays_so() -> None:
    """Where eigenvalues are equal, of which nothing else is known."""
    y = on_device(np.concatenate([np.eye(3).reshape(-1), np.ones(3)])[None])
    grad = on_device(np.zeros((1, 12)))
    grad[0, 4] = np.nan
    assert np.isnan(cuda.eigh_backward(grad, y, False, False, "turns", "equal")).all()
    turned = on_device(np.full((1, 2, 2), np.nan))
    found, _ = cuda.spread(
        turned, on_device(np.zeros((1, 2))), on_device(np.ones((1, 2))), False, False
    )
    assert np.isnan(found[0, 0, 1])


@pytest.mark.parametrize(("count", "n"), [(1, 1), (2, 40), (3, 70)])
def test_symmetrizing(count: int, n: int) -> None:
    x = normal(count, n, n)
    expected = (x + x.swapaxes(1, 2)) / 2
    tiles = -(-n // cuda.TILE)
    given = x, np.int32(n), np.int32(tiles)
    cuda._kernels.launch(
        "linalg_symmetrize", tiles * tiles * count, given, defines=("TYPE=double", "ACC=double")
    )
    np.testing.assert_array_equal(x, expected)
