"""What the rules of linear algebra say of matrices: adjoints, triangles, diagonals, parts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import FusedOp, Op
from ..backend import Array, array_module, on_device_of
from .diagonal import Diagonal, FromDiagonal, triangle
from .matmul import MatMul

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


def swap(x: Tensor) -> Tensor:
    """Each matrix transposed, as a view."""
    return x.permute(*range(len(x.shape) - 2), -1, -2)


def adjoint(x: Tensor) -> Tensor:
    """Each matrix transposed and conjugated."""
    return swap(x).conj()


def product(*factors: Tensor) -> Tensor:
    """The product of matrices, from the left."""
    found, *others = factors
    for x in others:
        found = MatMul()(found, x)
    return found


def hermitian(x: Tensor) -> Tensor:
    """(x + xᴴ) / 2."""
    return (x + adjoint(x)) * 0.5


def from_lower(x: Tensor) -> Tensor:
    """The Hermitian matrix of which x has the lower triangle; the gradient is Hermitian, too."""
    whole, triangle = hermitian(x), lower(x)
    return whole + (triangle + adjoint(lower(x, -1)) - whole).detach()


def lower(x: Tensor, k: int = 0) -> Tensor:
    """x with zeros above the diagonal k."""
    return triangle(x, k, False, "tril")


def upper(x: Tensor, k: int = 0) -> Tensor:
    """x with zeros below the diagonal k."""
    return triangle(x, k, True, "triu")


def diagonal(x: Tensor) -> Tensor:
    """The main diagonals (…, min(M, N)) of matrices."""
    return Diagonal(0)(x)


def from_diagonal(x: Tensor) -> Tensor:
    """Matrices (…, N, N) with these diagonals (…, N)."""
    n = x.shape[-1]
    return FromDiagonal(0, (n, n))(x)


def on_diagonal(x: Tensor) -> Tensor:
    """Where the diagonal of a matrix like x is, (M, N)."""
    with on_device_of(x.data):
        return x._wrap(array_module(x.data).eye(*x.shape[-2:], dtype=bool))


def identity(x: Tensor, n: int | None = None) -> Tensor:
    """The identity (N, N) of the dtype of x (…, N), where x is."""
    with on_device_of(x.data):
        size = x.shape[-1] if n is None else n
        return x._wrap(array_module(x.data).eye(size, dtype=x.dtype))


def column(x: Tensor) -> Tensor:
    """Vectors (…, N) as matrices (…, N, 1)."""
    return x.reshape(*x.shape, 1)


def row(x: Tensor) -> Tensor:
    """Vectors (…, N) as matrices (…, 1, N)."""
    return x.reshape(*x.shape[:-1], 1, x.shape[-1])


class Part(FusedOp):
    """A part of what is packed along the last axis, from ``start`` on, in a shape; a view."""

    saves = ()
    view = True
    linear = ("packed",)

    def __init__(self, start: int, shape: tuple[int, ...]) -> None:
        self.start, self.shape = start, shape

    def forward(self, packed: Array) -> Array:
        self.size = packed.shape[-1]
        part = packed[..., self.start : self.start + math.prod(self.shape)]
        return part if len(self.shape) == 1 else part.reshape(*packed.shape[:-1], *self.shape)

    def backward_arrays(self, grad: Array) -> tuple[Array]:
        return (beside_zeros(grad, self.start, self.shape, self.size),)

    def backward(self, grad: Tensor) -> Tensor:
        return Packed(self.start, self.shape, self.size)(grad)

    def batch(self, b: BatchLevel, packed: Tensor) -> Tensor:
        return Part(self.start, self.shape)(b.whole(packed))


class Packed(Op):
    """A part of ``size`` packed elements that are 0 beside it: the adjoint of `Part`."""

    linear = ("part",)

    def __init__(self, start: int, shape: tuple[int, ...], size: int) -> None:
        self.start, self.shape, self.size = start, shape, size

    def forward(self, part: Array) -> Array:
        return beside_zeros(part, self.start, self.shape, self.size)

    def backward(self, grad: Tensor) -> Tensor:
        return Part(self.start, self.shape)(grad)

    def batch(self, b: BatchLevel, part: Tensor) -> Tensor:
        return Packed(self.start, self.shape, self.size)(b.whole(part))


def beside_zeros(part: Array, start: int, shape: tuple[int, ...], size: int) -> Array:
    """A part (…, *shape) from ``start`` on of ``size`` elements, the others 0."""
    lead = part.shape[: part.ndim - len(shape)]
    found = array_module(part).zeros((*lead, size), part.dtype)
    found[..., start : start + math.prod(shape)].reshape(part.shape)[...] = part
    return found


def parts(packed: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
    """What is packed along the last axis, each of a shape behind the leading axes."""
    found, start = [], 0
    for shape in shapes:
        found.append(Part(start, shape)(packed))
        start += math.prod(shape)
    return found


def expect_square(name: str, x: Any) -> None:
    """Raise ``ValueError`` for what is no stack of square matrices."""
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"[{name}] expected square matrices (…, N, N), got shape {tuple(x.shape)}")


def expect_matrices(name: str, x: Any) -> None:
    """Raise ``ValueError`` for what has fewer than two axes."""
    if len(x.shape) < 2:
        raise ValueError(f"[{name}] expected matrices (…, M, N), got shape {tuple(x.shape)}")


class Stated(Op):
    """x, where it is known; where ``wrong`` says that nothing is, an error on the CPU, else NaN."""

    saves = ("wrong",)
    linear = ("x",)

    def __init__(self, text: str) -> None:
        self.text = text

    def forward(self, x: Array, wrong: Array) -> Array:
        if self.xp is np:
            if wrong.any():
                raise np.linalg.LinAlgError(self.text)
            return x
        return self.xp.where(wrong, x.dtype.type(math.nan), x)

    def backward(self, grad: Tensor, wrong: Tensor) -> tuple[Tensor, None]:
        return Stated(self.text)(grad, wrong), None

    def batch(self, b: BatchLevel, x: Tensor, wrong: Tensor) -> Tensor:
        return Stated(self.text)(b.whole(x), b.whole(wrong))
