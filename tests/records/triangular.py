"""Records of ops/triangular.py: triangular equations and Cholesky's factors."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.matrices import regular, square, symmetric, system, with_options
from support.sampling import Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import triangular

LINALG: Any = np.linalg  # NumPy's stubs know no tensors
SINGULAR = np.linalg.LinAlgError


def _column(x: Any) -> Any:
    return x[:, None] if x.ndim == 1 else x


def _triangular(torch: Any, a: Any, b: Any, trans: Any, lower: bool, unit_diagonal: bool) -> Any:
    a = regular(a)
    a = a.tril() if lower else a.triu()
    a, lower = (a, lower) if trans in (0, "N") else (a.mT, not lower)
    given = {"upper": not lower, "unitriangular": unit_diagonal}
    found = torch.linalg.solve_triangular(a, _column(b), **given)
    return found[..., 0] if b.ndim == 1 else found


def _from_factor(torch: Any, a: Any, b: Any, lower: bool) -> Any:
    lead = np.broadcast_shapes(a.shape[:-2], _column(b).shape[:-2])
    factor, right = (x.expand(*lead, *x.shape[-2:]) for x in (regular(a), _column(b)))
    factor = factor.tril() if lower else factor.triu()
    found = torch.cholesky_solve(right, factor, upper=not lower)
    return found[..., 0] if b.ndim == 1 else found


SAMPLES = [
    Sample(
        "solve_triangular",
        lambda a, b, **options: tg.linalg.solve_triangular(regular(a), b, **options),
        with_options(
            system,
            trans=st.sampled_from([0, 1, 2, "N", "T", "C"]),
            lower=st.booleans(),
            unit_diagonal=st.booleans(),
        ),
        _triangular,
        (triangular.SolveTriangular,),
        (),
        errors=(
            Error(
                lambda: tg.linalg.solve_triangular(Tensor.ones(2, 3), Tensor.ones(2)),
                ValueError,
                "[solve_triangular] expected square matrices (…, N, N), got shape (2, 3)",
            ),
            Error(
                lambda: tg.linalg.solve_triangular(Tensor.ones(2, 2), Tensor.ones(2), "X"),
                ValueError,
                '[solve_triangular] expected trans 0, 1, 2, "N", "T" or "C", got \'X\'',
            ),
            Error(
                lambda: tg.linalg.solve_triangular(Tensor.zeros(2, 2), Tensor.ones(2)),
                SINGULAR,
                "[solve_triangular] the matrix is singular",
                on_gpu=False,
            ),
        ),
    ),
    Sample(
        "np.linalg.cholesky",
        lambda a, upper: LINALG.cholesky(symmetric(a), upper=upper),
        with_options(square, upper=st.booleans()),
        lambda torch, a, upper: torch.linalg.cholesky(symmetric(a), upper=upper),
        (triangular.Cholesky, triangular.SolveTriangular),
        ("np.linalg.cholesky",),
        errors=(
            Error(
                lambda: LINALG.cholesky(Tensor.ones(2, 3)),
                ValueError,
                "[cholesky] expected square matrices (…, N, N), got shape (2, 3)",
            ),
            Error(
                lambda: LINALG.cholesky(Tensor.zeros(2, 2)),
                SINGULAR,
                "[cholesky] the matrix is not positive definite",
                on_gpu=False,
            ),
        ),
    ),
    Sample(
        "cho_factor",
        lambda a, lower: tg.linalg.cho_factor(symmetric(a), lower)[0],
        with_options(square, lower=st.booleans()),
        lambda torch, a, lower: torch.linalg.cholesky(symmetric(a), upper=not lower),
        (triangular.Cholesky, triangular.SolveTriangular),
        (),
    ),
    Sample(
        "cho_solve",
        lambda a, b, lower: tg.linalg.cho_solve((regular(a), lower), b),
        with_options(system, lower=st.booleans()),
        _from_factor,
        (triangular.SolveTriangular,),
        (),
    ),
]
