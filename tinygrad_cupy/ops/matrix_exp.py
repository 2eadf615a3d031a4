"""The exponential of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import kernels
from ..autograd import Op
from ..backend import Array
from .matrices import expect_square, swap
from .shape import concat

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Expm(Op):
    """exp(a) of a (…, N, N).

    Its derivative stands in the exponential of a matrix twice the size, exp [[A, E], [0, A]]
    (Al-Mohy and Higham 2009); the transpose of it is that at Aᵀ.
    """

    saves = ("a",)

    def forward(self, a: Array) -> Array:
        return kernels.linalg.expm(a)

    def backward(self, grad: Tensor, a: Tensor) -> Tensor:
        n, turned = a.shape[-1], swap(a)
        above = concat([turned, grad], -1)
        below = concat([turned._zeros(), turned], -1)
        return Expm()(concat([above, below], -2))[..., :n, n:]

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Expm()(b.whole(a))


def expm(a: Tensor) -> Tensor:
    """exp(a) of square matrices."""
    expect_square("expm", a)
    return Expm()(a)
