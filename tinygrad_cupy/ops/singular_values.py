"""Singular values and vectors, and what is computed by them: pseudo-inverses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op
from ..backend import Array
from .matrices import (
    Stated,
    adjoint,
    column,
    expect_matrices,
    on_diagonal,
    parts,
    product,
    row,
)
from .shape import concat
from .spectrum import are_close, is_followed, is_nothing, spread

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


def _shapes(rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
    """Of U, Vᴴ and the singular values."""
    k = min(rows, columns)
    return (rows, k), (k, columns), (k,)


class Svd(Op):
    """U, Vᴴ and the singular values of a (…, M, N), packed."""

    saves = ("y",)

    def __init__(self, name: str = "svd") -> None:
        self.name = name

    def forward(self, a: Array) -> Array:
        self.sides = a.shape[-2:]
        packed = kernels.linalg.svd(a)
        values = packed[..., packed.shape[-1] - min(self.sides) :].real
        self.distinct = self.xp is np and kernels.linalg.are_distinct(values, True)
        return packed

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        u, vh, s = parts(y, *_shapes(*self.sides))
        by_u, by_vh, by_s = parts(grad.conj(), *_shapes(*self.sides))  # the steepest ascent
        s, by_s, alone = s.real, by_s.real, self.name not in ("svd", "eigh")
        if is_nothing(by_u) and is_nothing(by_vh) and (alone or self.distinct):
            return product(u * row(by_s), vh).conj()
        of_u, of_v = product(adjoint(u), by_u), product(vh, adjoint(by_vh))  # Uᴴ G, Vᴴ G
        inner = spread(self.name, of_u + of_v, by_s, s, self.distinct, alone)
        apart = of_u - of_v
        apart, sums = (apart - adjoint(apart)) * 0.5, row(s) + column(s)
        if self.distinct:
            inner = inner + apart / sums
        else:
            none = are_close(sums, sums * 0, s)
            wrong = none & ~on_diagonal(none) & ((of_u.detach() != 0) | (of_v.detach() != 0))
            apart = Stated(self._text)(apart, wrong)
            inner = inner + apart / sums.where(~none, 1)
        found = product(u, inner, vh)
        rows, columns = self.sides
        if rows > columns:  # what leaves the space that U spans
            left = self._over(by_u - product(u, of_u), row(s))
            found = found + product(left, vh)
        if columns > rows:
            right = self._over(by_vh - product(adjoint(of_v), vh), column(s))
            found = found + product(u, right)
        return found.conj()

    @property
    def _text(self) -> str:
        return (
            f"[{self.name}] a gradient by singular vectors is not defined where a singular value "
            "is 0, for any vector would do"
        )

    def _over(self, x: Tensor, s: Tensor) -> Tensor:
        if self.distinct:
            return x / s
        *lead, rows, columns = s.shape
        scale = s.reshape(*lead, rows * columns)
        none = are_close(s, s * 0, scale)
        wrong = none & (x.detach() != 0)
        return Stated(self._text)(x, wrong) / s.where(~none, 1)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Svd(self.name)(b.whole(a))


class SingularValuesAlone(Op):
    """The singular values where no gradient is wanted, which takes less time."""

    differentiable = False

    def forward(self, a: Array) -> Array:
        return kernels.linalg.svdvals(a)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return SingularValuesAlone()(b.whole(a))


class Beyond(Op):
    """Columns of U or rows of Vᴴ that go with no singular value, and have no gradient."""

    saves = ("a",)

    def __init__(self, left: bool) -> None:
        self.left = left

    def forward(self, a: Array) -> Array:
        u, vh = kernels.linalg.bases(a)
        k = min(a.shape[-2:])
        return u[..., k:] if self.left else vh[..., k:, :]

    def backward(self, grad: Tensor, a: Tensor) -> Tensor:
        text = (
            "[svd] vectors that go with no singular value have no gradient: leave them out with "
            "full_matrices=False"
        )
        wrong = (grad.detach() != 0).any((-2, -1), keepdims=True).broadcast_to(a.shape)
        return Stated(text)(a._zeros(), wrong)

    def batch(self, b: BatchLevel, a: Tensor) -> Tensor:
        return Beyond(self.left)(b.whole(a))


class Pinv(Op):
    """The Moore-Penrose inverse (…, N, M) of a (…, M, N), given its packed `Svd`.

    Singular values up to ``cutoff`` times the largest (a number, or an array (…)) count as 0. The
    gradient is that of Golub and Pereyra (1973), where the rank does not change.
    """

    saves = ("a", "y")

    def __init__(self, cutoff: Any) -> None:
        self.cutoff = cutoff

    def forward(self, a: Array, packed: Array) -> Array:
        return kernels.linalg.pinv(packed, a.shape[-2], a.shape[-1], self.cutoff)

    def backward(self, grad: Tensor, a: Tensor, y: Tensor) -> tuple[Tensor, None]:
        grad = grad.conj()  # the steepest ascent
        back, turned = adjoint(y), adjoint(grad)  # (…, M, N)
        first = product(back, grad, back)
        if a.shape[-2] >= a.shape[-1]:  # in an order without products (…, M, M), else (…, N, N)
            outer = product(turned, product(y, back))
            inner = product(y, turned)
            third = product(back, inner - product(inner, product(y, a)))
        else:
            outer = product(product(turned, y), back)
            inner = product(product(back, y), turned)
            third = inner - product(product(inner, y), a)
        found = outer - product(a, product(y, outer)) + third - first
        return found.conj(), None

    def batch(self, b: BatchLevel, a: Tensor, packed: Tensor) -> Tensor:
        return Pinv(self.cutoff)(b.whole(a), b.whole(packed))


def svd(a: Tensor, name: str = "svd") -> tuple[Tensor, Tensor, Tensor]:
    """U (…, M, K), the singular values (…, K), descending, and Vᴴ (…, K, N) of a (…, M, N)."""
    expect_matrices(name, a)
    u, vh, s = parts(Svd(name)(a), *_shapes(*a.shape[-2:]))
    return u, s.real, vh


def full_svd(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `svd`, with square U and Vᴴ."""
    u, s, vh = svd(a)
    rows, columns = a.shape[-2:]
    if rows > columns:
        u = concat([u, Beyond(True)(a)], -1)
    if columns > rows:
        vh = concat([vh, Beyond(False)(a)], -2)
    return u, s, vh


def _values(a: Tensor, packed: Tensor) -> Tensor:
    return packed[..., packed.shape[-1] - min(a.shape[-2:]) :].real


def svdvals(a: Tensor, name: str = "svdvals") -> Tensor:
    """The singular values of `svd` alone."""
    expect_matrices(name, a)
    if not is_followed(a):
        return SingularValuesAlone()(a)
    return _values(a, Svd(name)(a))


def pinv(a: Tensor, cutoff: Any) -> tuple[Tensor, Tensor]:
    """The Moore-Penrose inverse, and the singular values."""
    expect_matrices("pinv", a)
    packed = Svd("pinv")(a)
    return Pinv(cutoff)(a, packed), _values(a, packed)
