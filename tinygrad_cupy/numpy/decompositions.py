"""Factors, eigenvalues and singular values of matrices, of `numpy.linalg`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ops import eig as nonsymmetric
from ..ops import factors, matrices, singular_values, spectrum, triangular
from ..ops.promotion import as_float
from ..ops.protocols import implements
from ..ops.shape import concat
from . import norms
from .arrays import tensor
from .equations import inv, widely

__all__ = [
    *(
        "cholesky",
        "cond",
        "diagonal",
        "eig",
        "eigh",
        "eigvals",
        "eigvalsh",
        "matrix_rank",
        "matrix_transpose",
        "qr",
    ),
    *("svd", "svdvals", "trace"),
]


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Any
    R: Any


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Any
    S: Any
    Vh: Any


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """L, lower, with L Lᴴ = a, or its adjoint; a (…, N, N) is Hermitian and positive definite.

    Of a the lower triangle is read (the ``upper``, where that is asked for); the gradient is that
    by a Hermitian matrix and is itself Hermitian. A matrix that is not positive definite is a
    ``numpy.linalg.LinAlgError``; on a GPU, which is not waited for, its factor means nothing.
    """
    return widely(lambda a: triangular.cholesky(a, upper), a)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular, a = Q R, of matrices (…, M, N).

    "reduced": Q (…, M, K) and R (…, K, N), K = min(M, N); "complete": Q (…, M, M) and R (…, M, N);
    "r": R alone. The columns of Q beyond K have no gradient. The first K columns of a must be
    independent where one is asked for.
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f'[qr] expected mode "reduced", "complete" or "r", got {mode!r}')

    def compute(a: Any) -> Any:
        q, r = factors.qr(a)
        rows, columns = a.shape[-2:]
        if mode == "complete" and rows > columns:
            q = concat([q, factors.CompleteQR()(a)], -1)
            zeros = r._zeros()[..., :1, :].broadcast_to(*r.shape[:-2], rows - columns, columns)
            r = concat([r, zeros if columns else a[..., columns:, :]], -2)
        return r if mode == "r" else QRResult(q, r)

    return widely(compute, a)


def _lower(name: str, UPLO: str) -> bool:
    side = str(UPLO).upper()
    if side not in ("L", "U"):
        raise ValueError(f'[{name}] expected UPLO "L" or "U", got {UPLO!r}')
    return side == "L"


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues (…, N), ascending, and eigenvectors, the columns of (…, N, N), of Hermitian a.

    One triangle is read, the lower or the upper. The signs of the vectors are arbitrary: what is
    computed of them should not depend on these. Where eigenvalues are equal the gradient is right
    for what does not depend on the choice of vectors, else there is none: a
    ``numpy.linalg.LinAlgError``, on a GPU NaN.
    """
    lower = _lower("eigh", UPLO)
    found: EighResult = widely(lambda a: EighResult(*spectrum.eigh(a, lower)), a)
    return found


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of `eigh` alone. Each has the gradient of its vector."""
    lower = _lower("eigvalsh", UPLO)
    return widely(lambda a: spectrum.eigvalsh(a, lower), a)


class EigResult(NamedTuple):
    """What `eig` gives."""

    eigenvalues: Any
    eigenvectors: Any


@implements(np.linalg.eig)
def eig(a: Any) -> EigResult:
    """Eigenvalues (…, N) and eigenvectors, the columns of (…, N, N), of any square matrices.

    Both are complex, also where NumPy's would be real, for what they are may not depend on values.
    The gradient by vectors is right for what does not depend on their phases. At equal eigenvalues
    there is none by vectors, at a matrix that has no N independent vectors none at all: a
    ``numpy.linalg.LinAlgError``, on a GPU inf or NaN.
    """
    found: EigResult = widely(lambda a: EigResult(*nonsymmetric.eig(a)), a)
    return found


@implements(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """The eigenvalues of `eig` alone."""
    return eig(a).eigenvalues


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """U, S and Vᴴ with a = U diag(S) Vᴴ, of matrices (…, M, N); S (…, K) descends, K = min(M, N).

    U is (…, M, M) and Vᴴ (…, N, N); without ``full_matrices`` they are (…, M, K) and (…, K, N).
    Vectors beyond the K have no gradient. Signs are arbitrary, and where singular values are equal
    the gradient is as in `eigh`. Without ``compute_uv`` S alone. A ``hermitian`` matrix is taken
    apart by `eigh`.
    """

    def compute(a: Any) -> Any:
        if hermitian:
            return _svd_of_hermitian(a, compute_uv)
        if not compute_uv:
            return singular_values.svdvals(a, "svd")
        return SVDResult(*(singular_values.full_svd if full_matrices else singular_values.svd)(a))

    return widely(compute, a)


def _svd_of_hermitian(a: Any, compute_uv: bool) -> Any:
    values, vectors = spectrum.eigh(a)
    sizes = values.abs()
    order = (-sizes.detach()).argsort(-1)
    s = norms.along_last(sizes, order)
    if not compute_uv:
        return s
    columns = matrices.row(order).broadcast_to(*vectors.shape)
    u = norms.along_last(vectors, columns)
    signs = values.detach() < 0
    signed = vectors * matrices.row(signs.astype(values.dtype) * -2 + 1)
    return SVDResult(u, s, matrices.adjoint(norms.along_last(signed, columns)))


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    """The singular values (…, K) of `svd` alone, descending."""
    return widely(singular_values.svdvals, x)


@implements(np.linalg.matrix_rank)
def matrix_rank(
    A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None
) -> Any:  # int64
    """How many singular values of matrices (…, M, N) are above ``tol``; of int64, no gradient.

    The usual limit is ``rtol`` times the largest, with max(M, N) · eps for ``rtol``. Of a vector or
    a number: 1 if one is not 0.
    """
    if tol is not None and rtol is not None:
        raise ValueError("[matrix_rank] expected tol or rtol, got both")
    x = as_float(tensor(A)).detach()
    if x.ndim < 2:
        return (x != 0).any().astype(np.int64)

    def limits(x: Any) -> Any:
        s = spectrum.eigvalsh(x).abs() if hermitian else singular_values.svdvals(x, "matrix_rank")
        if not s.size:
            return s.sum(-1)
        limit = max(x.shape[-2:]) * float(np.finfo(s.dtype).eps) if rtol is None else rtol
        if tol is None:
            limit = s.max(-1) * limit
        else:
            limit = tol
        limit = tensor(limit, s)
        return (s > limit.reshape(*limit.shape, 1)).sum(-1)

    return widely(limits, x).astype(np.int64)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """The condition numbers (…) of matrices: norm(x) · norm(inverse), inf of a singular one.

    ``p`` is the order of the norm, None or 2 the ratio of the singular values, -2 its inverse; else
    square matrices are inverted.
    """

    def compute(x: Any) -> Any:
        matrices.expect_matrices("cond", x)
        if x.size == 0 and 0 in x.shape[-2:]:
            raise np.linalg.LinAlgError("[cond] is not defined of a matrix without elements")
        if p is None or p in (2, -2):
            s = singular_values.svdvals(x, "cond")
            first, last = s[..., 0], s[..., -1]
            return last / first if p == -2 else first / last
        matrices.expect_square("cond", x)
        return norms.matrix_norm(x, ord=p) * norms.matrix_norm(inv(x), ord=p)

    return widely(compute, x)


@implements(np.linalg.diagonal)
def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """The diagonals of matrices (…, M, N), as views; ``offset`` counts to the right."""
    x = tensor(x)
    matrices.expect_matrices("diagonal", x)
    return x.diagonal(offset, -2, -1)


@implements(np.linalg.trace)
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sums of `diagonal`."""
    x = tensor(x)
    matrices.expect_matrices("trace", x)
    return x.trace(offset, -2, -1, dtype)


@implements(np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """Matrices (…, M, N) transposed, as a view (…, N, M)."""
    x = tensor(x)
    matrices.expect_matrices("matrix_transpose", x)
    return x.mT
