"""Eigenvalues and eigenvectors of any square matrices, which are complex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import kernels
from ..autograd import Op
from ..backend import Array
from .matrices import (
    Stated,
    adjoint,
    column,
    diagonal,
    expect_square,
    from_diagonal,
    on_diagonal,
    parts,
    product,
    row,
)
from .solve import solve
from .spectrum import of_any_phase

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Eig(Op):
    """Eigenvectors, the columns of (…, N, N) and of length 1, and eigenvalues of a, packed."""

    saves = ("y",)

    def forward(self, a: Array) -> Array:
        self.sides = a.shape[-2:]
        return kernels.linalg.eig(a)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        n = self.sides[0]
        vectors, values = parts(y, self.sides, (n,))
        by_vectors, by_values = parts(grad.conj(), self.sides, (n,))  # the steepest ascent
        back = adjoint(vectors)
        turned = of_any_phase("eig", product(back, by_vectors))
        # They stay of length 1: what would lengthen them is taken away.
        turned = turned - product(back, vectors * row(diagonal(turned).real))
        gaps, one = (row(values) - column(values)).conj(), on_diagonal(turned)
        equal = gaps.detach() == 0
        wrong = equal & ~one & (turned.detach() != 0)
        text = "[eig] there is no gradient by vectors of equal eigenvalues"
        found = Stated(text)(turned, wrong) / gaps.where(~equal, 1)
        found = from_diagonal(by_values).where(one, found.where(~equal, 0))
        return solve(back, product(found, back), "eig").conj()

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Eig()(b.whole(a))


def eig(a: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (…, N) in no order, and eigenvectors (…, N, N)."""
    expect_square("eig", a)
    n = a.shape[-1]
    vectors, values = parts(Eig()(a), (n, n), (n,))
    return values, vectors
