"""Triangular equations, and Cholesky's factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import FusedOp, Op
from ..backend import Array
from .matmul import widened
from .matrices import adjoint, expect_square, hermitian, lower, on_diagonal, product, swap, upper

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class SolveTriangular(Op):
    """a⁻¹ b, or (aᵀ)⁻¹ b, of b (…, N, K) and one triangle of a (…, N, N)."""

    broadcasts = True
    saves = ("a", "y")
    saved_for = (None, 0)

    def __init__(
        self, lower: bool, transposed: bool = False, unit: bool = False, name: str = ""
    ) -> None:
        self.lower, self.transposed, self.unit, self.name = lower, transposed, unit, name

    def _like(self, transposed: bool) -> SolveTriangular:
        return SolveTriangular(self.lower, transposed, self.unit, self.name)

    def forward(self, a: Array, b: Array) -> Array:
        given = self.lower, self.transposed, self.unit, self.name
        return kernels.linalg.solve_triangular(a, b, *given)

    def backward(self, grad: Tensor, a: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor]:
        by_b = self._like(not self.transposed)(a, grad)
        if not self.needs[0]:
            return None, by_b
        flat = self.transposed
        by_a = -(product(y, swap(by_b)) if flat else product(by_b, swap(y)))
        return self._read(by_a), by_b

    def _read(self, a: Tensor) -> Tensor:
        """a with zeros where it is not read."""
        return lower(a, -self.unit) if self.lower else upper(a, self.unit)

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
        of_a, right = tangents
        if of_a is not None:
            of_a = self._read(of_a)
            moved = product(swap(of_a) if self.transposed else of_a, y)
            right = -moved if right is None else right - moved
        return self._like(self.transposed)(inputs[0], right)

    def batch(self, b: BatchLevel, a: Tensor, right: Tensor) -> Tensor:
        most = max(len(a.shape), len(right.shape))
        return self._like(self.transposed)(widened(b, a, most), widened(b, right, most))


def solve_lower_adjoint(factor: Tensor, b: Tensor) -> Tensor:
    """L⁻ᴴ b."""
    return SolveTriangular(True, True)(factor, b.conj()).conj()


class Cholesky(FusedOp):
    """L, lower, with L Lᴴ = a (…, N, N), of which the lower triangle is read.

    The gradient is that by a Hermitian matrix: itself Hermitian (Murray 2016).
    """

    saves = ("y",)

    def forward(self, a: Array) -> Array:
        return kernels.linalg.cholesky(a)

    def backward_arrays(self, grad: Array, y: Array) -> tuple[Array]:
        return (kernels.linalg.cholesky_backward(grad, y),)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        inner = lower(product(adjoint(y), grad.conj()))  # by the steepest ascent, as in the paper
        inner = (inner * 0.5).where(on_diagonal(inner), inner)
        half = adjoint(solve_lower_adjoint(y, inner))
        return hermitian(solve_lower_adjoint(y, half)).conj()

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Cholesky()(b.whole(a))


def cholesky(a: Tensor, upper: bool = False) -> Tensor:
    """Cholesky's factor of a (…, N, N), or its adjoint, which is ``upper``."""
    expect_square("cholesky", a)
    factor = Cholesky()(swap(a).conj() if upper else a)
    return adjoint(factor) if upper else factor
