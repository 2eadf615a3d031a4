"""Matrices factored, and equations solved by the factors. All take stacks (…, M, N) of floats.

What several arrays are is packed into one, along its last axis, for an operation has one output:

* LU: the factors of the *transpose* of a (M, N), M · N elements in C order, then the pivots, which
  count from 1; so that a matrix in C order is factored where it stands.
* Hermitian: eigenvectors as rows, N · N, then the eigenvalues, N.
* singular values: U (M, K), then Vᴴ (K, N), then the K values; K = min(M, N).
* QR: Q (M, K), then R (K, N).
"""

from __future__ import annotations

from ...backend import Array, array_module, kernel
from . import cpu, cuda
from .reference import are_distinct, det, is_regular, log_abs_det, pinv, sign_of_det

__all__ = [
    "are_distinct",
    "bases",
    "cholesky",
    "cholesky_backward",
    "cofactors",
    "complete_qr",
    "det",
    "eig",
    "eigh",
    "eigvalsh",
    "expm",
    "handedness",
    "inv",
    "is_regular",
    "log_abs_det",
    "lu_factor",
    "lu_solve",
    "permutation",
    "pinv",
    "qr",
    "sign_of_det",
    "solve_triangular",
    "svd",
    "svdvals",
]


@kernel(cpu=cpu.lu_factor, cuda=cuda.lu_factor)
def lu_factor(x: Array) -> Array:
    """LU of x (…, M, N), packed."""


@kernel(cpu=cpu.lu_solve, cuda=cuda.lu_solve)
def lu_solve(packed: Array, b: Array, transposed: bool, name: str) -> Array:
    """a⁻¹ b for b (…, N, K), or (aᵀ)⁻¹ b, by the packed LU of a.

    A singular matrix is an error of ``name``, if one is given. On a GPU, which is not waited for,
    it is none: what is divided by the pivot is inf and NaN.
    """


@kernel(cpu=cpu.permutation, cuda=cuda.permutation)
def permutation(pivots: Array, count: int) -> Array:
    """Which row stands in each place, (…, count) of int64, after the exchanges (…, K) from 1."""


@kernel(cpu=cpu.solve_triangular, cuda=cuda.solve_triangular)
def solve_triangular(
    a: Array, b: Array, lower: bool, transposed: bool, unit: bool, name: str
) -> Array:
    """a⁻¹ b or (aᵀ)⁻¹ b of one triangle of a (…, N, N), on whose diagonal are ones if ``unit``.

    Leading axes broadcast. A zero on the diagonal is an error of ``name`` on the CPU.
    """


@kernel(cpu=cpu.cholesky, cuda=cuda.cholesky)
def cholesky(x: Array) -> Array:
    """L, lower, with L Lᴴ = x, of which the lower triangle is read."""


@kernel(cpu=cpu.inv, cuda=cuda.inv)
def inv(x: Array, name: str) -> Array:
    """The inverse of x (…, N, N); a singular one is an error of ``name`` on the CPU."""


@kernel(cpu=cpu.eigh, cuda=cuda.eigh)
def eigh(x: Array, lower: bool) -> Array:
    """Eigenvectors and eigenvalues, ascending, of Hermitian x (…, N, N), packed."""


@kernel(cpu=cpu.eigvalsh, cuda=cuda.eigvalsh)
def eigvalsh(x: Array, lower: bool) -> Array:
    """The eigenvalues alone, (…, N)."""


@kernel(cpu=cpu.eig, cuda=cuda.eig)
def eig(x: Array) -> Array:
    """Eigenvectors, as columns, and eigenvalues of any square x (…, N, N), packed; complex."""


@kernel(cpu=cpu.svd, cuda=cuda.svd)
def svd(x: Array) -> Array:
    """Singular vectors and values, descending, of x (…, M, N), packed."""


@kernel(cpu=cpu.svdvals, cuda=cuda.svdvals)
def svdvals(x: Array) -> Array:
    """The singular values alone, (…, K)."""


@kernel(cpu=cpu.bases, cuda=cuda.bases)
def bases(x: Array) -> tuple[Array, Array]:
    """U (…, M, M) and Vᴴ (…, N, N), with vectors that go with no singular value."""


@kernel(cpu=cpu.qr, cuda=cuda.qr)
def qr(x: Array) -> Array:
    """Q and R of x (…, M, N), packed."""


@kernel(cpu=cpu.complete_qr, cuda=cuda.complete_qr)
def complete_qr(x: Array) -> tuple[Array, Array]:
    """Q (…, M, M) and R (…, M, N)."""


@kernel(cpu=cpu.expm, cuda=cuda.expm)
def expm(x: Array) -> Array:
    """The exponential of matrices x (…, N, N)."""


@kernel(cpu=cpu.cholesky_backward, cuda=cuda.cholesky_backward)
def cholesky_backward(grad: Array, y: Array) -> Array:
    """The gradient by a Hermitian matrix (…, N, N) of that by its factor y."""


@kernel(cpu=cpu.solve_backward, cuda=cuda.solve_backward)
def solve_backward(
    packed: Array, grad: Array, y: Array | None, transposed: bool, by_a: bool, name: str
) -> tuple[Array | None, Array]:
    """The gradients by a (…, N, N), if wanted, and by b of `lu_solve`, whose result was y.

    y may be None where that by a is not wanted.
    """


@kernel(cpu=cpu.eigh_backward, cuda=cuda.eigh_backward)
def eigh_backward(
    grad: Array, y: Array, distinct: bool, alone: bool, turns: str, equal: str
) -> Array:
    """The gradient by a Hermitian matrix of that by its packed eigenvectors and values y.

    The formulas are those of `ops.spectrum`. ``alone``: of eigenvalues only; ``distinct``: no two
    are equal. Where there is none it is NaN on a GPU, and on a CPU an error: ``turns`` where it
    depends on the phases of complex vectors, ``equal`` where eigenvalues are equal.
    """


def handedness(x: Array) -> Array:
    """det(U Vᴴ) of the singular vectors of x (…, N, N)."""
    return _sides(x)[3]


def cofactors(x: Array) -> Array:
    """The cofactors of x (…, N, N), by its singular values: x may be singular."""
    u, vh, s, sign = _sides(x)
    xp, n = array_module(x), x.shape[-1]
    one = xp.eye(n, dtype=bool)
    others = xp.where(one, x.dtype.type(1), s[..., None, :]).prod(-1)  # all but one
    return (u * (others * sign[..., None])[..., None, :]) @ vh


def _sides(x: Array) -> tuple[Array, Array, Array, Array]:
    """U, Vᴴ, the singular values and det(U Vᴴ)."""
    n, packed = x.shape[-1], svd(x)
    u = packed[..., : n * n].reshape(x.shape)
    vh = packed[..., n * n : 2 * n * n].reshape(x.shape)
    sign = det(lu_factor(u)) * det(lu_factor(vh))
    return u, vh, packed[..., 2 * n * n :], sign.round()
