"""Eigenvalues and eigenvectors of Hermitian matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op
from ..autograd.levels import Tracer
from ..autograd.mode import mode
from ..backend import Array
from ..kernels.linalg.reference import NOISE, closeness
from .matrices import (
    Stated,
    adjoint,
    column,
    diagonal,
    expect_square,
    hermitian,
    on_diagonal,
    parts,
    product,
    row,
    swap,
)

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

TURNS = (
    "[{}] there is no gradient: the result depends on the phases of complex vectors, which are "
    "arbitrary"
)
EQUAL = (
    "[{}] there is no gradient where eigenvalues (or singular values) are equal: the result "
    "depends on which basis of their vectors' space is taken, or as much is not known from the "
    "gradient by each; of values alone take eigvalsh (svdvals)"
)


def are_close(values: Tensor, others: Tensor, scale: Tensor) -> Tensor:
    """Whether values are equal to rounding, beside the largest of (…, N)."""
    largest = column(column(scale.detach().abs().max(-1, initial=0)))
    limit = largest * closeness(values.dtype)
    return (values.detach() - others.detach()).abs() <= limit


def of_any_phase(name: str, turned: Tensor) -> Tensor:
    """Vᴴ G of complex vectors, on whose diagonal is how a result changes with their phases.

    The phases are arbitrary: a result that depends on them, beyond rounding, has no derivative.
    """
    if turned.dtype.kind != "c":
        return turned
    found = turned.detach()
    noise = float(np.finfo(found.dtype).eps) ** 0.5
    largest = column(column(found.abs().max((-2, -1), initial=0)))
    wrong = on_diagonal(found) & (found.imag.abs() > largest * noise)
    wrong = wrong.any((-2, -1), keepdims=True)  # the diagonal alone may not be read any further
    return Stated(TURNS.format(name))(turned, wrong)


def spread(
    name: str, turned: Tensor, by_values: Tensor, values: Tensor, distinct: bool, alone: bool
) -> Tensor:
    """The gradient by a Hermitian matrix in the frame of its eigenvectors V, (…, N, N).

    ``turned`` is Vᴴ G of the gradient G by V. Where eigenvalues differ it is the part of this that
    turns vectors into each other, over the difference. Among vectors of equal eigenvalues
    there is no such part where a derivative exists, for any basis is as good as another. Of a
    function of V f(Λ) Vᴴ the gradient there is Vᴴ G times f′ / f, which is read off the diagonals;
    of symmetric functions of the eigenvalues, or of the space of the vectors, alone it is 0. Of
    eigenvalues ``alone`` functions that are not symmetric have the slope that their vectors say.
    """
    turned, one = of_any_phase(name, turned), on_diagonal(turned)
    gaps = row(values) - column(values)
    turning = (turned - adjoint(turned)) * 0.5
    if distinct:
        return row(by_values).where(one, turning / gaps.where(~one, 1))
    equal = are_close(row(values), column(values), values)
    found = turning / gaps.where(~equal, 1)
    kept = diagonal(turned).real
    rows, columns = column(kept), row(kept)
    size = rows * rows + columns * columns
    there = size.detach() > 0
    ratio = column(by_values) * rows + row(by_values) * columns
    ratio = (ratio / size.where(there, 1)).where(there, 0)
    within = ratio * hermitian(turned)
    wrong = _unknown(turned.detach(), by_values.detach(), alone) & equal & ~one
    found = Stated(EQUAL.format(name))(within.where(equal, found), wrong)
    return row(by_values).where(one, found)


def _unknown(turned: Tensor, by_values: Tensor, alone: bool) -> Tensor:
    """Where, between equal eigenvalues, no derivative agrees with both gradients (booleans)."""
    eps = float(np.finfo(by_values.dtype).eps) * NOISE
    noise = column(column(turned.abs().max((-2, -1), initial=0))) * eps
    steep = column(column(by_values.abs().max(-1, initial=0)))
    turning = (turned - adjoint(turned)).abs() > noise
    kept = diagonal(turned).real
    rows, columns, by_row, by_column = column(kept), row(kept), column(by_values), row(by_values)
    flat = (by_row.abs() <= steep * eps) & (by_column.abs() <= steep * eps)
    some = (rows.abs() > noise) | (columns.abs() > noise)
    ratio = some & ((by_row * columns - by_column * rows).abs() <= noise * steep)
    symmetric = turned.abs() <= noise
    if not alone:
        symmetric = symmetric & ((by_row - by_column).abs() <= steep * eps)
    return turning | ~(flat | ratio | symmetric)


def is_nothing(x: Tensor) -> bool:
    """Whether x, a gradient, is 0 and stays so; of a GPU and inside of a transform nobody knows."""
    if isinstance(x, Tracer) or x.requires_grad:  # a tangent is the slope by a gradient that is 0
        return False
    return type(x.data) is np.ndarray and not x.data.any()


class Eigh(FusedOp):
    """Eigenvectors, as rows, and eigenvalues of Hermitian a (…, N, N), packed.

    One triangle of a is read; the gradient is that by a Hermitian matrix, itself Hermitian.
    """

    saves = ("y",)

    def __init__(self, lower: bool, name: str = "eigh") -> None:
        self.lower, self.name = lower, name

    def forward(self, a: Array) -> Array:
        n = a.shape[-1]
        packed = kernels.linalg.eigh(a, self.lower)
        self.distinct = self.xp is np and kernels.linalg.are_distinct(packed[..., n * n :])
        self.sides = (n, n)
        return packed

    def backward_arrays(self, grad: Array, y: Array) -> tuple[Array]:
        known = self.distinct, self.name == "eigvalsh"
        texts = TURNS.format(self.name), EQUAL.format(self.name)
        return (kernels.linalg.eigh_backward(grad, y, *known, *texts),)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        n = self.sides[0]
        rows, values = parts(y, self.sides, (n,))
        by_rows, by_values = parts(grad.conj(), self.sides, (n,))  # the steepest ascent
        vectors, alone = swap(rows), self.name == "eigvalsh"
        if is_nothing(by_rows) and (alone or self.distinct):
            return product(vectors * row(by_values), adjoint(vectors)).conj()
        turned = product(rows.conj(), swap(by_rows))
        given = by_values.real, values.real, self.distinct, alone
        inner = spread(self.name, turned, *given)
        return product(vectors, inner, adjoint(vectors)).conj()

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Eigh(self.lower, self.name)(b.whole(a))


class EigenvaluesAlone(Op):
    """The eigenvalues where no gradient is wanted, which takes less time."""

    differentiable = False

    def __init__(self, lower: bool) -> None:
        self.lower = lower

    def forward(self, a: Array) -> Array:
        return kernels.linalg.eigvalsh(a, self.lower)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return EigenvaluesAlone(self.lower)(b.whole(a))


def is_followed(x: Tensor) -> bool:
    """Whether a gradient or a tangent of what is computed of x may be wanted."""
    return isinstance(x, Tracer) or (x.requires_grad and mode.recording)


def eigh(a: Tensor, lower: bool = True) -> tuple[Tensor, Tensor]:
    """Eigenvalues (…, N), ascending, and eigenvectors (…, N, N), its columns, of Hermitian a."""
    expect_square("eigh", a)
    n = a.shape[-1]
    rows, values = parts(Eigh(lower)(a), (n, n), (n,))
    return values.real, swap(rows)


def eigvalsh(a: Tensor, lower: bool = True) -> Tensor:
    """The eigenvalues of `eigh` alone."""
    expect_square("eigvalsh", a)
    if not is_followed(a):
        return EigenvaluesAlone(lower)(a)
    n = a.shape[-1]
    return parts(Eigh(lower, "eigvalsh")(a), (n, n), (n,))[1].real
