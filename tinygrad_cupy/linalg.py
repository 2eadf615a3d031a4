"""Linear algebra: all of `numpy.linalg`, and what `scipy.linalg` has beside it, for tensors.

Stacks of matrices (…, M, N) everywhere, leading axes broadcast; every function is differentiable to
any order, by what its docstring says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend import array_module, on_device_of
from .iterative import cg, gmres
from .numpy.equations import beside, floats, widely
from .numpy.linalg import (
    LinAlgError,
    cholesky,
    cond,
    cross,
    det,
    diagonal,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    inv,
    lstsq,
    matmul,
    matrix_norm,
    matrix_power,
    matrix_rank,
    matrix_transpose,
    multi_dot,
    norm,
    outer,
    pinv,
    qr,
    slogdet,
    solve,
    svd,
    svdvals,
    tensordot,
    tensorinv,
    tensorsolve,
    trace,
    vecdot,
    vector_norm,
)
from .ops import factors, matrices, matrix_exp, triangular
from .ops.shape import concat

__all__ = [
    "LinAlgError",
    "block_diag",
    "cg",
    "cho_factor",
    "cho_solve",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "gmres",
    "inv",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_solve",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]

_TRANS = {0: 0, 1: 1, 2: 2, "N": 0, "T": 1, "C": 2}


def _how(name: str, trans: Any) -> int:
    if trans not in _TRANS:
        raise ValueError(f'[{name}] expected trans 0, 1, 2, "N", "T" or "C", got {trans!r}')
    return _TRANS[trans]


def _triangle(a: Any, b: Any, how: int, lower: bool, unit: bool, name: str) -> Any:
    """What `solve_triangular` computes, of b (…, N, K)."""
    op = triangular.SolveTriangular(lower, how > 0, unit, name)
    return op(a, b.conj()).conj() if how == 2 else op(a, b)


def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    """x with a x = b, of triangular a (…, N, N) and b (N,) or (…, N, K).

    Of a one triangle is read, the upper if not ``lower``, and no diagonal if that is of ones
    (``unit_diagonal``); ``trans`` 1 or "T" is for aᵀ x = b, 2 or "C" for aᴴ x = b. A 0 on the
    diagonal is a ``numpy.linalg.LinAlgError``, on a GPU x is inf and NaN.
    """
    how = _how("solve_triangular", trans)

    def compute(a: Any, b: Any) -> Any:
        matrices.expect_square("solve_triangular", a)

        def solved(a: Any, b: Any) -> Any:
            return _triangle(a, b, how, bool(lower), bool(unit_diagonal), "solve_triangular")

        return beside("solve_triangular", a, b, solved)

    return widely(compute, a, b)


def cho_factor(a: Any, lower: bool = False) -> tuple[Any, bool]:
    """Cholesky's factor of a for `cho_solve`, upper unless ``lower``, and whether it is lower.

    The other triangle is 0, where SciPy leaves what was there.
    """
    return widely(lambda a: _factor(a, lower), a), bool(lower)


def _factor(a: Any, lower: bool) -> Any:
    return triangular.cholesky(a, not lower)


def cho_solve(c_and_lower: tuple[Any, bool], b: Any) -> Any:
    """x with a x = b, given what `cho_factor` makes of a (…, N, N); b is (N,) or (…, N, K)."""
    c, lower = c_and_lower
    lower = bool(lower)

    def compute(c: Any, b: Any) -> Any:
        matrices.expect_square("cho_solve", c)

        def solved(c: Any, b: Any) -> Any:
            half = _triangle(c, b, 0 if lower else 2, lower, False, "cho_solve")
            return _triangle(c, half, 2 if lower else 0, lower, False, "cho_solve")

        return beside("cho_solve", c, b, solved)

    return widely(compute, c, b)


def lu(a: Any, permute_l: bool = False, p_indices: bool = False) -> tuple[Any, ...]:
    """P, L and U with a = P L U, of matrices (…, M, N); P (…, M, M), L (…, M, K), U (…, K, N).

    K is min(M, N). With ``permute_l`` there are two, P L and U. With ``p_indices`` the first says
    which rows of L to take: a = L[p] U. P has no gradient; that of L and U is there where the first
    K columns of a are independent.
    """

    def compute(a: Any) -> tuple[Any, ...]:
        both, pivots = factors.lu(a)
        rows, columns = a.shape[-2:]
        k = min(rows, columns)
        left = matrices.lower(both, -1)[..., :k]
        left = left + matrices.on_diagonal(left).astype(left.dtype)
        right = matrices.upper(both)[..., :k, :]
        inverse = factors.Permutation(rows)(pivots).argsort(-1)
        if permute_l:
            return factors.take_rows(left, inverse), right
        if p_indices:
            return inverse, left, right
        places = matrices.column(inverse)
        with on_device_of(a.data):
            numbers = a._wrap(array_module(a.data).arange(rows))
        return (places == numbers).astype(left.dtype), left, right

    found: tuple[Any, ...] = widely(compute, a)
    return found


def lu_factor(a: Any) -> tuple[Any, Any]:
    """L and U in one (…, M, N), L's diagonal of ones left out, and which rows were exchanged.

    Row i was exchanged with row ``piv[i]`` (…, K), one after the other; of int32, from 0.
    """

    def compute(a: Any) -> tuple[Any, Any]:
        both, pivots = factors.lu(a, "lu_factor")
        return both, (pivots.real - 1).astype(np.int32)

    found: tuple[Any, Any] = widely(compute, a)
    return found


def lu_solve(lu_and_piv: tuple[Any, Any], b: Any, trans: Any = 0) -> Any:
    """x with a x = b, given what `lu_factor` makes of a (…, N, N); b is (N,) or (…, N, K).

    ``trans`` as in `solve_triangular`.
    """
    both, piv = lu_and_piv
    how = _how("lu_solve", trans)

    def compute(both: Any, b: Any) -> Any:
        matrices.expect_square("lu_solve", both)

        def solved(both: Any, b: Any) -> Any:
            lead = np.broadcast_shapes(both.shape[:-2], b.shape[:-2])
            b = b.broadcast_to(*lead, *b.shape[-2:])
            order = factors.Permutation(both.shape[-1])(piv + 1)
            order = order.broadcast_to(*lead, both.shape[-1])
            if how == 0:
                x = factors.take_rows(b, order)
                x = _triangle(both, x, 0, True, True, "lu_solve")
                return _triangle(both, x, 0, False, False, "lu_solve")
            x = _triangle(both, b, how, False, False, "lu_solve")
            x = _triangle(both, x, how, True, True, "lu_solve")
            return factors.take_rows(x, order.argsort(-1))

        return beside("lu_solve", both, b, solved)

    return widely(compute, both, b)


def expm(A: Any) -> Any:
    """The exponential of square matrices (…, N, N): Σ Aᵏ / k!.

    On a GPU its norm is waited for, so that `tg.jit` cannot capture it there.
    """
    return widely(matrix_exp.expm, A)


def block_diag(*arrays: Any) -> Any:
    """Matrices (…, M, N) along the diagonal of one, zeros elsewhere; vectors are rows.

    Leading axes broadcast. Without arguments it is a matrix of shape (1, 0), as SciPy's is.
    """
    found = list(floats(*arrays)) if arrays else [floats(np.zeros((1, 0)))[0]]
    blocks = [x if len(x.shape) > 1 else x.reshape(1, -1) for x in found]
    lead = np.broadcast_shapes(*[x.shape[:-2] for x in blocks])
    blocks = [x.broadcast_to(*lead, *x.shape[-2:]) for x in blocks]
    width, before = sum([x.shape[-1] for x in blocks]), 0
    rows = []
    for x in blocks:
        after = width - before - x.shape[-1]
        rows.append(x.pad([*[(0, 0)] * (len(x.shape) - 1), (before, after)]))
        before += x.shape[-1]
    return concat(rows, -2) if len(rows) > 1 else rows[0]


def __dir__() -> list[str]:
    return sorted(__all__)
