"""Diagonals and triangles of matrices."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import Op
from ..backend import Array, array_module, on_device_of
from .arrange import ArrangeMixin, one_axis

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Diagonal(Op):
    """The diagonal ``offset`` above the main one, of the last two axes, as a view."""

    view = True
    linear = ("x",)

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def forward(self, x: Array) -> Array:
        self.sides = x.shape[-2:]
        return kernels.diagonal.view(x, self.offset)

    def backward(self, grad: Tensor) -> Tensor:
        return FromDiagonal(self.offset, self.sides)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Diagonal(self.offset)(b.whole(x))


class FromDiagonal(Op):
    """Matrices (…, rows, columns) of zeros with a diagonal: the adjoint of `Diagonal`."""

    linear = ("values",)

    def __init__(self, offset: int, sides: tuple[int, int]) -> None:
        self.offset, self.sides = offset, sides

    def forward(self, values: Array) -> Array:
        out = self.xp.zeros((*values.shape[:-1], *self.sides), values.dtype)
        kernels.diagonal.view(out, self.offset)[...] = values
        return out

    def backward(self, grad: Tensor) -> Tensor:
        return Diagonal(self.offset)(grad)

    def batch(self, b: BatchLevel, values: Tensor) -> Tensor:
        return FromDiagonal(self.offset, self.sides)(b.whole(values))


def triangle(x: Tensor, k: int, upper: bool, name: str) -> Tensor:
    """x with zeros below (``upper``) or above the diagonal k; of one axis, repeated as rows."""
    if not x.shape:
        raise ValueError(f"[{name}] expected at least one axis, got shape ()")
    if len(x.shape) == 1:
        x = x.broadcast_to(x.shape[0], x.shape[0])
    k = operator.index(k)
    with on_device_of(x.data):
        below = array_module(x.data).tri(*x.shape[-2:], k - upper, bool)
    zero = False if x.dtype == bool else 0
    return x.where(~below if upper else below, zero)


def diag(x: Tensor, k: int = 0) -> Tensor:
    """The matrix with x (n,) on its diagonal k, or the diagonal k of a matrix."""
    k = operator.index(k)
    if len(x.shape) == 1:
        side = x.shape[0] + abs(k)
        return FromDiagonal(k, (side, side))(x)
    if len(x.shape) != 2:
        raise ValueError(f"[diag] expected one or two axes, got shape {x.shape}")
    return Diagonal(k)(x)


class DiagonalMixin(ArrangeMixin):
    """Diagonals as methods."""

    __slots__ = ()

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """A view of the diagonal of two axes, which becomes the last axis.

        ``offset`` counts to the right of the main diagonal, along ``axis2``.
        """
        ndim = len(self.shape)
        if ndim < 2:
            raise ValueError(f"[diagonal] expected at least two axes, got shape {self.shape}")
        first, second = one_axis(axis1, ndim, "diagonal"), one_axis(axis2, ndim, "diagonal")
        if first == second:
            raise ValueError(f"[diagonal] expected two different axes, got {axis1} and {axis2}")
        others = [axis for axis in range(ndim) if axis not in (first, second)]
        order = [*others, first, second]
        moved: Any = self if order == list(range(ndim)) else self.permute(order)
        return Diagonal(operator.index(offset))(moved)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Tensor:
        """The sum along the diagonal of two axes; see `diagonal`."""
        found = self.diagonal(offset, axis1, axis2)
        return (found if dtype is None else found.astype(dtype)).sum(-1)
