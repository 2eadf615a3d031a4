"""LU and QR: factors of general matrices, differentiable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import kernels
from ..autograd import Op
from ..backend import Array
from .matrices import (
    adjoint,
    diagonal,
    expect_matrices,
    from_diagonal,
    identity,
    lower,
    parts,
    product,
    swap,
    upper,
)
from .shape import concat
from .take import TakeAlong
from .triangular import SolveTriangular

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class LU(Op):
    """The LU of a (…, M, N), packed, given aᵀ: see `kernels.linalg`."""

    saves = ("y",)

    def forward(self, transposed: Array) -> Array:
        self.sides = transposed.shape[-2:]
        return kernels.linalg.lu_factor(transposed)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        columns, rows = self.sides
        k = min(rows, columns)
        together, pivots = parts(y, self.sides, (k,))
        (by_both,) = parts(grad, self.sides)
        both, by_both = swap(together), swap(by_both)  # (…, M, N): L below the diagonal, and U
        by_l, by_u = lower(by_both, -1)[..., :k], upper(by_both)[..., :k, :]
        first = both[..., :k, :k]
        left = lower(first, -1) + identity(first)
        inner = lower(product(swap(left), by_l[..., :k, :]), -1)
        inner = inner + upper(product(by_u[..., :k], swap(upper(first))))
        if columns > rows:
            inner = inner - lower(product(by_u[..., k:], swap(both[..., k:])), -1)
        if rows > columns:
            inner = inner - upper(product(swap(both[..., k:, :]), by_l[..., k:, :]))
        solved = _left(first, _right(first, inner))
        if columns > rows:
            solved = concat([solved, _left(first, by_u[..., k:])], -1)
        if rows > columns:
            solved = concat([solved, _right(first, by_l[..., k:, :])], -2)
        order = Permutation(rows)(pivots)
        return swap(take_rows(solved, order.argsort(-1)))

    def batch(self, b: BatchLevel, transposed: Tensor) -> Tensor:
        return LU()(b.whole(transposed))


def _left(both: Tensor, x: Tensor) -> Tensor:
    """L⁻ᵀ x, of L below the diagonal, on which are ones."""
    return SolveTriangular(True, True, True)(both, x)


def _right(both: Tensor, x: Tensor) -> Tensor:
    """x U⁻ᵀ, of U above."""
    return swap(SolveTriangular(False, False, False, "lu")(both, swap(x)))


def take_rows(x: Tensor, order: Tensor) -> Tensor:
    """The rows of x (…, M, N) in an order (…, M) that says each of them once."""
    places = order.reshape(*order.shape, 1).broadcast_to(*order.shape, x.shape[-1])
    return TakeAlong(len(x.shape) - 2, True)(x, places)


class Permutation(Op):
    """Which of ``count`` rows stands in each place after exchanges by pivots (…, K), from 1."""

    differentiable = False

    def __init__(self, count: int) -> None:
        self.count = count

    def forward(self, pivots: Array) -> Array:
        return kernels.linalg.permutation(pivots, self.count)

    def batch(self, b: BatchLevel, pivots: Tensor) -> Tensor:
        return Permutation(self.count)(b.whole(pivots))


def lu(a: Tensor, name: str = "lu") -> tuple[Tensor, Tensor]:
    """L and U in one (…, M, N), without L's diagonal of ones; pivots (…, K), from 1, as floats."""
    expect_matrices(name, a)
    rows, columns = a.shape[-2:]
    together, pivots = parts(LU()(swap(a)), (columns, rows), (min(rows, columns),))
    return swap(together), pivots.detach()


class QR(Op):
    """Q (…, M, K) and R (…, K, N) of a (…, M, N), packed (Roberts and Roberts 2020)."""

    saves = ("y",)

    def forward(self, a: Array) -> Array:
        self.sides = a.shape[-2:]
        return kernels.linalg.qr(a)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        rows, columns = self.sides
        k = min(rows, columns)
        q, r = parts(y, (rows, k), (k, columns))
        by_q, by_r = parts(grad.conj(), (rows, k), (k, columns))  # steepest ascent, as in the paper
        by_r = upper(by_r)
        if columns > rows:  # a is [X | Y], R is [S | Qᴴ Y]
            by_rest = product(q, by_r[..., k:])
            rest = product(q, r[..., k:])
            by_q = by_q + product(rest, adjoint(by_r[..., k:]))
            r, by_r = r[..., :k], by_r[..., :k]
        inner = product(r, adjoint(by_r)) - product(adjoint(by_q), q)
        below = lower(inner, -1)
        # R's diagonal is real, as LAPACK makes it: that says which phases the columns of Q have.
        inner = below + adjoint(below) + from_diagonal(diagonal(inner).real)
        x = by_q + product(q, inner)
        found = adjoint(SolveTriangular(False, False, False, "qr")(r, adjoint(x)))
        return (concat([found, by_rest], -1) if columns > rows else found).conj()

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return QR()(b.whole(a))


class CompleteQR(Op):
    """The columns of a square Q beyond those of `QR`, of no gradient."""

    differentiable = False

    def forward(self, a: Array) -> Array:
        q, _ = kernels.linalg.complete_qr(a)
        return q[..., a.shape[-1] :]

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return CompleteQR()(b.whole(a))


def qr(a: Tensor) -> tuple[Tensor, Tensor]:
    """Q (…, M, K), of orthonormal columns, and R (…, K, N), upper: a is Q R."""
    expect_matrices("qr", a)
    rows, columns = a.shape[-2:]
    k = min(rows, columns)
    q, r = parts(QR()(a), (rows, k), (k, columns))
    return q, r
