"""Determinants, whose gradient is right at singular matrices, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from ..autograd import Op
from ..backend import Array
from .matrices import (
    adjoint,
    column,
    diagonal,
    expect_square,
    from_diagonal,
    identity,
    on_diagonal,
    product,
    row,
    swap,
)
from .singular_values import svd
from .solve import LUFactors, Solve

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Det(Op):
    """det a by the factors of a (…, N, N).

    The gradient is the matrix of cofactors: det(a) a⁻ᵀ where a is known to be well away from
    singular (a GPU is not asked), else by singular values, which are for real numbers alone.
    """

    saves = ("factors", "a", "y")

    def forward(self, factors: Array, a: Array) -> Array:
        self.regular = self.xp is np and kernels.linalg.is_regular(factors)
        return kernels.linalg.det(factors)

    def backward(self, grad: Tensor, factors: Tensor, a: Tensor, y: Tensor) -> tuple[None, Tensor]:
        if self.regular or (a.dtype.kind == "c" and self.xp is not np):
            inverse = Solve("det", True)(factors, a, identity(a))
            found = inverse * column(column(y))
        else:
            found = Cofactors()(a)
        return None, column(column(grad)) * found

    def batch(self, b: BatchLevel, factors: Tensor, a: Tensor) -> Tensor:
        return Det()(b.whole(factors), b.whole(a))


class Cofactors(Op):
    """The cofactors of a (…, N, N), which are those of its singular values, turned back.

    C(U S Vᴴ) is det(U Vᴴ) U C(S) Vᴴ for real matrices, and on the diagonal of C(S) stand the
    products of all other singular values. No division: a may be singular.
    """

    saves = ("a",)
    only_real = True

    def forward(self, a: Array) -> Array:
        return kernels.linalg.cofactors(a)

    def backward(self, grad: Tensor, a: Tensor) -> Tensor:
        # In the frame of the singular vectors E changes C by
        #   dCᵢᵢ = Σ_{k≠i} Eₖₖ Pᵢₖ and dCᵢⱼ = -Eⱼᵢ Pᵢⱼ, with Pᵢⱼ the product of all but sᵢ and sⱼ.
        u, s, vh = svd(a)
        v, sign = adjoint(vh), Handedness()(a)
        turned = product(adjoint(u), grad, v) * column(column(sign))
        n = a.shape[-1]
        one = on_diagonal(a)
        left = one.reshape(n, 1, n) | one.reshape(1, n, n)
        others = row(row(s)).where(~left, 1).prod(-1).where(~one, 0)  # P, 0 on its diagonal
        sums = product(others, column(diagonal(turned))).squeeze(-1)
        found = from_diagonal(sums) - swap(others * turned)
        return product(u, found, vh)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Cofactors()(b.whole(a))


class Handedness(Op):
    """det(U Vᴴ) of the singular vectors of a: 1 or -1."""

    differentiable = False

    def forward(self, a: Array) -> Array:
        return kernels.linalg.handedness(a)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Handedness()(b.whole(a))


def det(a: Tensor) -> Tensor:
    """Determinants of a (…, N, N)."""
    expect_square("det", a)
    return Det()(LUFactors()(a), a)
