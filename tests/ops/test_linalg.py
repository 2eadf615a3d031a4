"""Linear algebra where records do not go: equal and vanishing values, singular matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor

la: Any = tg.linalg
pytestmark = pytest.mark.usefixtures("device")
Function = Callable[[Tensor], Any]


def leaf(values: Any) -> Tensor:
    return Tensor(np.asarray(values, float), device=tg.default_device(), requires_grad=True)


def turned(*values: float) -> np.ndarray:
    """A symmetric matrix with these eigenvalues."""
    q = np.linalg.qr(np.random.default_rng(3).standard_normal((len(values), len(values))))[0]
    return (q * values) @ q.T  # type: ignore[no-any-return]


def numeric(function: Function, x: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """The gradient of Σ c · f by difference quotients, with c = 1, 2, …"""
    found = np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[place] = eps
        found[place] = (loss(function, leaf(x + step)) - loss(function, leaf(x - step))).item()
    return found / (2 * eps)


def loss(function: Function, x: Tensor) -> Any:
    y = function(x)
    weights = np.arange(1.0, y.size + 1).reshape(y.shape)
    return (y * Tensor(weights, device=tg.default_device())).sum()


def gradient(function: Function, values: Any) -> np.ndarray:
    x = leaf(values)
    (found,) = tg.grad(loss(function, x), [x])
    return found.numpy()  # type: ignore[no-any-return]


def symmetrized(function: Function) -> Function:
    return lambda x: function((x + x.mT) * 0.5)


def of_spectrum(f: Function) -> Function:
    """V f(Λ) Vᴴ."""

    def function(x: Tensor) -> Any:
        values, vectors = la.eigh(x)
        return (vectors * f(values).unsqueeze(-2)) @ vectors.mT

    return symmetrized(function)


def of_svd(f: Function) -> Function:
    """U f(S) Vᴴ."""

    def function(x: Tensor) -> Any:
        u, s, vh = la.svd(x, full_matrices=False)
        return (u * f(s).unsqueeze(-2)) @ vh

    return function


REPEATED = {"identity": np.eye(3), "pair": turned(1.0, 2.0, 2.0, 5.0), "pairs": turned(1, 1, 3, 3)}


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize(
    "f",
    [lambda w: w, lambda w: w.exp(), lambda w: (w + 1).log(), lambda w: 1 / w],
    ids=["itself", "exp", "log", "inverse"],
)
def test_functions_of_matrices_with_equal_eigenvalues(name: str, f: Function) -> None:
    x = REPEATED[name]
    function = of_spectrum(f)
    np.testing.assert_allclose(gradient(function, x), numeric(function, x), atol=2e-7, rtol=2e-6)


@pytest.mark.parametrize("name", REPEATED)
def test_sums_over_equal_eigenvalues(name: str) -> None:
    x = REPEATED[name]
    np.testing.assert_allclose(
        gradient(lambda x: (la.eigvalsh(x) ** 2).sum(), x), 2 * x, atol=1e-12
    )
    np.testing.assert_allclose(gradient(lambda x: (la.svdvals(x) ** 2).sum(), x), 2 * x, atol=1e-12)


def test_second_derivatives_at_equal_eigenvalues() -> None:
    x = leaf(np.eye(3))
    square = (la.eigvalsh((x + x.mT) * 0.5) ** 2).sum()
    (first,) = tg.grad(square, [x], create_graph=True)
    direction = np.arange(9.0).reshape(3, 3)
    (second,) = tg.grad((first * Tensor(direction, device=tg.default_device())).sum(), [x])
    np.testing.assert_allclose(second.numpy(), direction + direction.T, atol=1e-12)


def test_the_space_of_vectors_of_equal_eigenvalues() -> None:
    x = REPEATED["pair"]

    def space(x: Tensor) -> Any:
        vectors = la.eigh(x).eigenvectors[:, 1:3]
        return vectors @ vectors.mT

    function = symmetrized(space)
    np.testing.assert_allclose(gradient(function, x), numeric(function, x), atol=1e-7)


@pytest.mark.parametrize("values", [np.eye(3), turned(1, 1, 3, 3), turned(1, 1, 2, 5)[:, :3]])
def test_functions_of_equal_singular_values(values: np.ndarray) -> None:
    for f in (lambda s: s, lambda s: s * s * s):
        function = of_svd(f)
        found, expected = gradient(function, values), numeric(function, values)
        np.testing.assert_allclose(found, expected, atol=2e-6, rtol=2e-6)


def test_vectors_of_equal_values_have_no_gradient() -> None:
    x = leaf(np.eye(3))
    for y in (la.eigh(x).eigenvectors, la.svd(x).U, la.svd(x).Vh):
        weights = np.arange(9.0).reshape(3, 3)
        total = (y * Tensor(weights, device=tg.default_device())).sum()
        if tg.default_device() == "cpu":
            with pytest.raises(np.linalg.LinAlgError, match="there is no gradient"):
                tg.grad(total, [x])
        else:
            assert np.isnan(tg.grad(total, [x])[0].numpy()).any()


@pytest.mark.parametrize("values", [np.eye(3), REPEATED["pairs"]])
def test_a_function_that_is_0_at_equal_eigenvalues_is_not_known(values: np.ndarray) -> None:
    """log 1 is 0: in the gradients by vectors and values the slope off the diagonal is lost."""
    function = of_spectrum(lambda w: w.log())
    if tg.default_device() == "cpu":
        with pytest.raises(np.linalg.LinAlgError, match="there is no gradient"):
            gradient(function, values)


def test_vectors_of_vanishing_singular_values_have_no_gradient() -> None:
    x = leaf([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]])
    total = loss(lambda x: la.svd(x, full_matrices=False).U, x)
    if tg.default_device() == "cpu":
        with pytest.raises(np.linalg.LinAlgError, match="where a singular value is 0"):
            tg.grad(total, [x])
    else:
        assert not np.isfinite(tg.grad(total, [x])[0].numpy()).all()
    total = loss(lambda x: la.svd(x).U, leaf(np.ones((2, 1))))
    assert np.isfinite(total.item())


def test_vectors_beyond_the_singular_values_have_no_gradient() -> None:
    x = leaf([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]])
    u = la.svd(x).U
    tg.grad((u[:, :2] ** 2).sum(), [x], retain_graph=True)
    if tg.default_device() == "cpu":
        with pytest.raises(np.linalg.LinAlgError, match="full_matrices=False"):
            tg.grad((u * u[:1]).sum(), [x])


SINGULAR = {
    "zeros": np.zeros((3, 3)),
    "rank 1": np.outer([1.0, 2.0, 3.0], [1.0, 0.0, 2.0]),
    "rank 2": np.arange(9.0).reshape(3, 3),
    "1x1": np.zeros((1, 1)),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_determinants_of_singular_matrices(name: str) -> None:
    x = SINGULAR[name]
    found = gradient(la.det, x)
    np.testing.assert_allclose(found, numeric(la.det, x, 1e-4), atol=1e-6)
    leaf_ = leaf(x)
    (first,) = tg.grad(la.det(leaf_), [leaf_], create_graph=True)

    def slope(x: Tensor) -> Any:
        (g,) = tg.grad(la.det(x), [x], create_graph=True)
        return g

    if name != "zeros":  # equal singular values: of these the second derivative is right, too
        np.testing.assert_allclose(first.detach().numpy(), found, atol=1e-12)
    np.testing.assert_allclose(gradient(slope, x), numeric(slope, x, 1e-4), atol=1e-5)


def test_log_of_singular_determinants() -> None:
    x = leaf([[1.0, 2.0], [2.0, 4.0]])
    sign, logabsdet = la.slogdet(x)
    assert sign.item() == 0
    assert logabsdet.item() == -math.inf
    if tg.default_device() == "cpu":
        with pytest.raises(np.linalg.LinAlgError, match=r"^\[slogdet\] the matrix is singular"):
            tg.grad(logabsdet, [x])


def test_inverses_of_matrices_without_full_rank() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 2)), rng.standard_normal((2, 3))

    def function(x: Tensor) -> Any:
        right = Tensor(b, device=tg.default_device())
        return la.pinv(x @ right)

    np.testing.assert_allclose(gradient(function, a), numeric(function, a), atol=1e-6, rtol=1e-5)
    found = la.pinv(Tensor(a @ b, device=tg.default_device())).numpy()
    np.testing.assert_allclose(found, np.linalg.pinv(a @ b), atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3), (1, 1)])
def test_empty_and_tiny_matrices(shape: tuple[int, ...]) -> None:
    x = np.ones(shape)
    mine: Any = Tensor(x, device=tg.default_device(), requires_grad=True)
    for name in ("det", "inv", "cholesky", "eigvalsh", "slogdet", "eigh", "qr"):
        expected: Any = getattr(np.linalg, name)(x)
        found: Any = getattr(la, name)(mine)
        pairs = (
            zip(found, expected, strict=True) if isinstance(found, tuple) else ((found, expected),)
        )
        for one, other in pairs:
            assert one.shape == other.shape, name
            np.testing.assert_allclose(abs(one.detach().numpy()), abs(other))
        total = found[-1] if isinstance(found, tuple) else found
        (slope,) = tg.grad(total.sum(), [mine])
        assert slope.shape == shape
    assert la.solve(mine, mine).shape == shape
    one = leaf(np.ones(shape[-1]))  # beside any number of matrices, and none
    assert tg.grad(la.solve(mine, one).sum(), [mine, one])[1].shape == one.shape
    assert la.expm(mine).shape == shape
    for shape in ((3, 0), (0, 2), (2, 0, 3)):
        rect = leaf(np.ones(shape))
        u, s, vh = np.linalg.svd(np.ones(shape), full_matrices=False)
        assert [y.shape for y in la.svd(rect, False)] == [u.shape, s.shape, vh.shape]
        assert la.pinv(rect).shape == np.linalg.pinv(np.ones(shape)).shape


@pytest.mark.parametrize("rows", [3, 150])
@pytest.mark.parametrize("stack", [(), (2,)])
def test_the_right_side_alone_has_a_gradient(rows: int, stack: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((*stack, rows, rows)) + rows * np.eye(rows)
    b = leaf(rng.standard_normal((*stack, rows, 2)))
    (found,) = tg.grad(la.solve(leaf(a).detach(), b).sum(), [b])
    expected = np.linalg.solve(a.swapaxes(-2, -1), np.ones(b.shape))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_matrices_may_be_very_many() -> None:
    """More than a grid has along its second axis."""
    x = np.empty((70_000, 2, 2))
    x[:, 0, 0], x[:, 1, 1] = 1, -1
    x[:, 0, 1] = x[:, 1, 0] = np.linspace(0, 1, len(x))
    mine = leaf(x)
    values, vectors = la.eigh(mine)
    same = (vectors * values[:, None]) @ vectors.mT
    (found,) = tg.grad((same * Tensor(x, device=tg.default_device())).sum(), [mine])
    np.testing.assert_allclose(found.numpy(), x, atol=1e-9)


def test_values_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((5, 5)), rng.standard_normal((5, 2))
    x, y = leaf(a), leaf(b)
    for found, expected in zip(la.lu(x), scipy.linalg.lu(a), strict=True):
        np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-12)
    order = la.lu(x, p_indices=True)[0].numpy()
    np.testing.assert_array_equal(order, scipy.linalg.lu(a, p_indices=True)[0])
    both, piv = la.lu_factor(x)
    expected = scipy.linalg.lu_factor(a)
    np.testing.assert_allclose(both.detach().numpy(), expected[0], atol=1e-12)
    np.testing.assert_array_equal(piv.numpy(), expected[1])
    for trans in (0, 1, 2):
        np.testing.assert_allclose(
            la.lu_solve((both, piv), y, trans).detach().numpy(),
            scipy.linalg.lu_solve(expected, b, trans),
            atol=1e-10,
        )
    np.testing.assert_allclose(la.expm(x).detach().numpy(), scipy.linalg.expm(a), rtol=1e-11)
    np.testing.assert_allclose(la.block_diag(x, y).detach().numpy(), scipy.linalg.block_diag(a, b))
    assert la.matrix_rank(leaf(np.diag([1.0, 0.0, 2.0]))).item() == 2
    tall = rng.standard_normal((6, 3))
    wanted: Any = np.linalg.lstsq(tall, np.ones(6))
    for found, one in zip(la.lstsq(leaf(tall), leaf(np.ones(6))), wanted, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), one, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stacks_without_a_compiler_are_the_same(dtype: str, monkeypatch: Any) -> None:
    from tinygrad_cupy.kernels.linalg import native

    rng = np.random.default_rng(2)
    a = (rng.standard_normal((3, 2, 5, 5)) + 4 * np.eye(5)).astype(dtype)
    b = rng.standard_normal((2, 5, 3)).astype(dtype)

    def everything() -> list[np.ndarray]:
        x, y = Tensor(a), Tensor(b)
        s = x @ x.mT
        found = [la.solve(x, y), la.solve(x, y[:, :, 0:1]), la.cholesky(s), la.eigvalsh(s)]
        found += [la.solve_triangular(x, y, t, lower) for t in (0, 1) for lower in (False, True)]
        found += [la.lu(x[..., :3])[2], la.lu(x[..., :3, :])[1], la.det(x)]
        values, vectors = la.eigh(s)
        return [y.numpy() for y in [*found, (vectors * values.unsqueeze(-2)) @ vectors.mT]]

    fast = everything()
    monkeypatch.setattr(native, "suits", lambda x: False)
    for found, expected in zip(everything(), fast, strict=True):
        tolerance = 1e-4 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
