"""Sparse matrices: products, and equations, whose gradients by the values are there alone.

Σ v_j u[row_j] · x[column_j] is linear in the values v, in u and in x. `SparseMatMul` and
`SparseSampled` are its partial derivatives, so that those of every order are of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op
from ..backend import Array
from ..backend.capture import refuse_read
from ..kernels.sparse import Factors, Pattern

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class SparseMatMul(Op):
    """A x of values (J,) at the places of a pattern (M, N), and x (N, K); or Aᵀ x."""

    saves = ("values", "x")
    saved_for = (1, 0)
    linear = ("values", "x")

    def __init__(self, pattern: Pattern, transposed: bool = False) -> None:
        self.pattern, self.transposed = pattern, transposed

    def forward(self, values: Array, x: Array) -> Array:
        return kernels.sparse.product(values, x, self.pattern, self.transposed)

    def backward(
        self, grad: Tensor, values: Tensor, x: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        sides = (x, grad) if self.transposed else (grad, x)
        return (
            SparseSampled(self.pattern)(*sides) if self.needs[0] else None,
            SparseMatMul(self.pattern, not self.transposed)(values, grad)
            if self.needs[1]
            else None,
        )

    def batch(self, b: BatchLevel, values: Tensor, x: Tensor) -> Tensor:
        if not b.has(values):  # more vectors
            found = SparseMatMul(self.pattern, self.transposed)(values, b.join(x, 1))
            return b.split(found, 1)  # type: ignore[no-any-return]
        op = SparseMatMul(self.pattern.repeated(b.size), self.transposed)
        return b.split(op(b.join(values, 0), b.join(x, 0)), 0)  # type: ignore[no-any-return]


class SparseSampled(Op):
    """u vᵀ at the places of a pattern (M, N) alone, (J,), of u (M, K) and v (N, K)."""

    saves = ("u", "v")
    saved_for = (1, 0)
    linear = ("u", "v")

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern

    def forward(self, u: Array, v: Array) -> Array:
        return kernels.sparse.sampled(u, v, self.pattern)

    def backward(self, grad: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            SparseMatMul(self.pattern)(grad, v) if self.needs[0] else None,
            SparseMatMul(self.pattern, True)(grad, u) if self.needs[1] else None,
        )

    def batch(self, b: BatchLevel, u: Tensor, v: Tensor) -> Tensor:
        op = SparseSampled(self.pattern.repeated(b.size))
        return b.split(op(b.join(u, 0), b.join(v, 0)), 0)  # type: ignore[no-any-return]


class SparseSolve(Op):
    """x with A x = b, or Aᵀ x = b, of values (J,) at the places of a pattern (N, N) and b (N, K).

    dx = A⁻¹ (db - dA x). The factors on the CPU serve the backward, too.
    """

    saves = ("values", "y")
    saved_for = (None, 0)
    constants = ("factors",)

    def __init__(
        self, pattern: Pattern, transposed: bool = False, factors: Factors | None = None
    ) -> None:
        self.pattern, self.transposed = pattern, transposed
        self.factors = Factors() if factors is None else factors

    def forward(self, values: Array, b: Array) -> Array:
        refuse_read()  # it looks for pivots
        return kernels.sparse.solve(values, b, self.pattern, self.transposed, self.factors)

    def backward(self, grad: Tensor, values: Tensor, y: Tensor) -> tuple[Tensor | None, Tensor]:
        u = SparseSolve(self.pattern, not self.transposed, self.factors)(values, grad)
        if not self.needs[0]:
            return None, u
        sides = (y, u) if self.transposed else (u, y)
        return -SparseSampled(self.pattern)(*sides), u

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
        (values, _), (moves, side) = inputs, tangents
        if moves is not None:
            part = SparseMatMul(self.pattern, self.transposed)(moves, y)
            side = -part if side is None else side - part
        return SparseSolve(self.pattern, self.transposed, self.factors)(values, side)

    def batch(self, b: BatchLevel, values: Tensor, rhs: Tensor) -> Tensor:
        if not b.has(values):  # more right sides
            op = SparseSolve(self.pattern, self.transposed, self.factors)
            return b.split(op(values, b.join(rhs, 1)), 1)  # type: ignore[no-any-return]
        op = SparseSolve(self.pattern.repeated(b.size), self.transposed)
        return b.split(op(b.join(values, 0), b.join(rhs, 0)), 0)  # type: ignore[no-any-return]
