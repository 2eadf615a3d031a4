"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import blas
from ..autograd import Op, TensorBase
from ..backend import Array

if TYPE_CHECKING:
    from ..tensor import Tensor


def _swap(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    return x.permute(*range(len(x.shape) - 2), -1, -2)


class MatMul(Op):
    """(..., M, K) @ (..., K, N), leading axes broadcast."""

    broadcasts = True
    saves = ("a", "b")
    read_for = (1, 0)

    def forward(self, a: Array, b: Array) -> Array:
        return blas.matmul(a, b)

    def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            MatMul()(grad, _swap(b)) if self.needs[0] else None,  # (..., M, K)
            MatMul()(_swap(a), grad) if self.needs[1] else None,  # (..., K, N)
        )


class Linear(Op):
    """x @ weight.T + bias for x (N, I), weight (O, I), bias (O,)."""

    saves = ("x", "weight")
    read_for = (1, 0)

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = blas.matmul(x, weight.T)  # (N, O)
        if bias is not None:
            y += bias
        return y

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
        found = (
            MatMul()(grad, weight) if self.needs[0] else None,  # (N, I)
            MatMul()(grad.T, x) if self.needs[1] else None,  # (O, I)
        )
        if len(self.needs) == 2:
            return found
        return (*found, grad.sum(axis=0) if self.needs[2] else None)


class LinalgMixin(TensorBase):
    """Matrix products as methods and operators."""

    __slots__ = ()

    def matmul(self, other: Any) -> Tensor:
        """Matrix product, NumPy's rules: 1-D operands are vectors, leading axes broadcast."""
        a: Any = self
        given, other = other, a._operand(other)
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
        return self._wrap(np.asarray(other) if isinstance(other, list) else other).matmul(self)

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """self @ weight.T + bias, for self (..., I), weight (O, I) and bias (O,)."""
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
        dtype = np.result_type(*[t.dtype for t in inputs])
        y = Linear()(*[t.astype(dtype) for t in inputs])
        return y if len(x.shape) == 2 else y.reshape(*x.shape[:-1], weight.shape[0])
