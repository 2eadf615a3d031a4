"""Equations by LU, whose factors the gradient uses again; inverses and log |det|."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import FusedOp, Op
from ..backend import Array, blas
from .matmul import widened
from .matrices import column, expect_square, identity, product, swap

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class LUFactors(Op):
    """The LU of matrices (…, N, N), packed: what `Solve` and others work with, of no gradient."""

    differentiable = False

    def forward(self, a: Array) -> Array:
        return kernels.linalg.lu_factor(a)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return LUFactors()(b.whole(a))


class Solve(FusedOp):
    """a⁻¹ b, or (aᵀ)⁻¹ b, of b (…, N, K) by the factors of a (…, N, N).

    What it is of a, the rule says: the factors have no gradient.
    """

    broadcasts = True
    saves = ("factors", "a", "y")
    saved_for = (None, None, 1)

    def __init__(self, name: str, transposed: bool = False) -> None:
        self.name, self.transposed = name, transposed

    def forward(self, factors: Array, a: Array, b: Array) -> Array:
        return kernels.linalg.lu_solve(factors, b, self.transposed, self.name)

    def backward_arrays(self, grad: Array, factors: Array, a: Array, y: Array) -> Any:
        given = factors, grad, y, self.transposed, self.needs[1], self.name
        by_a, by_b = kernels.linalg.solve_backward(*given)
        return None, by_a, by_b if self.needs[2] else None

    def backward(self, grad: Tensor, factors: Tensor, a: Tensor, y: Tensor) -> Any:
        other = Solve(self.name, not self.transposed)
        by_b = other(factors, a, grad)
        if not self.needs[1]:
            return None, None, by_b
        flat = self.transposed
        by_a = -(product(y, swap(by_b)) if flat else product(by_b, swap(y)))
        return None, by_a, by_b

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
        factors, a, _ = inputs
        _, of_a, of_b = tangents
        right = of_b
        if of_a is not None:
            moved = product(swap(of_a) if self.transposed else of_a, y)
            right = -moved if right is None else right - moved
        return Solve(self.name, self.transposed)(factors, a, right)

    def batch(self, b: BatchLevel, factors: Tensor, a: Tensor, right: Tensor) -> Tensor:
        most = max(len(a.shape), len(right.shape))
        wide = widened(b, factors, most - 1), widened(b, a, most), widened(b, right, most)
        return Solve(self.name, self.transposed)(*wide)


class Inverse(FusedOp):
    """a⁻¹ of matrices (…, N, N)."""

    saves = ("y",)

    def __init__(self, name: str) -> None:
        self.name = name

    def forward(self, a: Array) -> Array:
        return kernels.linalg.inv(a, self.name)

    def backward_arrays(self, grad: Array, y: Array) -> tuple[Array]:
        back = y.swapaxes(-2, -1)
        found = blas.matmul(blas.matmul(back, grad), back)
        return (self.xp.negative(found, found),)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        back = swap(y)
        return -product(back, grad, back)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Inverse(self.name)(b.whole(a))


class SignOfDet(Op):
    """The sign of the determinant by the factors: -1, 0 or 1, without a slope."""

    differentiable = False

    def forward(self, factors: Array) -> Array:
        return kernels.linalg.sign_of_det(factors)

    def batch(self, b: BatchLevel, factors: Tensor) -> Tensor:
        return SignOfDet()(b.whole(factors))


class PhaseOfDet(Op):
    """s = det a / |det a| of complex a (…, N, N), by the factors: ds = i s Im tr(a⁻¹ da)."""

    saves = ("factors", "a", "y")

    def forward(self, factors: Array, a: Array) -> Array:
        return kernels.linalg.sign_of_det(factors)

    def backward(self, grad: Tensor, factors: Tensor, a: Tensor, y: Tensor) -> tuple[None, Tensor]:
        inverse = Solve("slogdet", True)(factors, a, identity(a))  # a⁻ᵀ
        return None, column(column((grad * y).imag * 1j)) * inverse

    def batch(self, b: BatchLevel, factors: Tensor, a: Tensor) -> Tensor:
        return PhaseOfDet()(b.whole(factors), b.whole(a))


class LogAbsDet(Op):
    """log |det a| by the factors of a (…, N, N): -∞ of a singular matrix, which has no gradient."""

    saves = ("factors", "a")

    def forward(self, factors: Array, a: Array) -> Array:
        return kernels.linalg.log_abs_det(factors)

    def backward(self, grad: Tensor, factors: Tensor, a: Tensor) -> tuple[None, Tensor]:
        inverse = Solve("slogdet", True)(factors, a, identity(a))  # a⁻ᵀ
        return None, column(column(grad)) * inverse

    def batch(self, b: BatchLevel, factors: Tensor, a: Tensor) -> Tensor:
        return LogAbsDet()(b.whole(factors), b.whole(a))


def solve(a: Tensor, b: Tensor, name: str = "solve", transposed: bool = False) -> Tensor:
    """a⁻¹ b of one dtype, b (…, N, K); leading axes broadcast."""
    expect_square(name, a)
    if len(b.shape) < 2 or b.shape[-2] != a.shape[-1]:
        raise ValueError(
            f"[{name}] expected b (…, {a.shape[-1]}, K) beside a {tuple(a.shape)}, got shape "
            f"{tuple(b.shape)}"
        )
    factors = LUFactors()(a)
    lead, (n, right) = b.shape[:-2], b.shape[-2:]
    if len(a.shape) > 2 or not lead:
        return Solve(name, transposed)(factors, a, b)
    order = range(len(lead))  # one matrix: all right sides are columns beside each other
    beside = b.permute(-2, *order, -1).reshape(n, -1)
    found = Solve(name, transposed)(factors, a, beside).reshape(n, *lead, right)
    return found.permute(*[i + 1 for i in order], 0, -1)


def slogdet(a: Tensor) -> tuple[Tensor, Tensor]:
    """The sign and log |·| of determinants of a (…, N, N)."""
    expect_square("slogdet", a)
    factors = LUFactors()(a)
    turns = a.data.dtype.kind == "c"
    sign = PhaseOfDet()(factors, a) if turns else SignOfDet()(factors)
    return sign, LogAbsDet()(factors, a)
