"""Matrix products."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import kernels
from ..autograd import FusedOp, Op, TensorBase
from ..autograd.autocast import as_of_products
from ..backend import Array, blas
from ..kernels.common import sums
from .activation import ReluBackward
from .promotion import in_one_dtype, is_sparse, single
from .shape import Permute

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


def _swap(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    return x.permute(*range(len(x.shape) - 2), -1, -2)


def widened(b: BatchLevel, x: Tensor, ndim: int) -> Tensor:
    """A batch with its elements in front of ``ndim`` axes; what is one for all stays as it is."""
    if not b.has(x):
        return x
    wide: Tensor = b.whole(x).reshape(b.size, *[1] * (ndim - len(x.shape)), *x.shape)
    return wide


class MatMul(Op):
    """(..., M, K) @ (..., K, N), leading axes broadcast."""

    autocast = "narrow"
    broadcasts = True
    saves = ("a", "b")
    saved_for = (1, 0)
    linear = ("a", "b")

    def forward(self, a: Array, b: Array) -> Array:
        return blas.matmul(a, b)

    def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if grad.data.dtype.itemsize == 2 and len(grad.shape) > 2:
            grad = single(grad)  # it may be summed over leading axes, and is rounded after that
        return (
            MatMul()(grad, _swap(b)) if self.needs[0] else None,  # (..., M, K)
            MatMul()(_swap(a), grad) if self.needs[1] else None,  # (..., K, N)
        )

    def batch(self, b: BatchLevel, x: Tensor, y: Tensor) -> Tensor:
        most = max(len(x.shape), len(y.shape))
        wide = [widened(b, one, most) for one in (x, y)]
        return MatMul()(*wide)


class Linear(FusedOp):
    """x @ weight.T + bias for x (N, I), weight (O, I), bias (O,)."""

    autocast = "narrow"
    saves: ClassVar[tuple[str, ...]] = ("x", "weight")
    saved_for: ClassVar[tuple[int | None, ...]] = (1, 0)
    linear: ClassVar[tuple[str, ...]] = ("x", "weight")
    added: ClassVar[tuple[str, ...]] = ("bias",)
    relu: ClassVar[bool] = False

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        return kernels.matmul.linear(x, weight, bias, self.relu)

    def backward_arrays(
        self, grad: Array, x: Array | None, weight: Array | None, y: Array | None = None
    ) -> Any:
        needs = (*self.needs, False)[:3]  # there may be no bias
        found = kernels.matmul.linear_backward(grad, x, weight, y, needs)
        return found[: len(self.needs)]

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, y: Tensor | None = None
    ) -> tuple[Tensor | None, ...]:
        if y is not None:
            grad = ReluBackward()(grad, y.detach())
        needs = (*self.needs, False)[:3]
        found = (
            MatMul()(grad, weight) if needs[0] else None,  # (N, I)
            MatMul()(Permute((1, 0))(grad), x) if needs[1] else None,  # (O, I)
            grad.sum(axis=0) if needs[2] else None,  # (O,)
        )
        return found[: len(self.needs)]

    def batch(self, b: BatchLevel, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        given = () if bias is None else (bias,)
        if not b.has(weight, *given):
            return b.split(type(self)()(b.join(x, 0), weight, *given), 0)  # type: ignore[no-any-return]
        if b.repeats(weight, *given):
            y = EachLinear()(*[b.whole(one) for one in (x, weight, *given)])
            return y.relu() if self.relu else y
        y = MatMul()(b.whole(x), _swap(b.whole(weight)))  # (B, N, O)
        y = y + b.whole(bias).unsqueeze(1) if bias is not None else y
        return y.relu() if self.relu else y


class EachLinear(FusedOp):
    """A layer of a batch x (B, N, I) by one weight, whose gradients are each their own.

    weight (B, O, I) and bias (B, O) repeat one.
    """

    autocast = "narrow"
    saves: ClassVar[tuple[str, ...]] = ("x", "weight")
    saved_for: ClassVar[tuple[int | None, ...]] = (1, 0)
    linear: ClassVar[tuple[str, ...]] = ("x", "weight")

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        rows = x.reshape(-1, x.shape[2])
        y = kernels.matmul.linear(rows, weight[0], None if bias is None else bias[0], False)
        return y.reshape(*x.shape[:2], -1)

    def backward_arrays(self, grad: Array, x: Array | None, weight: Array | None) -> Any:
        dx, dw = None, None
        if self.needs[0] and weight is not None:
            rows = blas.matmul(grad.reshape(-1, grad.shape[2]), weight[0])  # (B · N, I)
            dx = rows.reshape(*grad.shape[:2], -1)
        if self.needs[1] and x is not None:
            dw = blas.matmul(grad.transpose(0, 2, 1), x)  # (B, O, I)
        found = dx, dw, sums.total(grad, (1,)) if self.needs[-1] else None
        return found[: len(self.needs)]

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        found = (
            MatMul()(grad, weight) if self.needs[0] else None,
            MatMul()(_swap(grad), x) if self.needs[1] else None,
            grad.sum(1) if self.needs[-1] else None,
        )
        return found[: len(self.needs)]


class LinearRelu(Linear):
    """max(x @ weight.T + bias, 0); the gradient where that is 0 is 0."""

    only_real = True
    saves = ("x", "weight", "y")
    saved_for = (1, 0, None)
    linear = ()
    added = ()
    relu = True


def beside_sparse(x: TensorBase, matrix: Any, left: bool) -> Tensor:
    """The product of a tensor and a sparse matrix, with x to the ``left``; done a floor above."""
    product: Tensor = importlib.import_module("tinygrad_cupy.sparse").product(matrix, x, left)
    return product


class MatmulMixin(TensorBase):
    """Matrix products as methods and operators."""

    __slots__ = ()

    def matmul(self, other: Any) -> Tensor:
        """Matrix product, NumPy's rules: 1-D operands are vectors, leading axes broadcast.

        (…, M, K) by (…, K, N) is (…, M, N). How float32 is multiplied on a GPU, `set_precision`
        says. other may be a sparse matrix of SciPy or of CuPy. Raises ``TypeError`` when it is no
        tensor and no array, ``ValueError`` when shapes do not fit or an operand has no axis.
        """
        a: Any = self
        if is_sparse(other):
            return beside_sparse(self, other, left=True)
        given, other = other, a._operand(other, kept=True)
        if not isinstance(other, TensorBase):
            raise TypeError(f"[matmul] expected a tensor or an array, got {type(given).__name__}")
        b: Any = other
        if not a.shape or not b.shape:
            raise ValueError(f"[matmul] expected at least 1 axis each, got {a.shape} and {b.shape}")
        drop: tuple[int, ...] = ()
        if len(a.shape) == 1:
            a, drop = a.unsqueeze(0), (*drop, -2)
        if len(b.shape) == 1:
            b, drop = b.unsqueeze(1), (*drop, -1)
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"[matmul] expected the last axis of {self.shape} to match "
                f"the next-to-last of {tuple(other.shape)}"
            )
        try:
            np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError as error:
            raise ValueError(
                f"[matmul] leading axes of {self.shape} and {tuple(other.shape)} do not broadcast"
            ) from error
        product = MatMul()(a, b)
        return product.squeeze(drop) if drop else product

    def __matmul__(self, other: Any) -> Tensor:
        return self.matmul(other)

    def __rmatmul__(self, other: Any) -> Tensor:
        left: Any = self
        if is_sparse(other):
            return beside_sparse(self, other, left=False)
        left = left._operand(other, kept=True)
        if not isinstance(left, TensorBase):
            return NotImplemented
        return left.matmul(self)  # type: ignore[attr-defined, no-any-return]

    def linear(self, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
        """self @ weight.T + bias for self (..., I), weight (O, I) and bias (O,): (..., O).

        With ``relu``, `relu()` of that, computed in the same kernel on a GPU. The inputs are
        promoted to one dtype; how float32 is multiplied on a GPU, `set_precision` says. Raises
        ``ValueError`` when shapes do not fit.
        """
        x: Any = self
        if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"[linear] expected input (..., I) and weight (O, I), got {x.shape} and "
                f"{weight.shape}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"[linear] expected bias {weight.shape[:1]}, got {bias.shape}")
        rows = x if len(x.shape) == 2 else x.reshape(-1, x.shape[-1])
        inputs = (rows, weight) if bias is None else (rows, weight, bias)
        y = (LinearRelu if relu else Linear)()(*in_one_dtype(*as_of_products(*inputs)))
        return y if len(x.shape) == 2 else y.reshape(*x.shape[:-1], weight.shape[0])
