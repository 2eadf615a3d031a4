"""Linear algebra of complex matrices: values and gradients, against PyTorch and differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_torch
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device

torch = import_torch()


LINALG: Any = tg.linalg  # results are named tuples


def _hermitian(x: Any) -> Any:
    return x @ x.mT.conj() + x + x.mT.conj()


def _of_both(name: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    return (
        lambda a, b: getattr(LINALG, name)(a),
        lambda a, b: getattr(torch.linalg, name)(a),
    )


CALLS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "solve": (LINALG.solve, torch.linalg.solve),
    "inv": _of_both("inv"),
    "det": _of_both("det"),
    "pinv": _of_both("pinv"),
    "svdvals": _of_both("svdvals"),
    "expm": (lambda a, b: LINALG.expm(a), lambda a, b: torch.linalg.matrix_exp(a)),
    "slogdet": (
        lambda a, b: LINALG.slogdet(a)[0] * LINALG.slogdet(a)[1],
        lambda a, b: torch.linalg.slogdet(a)[0] * torch.linalg.slogdet(a)[1],
    ),
    "qr": (lambda a, b: abs(LINALG.qr(a)[1]), lambda a, b: abs(torch.linalg.qr(a)[1])),
    "svd": (
        lambda a, b: (lambda u, s, v: (u * s**2) @ u.mT.conj())(*LINALG.svd(a, False)),
        lambda a, b: (lambda u, s, v: (u * s**2) @ u.mH)(*torch.linalg.svd(a, False)),
    ),
    "cholesky": (
        lambda a, b: LINALG.cholesky(a @ a.mT.conj()),
        lambda a, b: torch.linalg.cholesky(a @ a.mH),
    ),
    "cho_solve": (
        lambda a, b: LINALG.cho_solve((LINALG.cholesky(a @ a.mT.conj()), True), b),
        lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(a @ a.mH)),
    ),
    "eigvalsh": (
        lambda a, b: LINALG.eigvalsh(_hermitian(a)),
        lambda a, b: torch.linalg.eigvalsh(_hermitian(a)),
    ),
    "eigh": (
        lambda a, b: (lambda w, v: (v * w**3) @ v.mT.conj())(*LINALG.eigh(_hermitian(a))),
        lambda a, b: (lambda w, v: (v * w**3) @ v.mH)(*torch.linalg.eigh(_hermitian(a))),
    ),
    "lstsq": (
        lambda a, b: LINALG.lstsq(a[:, :2], b)[0],
        lambda a, b: torch.linalg.lstsq(a[:, :2], b)[0],
    ),
    "lu_solve": (
        lambda a, b: LINALG.lu_solve(LINALG.lu_factor(a), b),
        lambda a, b: torch.linalg.solve(a, b),
    ),
    "solve_triangular": (
        lambda a, b: LINALG.solve_triangular(a, b, lower=True),
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=False),
    ),
    "solve_triangular, conjugate transpose": (
        lambda a, b: LINALG.solve_triangular(a, b, trans="C"),
        lambda a, b: torch.linalg.solve_triangular(a.mH, b, upper=False),
    ),
}


def _matrices() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((2, 3, n)) for n in (3, 2))
    first: np.ndarray = a[0] + 1j * a[1] + 3 * np.eye(3)
    second: np.ndarray = b[0] + 1j * b[1]
    return [first, second]


@pytest.mark.parametrize("name", list(CALLS))
def test_values_and_gradients_are_pytorchs(name: str, device: str) -> None:
    ours, theirs = CALLS[name]
    given = [Tensor(to_device(x, device), requires_grad=True) for x in _matrices()]
    other = [torch.tensor(x, requires_grad=True) for x in _matrices()]
    found, expected = ours(*given), theirs(*other)
    np.testing.assert_allclose(found.numpy(), expected.detach().resolve_conj().numpy(), atol=1e-9)
    rng = np.random.default_rng(1)
    seed = rng.standard_normal(found.shape)
    seed = seed + 1j * rng.standard_normal(found.shape) if found.dtype.kind == "c" else seed
    mine = tg.grad(found, given, Tensor(to_device(seed, device)), allow_unused=True)
    named = torch.autograd.grad(expected, other, torch.tensor(seed), allow_unused=True)
    for g, e in zip(mine, named, strict=True):
        assert (g is None) == (e is None)
        if g is not None:
            np.testing.assert_allclose(g.numpy(), e.resolve_conj().numpy(), atol=1e-8)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "lstsq"])
def test_second_derivatives(name: str, device: str) -> None:
    ours, _ = CALLS[name]
    a, b = (Tensor(to_device(x, device), requires_grad=True) for x in _matrices())
    b.requires_grad = "solve" in name
    assert tg.gradcheck(lambda a, b: ours(a, b), [a, b], batched=False)


PHASED: dict[str, Callable[[Tensor], Tensor]] = {
    "eigh": lambda a: tg.linalg.eigh(a + a.conj().mT)[1],
    "svd": lambda a: tg.linalg.svd(a, full_matrices=False)[0],
    "eig": lambda a: tg.linalg.eig(a)[1],
}


@pytest.mark.parametrize("name", PHASED)
def test_what_depends_on_phases_has_no_gradient(
    name: str, rng: np.random.Generator, device: str
) -> None:
    parts = rng.standard_normal((2, 3, 4, 4))
    a = Tensor(parts[0] + 1j * parts[1], device=device).requires_grad_()
    vectors = PHASED[name](a)
    assert np.isfinite(tg.grad(vectors.abs().pow(3).sum(), a, retain_graph=True).numpy()).all()
    if device == "cpu":
        with pytest.raises(
            np.linalg.LinAlgError, match=rf"\[{name}\] there is no gradient: .*phases"
        ):
            tg.grad(vectors.real.sum(), a)
    else:
        assert np.isnan(tg.grad(vectors.real.sum(), a).numpy()).any()
