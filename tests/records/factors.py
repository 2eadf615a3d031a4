"""Records of ops/factors.py: LU and QR."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.matrices import oblong, regular, system, with_options
from support.sampling import Error, Sample
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import factors
from tinygrad_cupy.ops.triangular import SolveTriangular

LINALG: Any = np.linalg  # NumPy's stubs know no tensors


def _permuted(x: Any) -> Any:
    """Rows from the last to the first: pivots are sought."""
    return regular(x).flip(-2)


def _first(found: Any, k: int) -> list[Any]:
    """What does not depend on signs: Q's columns (of no gradient beyond the k) and R's rows."""
    q, r = found
    q, r = q[..., :k], r[..., :k, :]
    return [q * q, r * r, q @ r]


def _qr(a: Tensor, mode: str) -> list[Any]:
    return _first(LINALG.qr(regular(a), mode), min(a.shape[-2:]))


def _their_qr(torch: Any, a: Any, mode: str) -> list[Any]:
    return _first(torch.linalg.qr(regular(a)), min(a.shape[-2:]))


def _their_lu_solve(torch: Any, a: Any, b: Any, trans: int) -> Any:
    a = regular(a)
    right = b[:, None] if b.ndim == 1 else b
    shape = np.broadcast_shapes(a.shape[:-2], right.shape[:-2])
    a, right = (x.expand(*shape, *x.shape[-2:]) for x in (a.mT if trans else a, right))
    found = torch.linalg.solve(a, right)
    return found[..., 0] if b.ndim == 1 else found


SAMPLES = [
    Sample(
        "lu",
        lambda a: list(tg.linalg.lu(_permuted(a))[1:]),
        oblong,
        lambda torch, a: list(torch.linalg.lu(_permuted(a))[1:]),
        (factors.LU, factors.Permutation, SolveTriangular),
        (),
        errors=(
            Error(
                lambda: tg.linalg.lu(Tensor.ones(2)),
                ValueError,
                "[lu] expected matrices (…, M, N), got shape (2,)",
            ),
        ),
    ),
    Sample(
        "lu, permuted",
        lambda a: list(tg.linalg.lu(_permuted(a), permute_l=True)),
        oblong,
        lambda torch, a: (lambda p, left, right: [p @ left, right])(*torch.linalg.lu(_permuted(a))),
        (factors.LU, factors.Permutation),
        (),
    ),
    Sample(
        "lu_factor",
        lambda a: tg.linalg.lu_factor(_permuted(a))[0],
        oblong,
        lambda torch, a: torch.linalg.lu_factor(_permuted(a))[0],
        (factors.LU,),
        (),
    ),
    Sample(
        "lu_solve",
        lambda a, b, trans: tg.linalg.lu_solve(tg.linalg.lu_factor(regular(a)), b, trans),
        with_options(system, trans=st.integers(0, 2)),
        _their_lu_solve,
        (factors.LU, factors.Permutation, SolveTriangular),
        (),
    ),
    Sample(
        "np.linalg.qr",
        _qr,
        with_options(oblong, mode=st.sampled_from(["reduced", "complete"])),
        _their_qr,
        (factors.QR, factors.CompleteQR, SolveTriangular),
        ("np.linalg.qr",),
        errors=(
            Error(
                lambda: LINALG.qr(Tensor.ones(2)),
                ValueError,
                "[qr] expected matrices (…, M, N), got shape (2,)",
            ),
            Error(
                lambda: LINALG.qr(Tensor.ones(2, 2), "raw"),
                ValueError,
                '[qr] expected mode "reduced", "complete" or "r", got \'raw\'',
            ),
        ),
    ),
]
