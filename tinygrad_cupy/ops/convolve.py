"""Convolution of sequences, and between which of a grid's points numbers lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op
from ..backend import Array
from ..backend.dtypes import is_narrow

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Convolve(Op):
    """Σ a[k] v[n - k], in full: of A and V elements A + V - 1. Any leading axes are a batch."""

    saves = ("a", "v")
    saved_for = (1, 0)
    linear = ("a", "v")

    def forward(self, a: Array, v: Array) -> Array:
        return kernels.convolve.convolve(a, v)

    def backward(self, grad: Tensor, a: Tensor, v: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            _inside(grad, v, self.inputs[0]) if self.needs[0] else None,
            _inside(grad, a, self.inputs[1]) if self.needs[1] else None,
        )

    def batch(self, b: BatchLevel, a: Tensor, v: Tensor) -> Tensor:
        return Convolve()(b.whole(a), b.whole(v))


def _inside(grad: Tensor, other: Tensor, wanted: Any) -> Tensor:
    """The gradient by one of the two: that part of grad ∗ (other turned round) which is all of it.

    It is of the dtype that both meet in.
    """
    shape, dtype = wanted
    start = other.shape[-1] - 1
    found = Convolve()(grad, other[..., ::-1])[..., start : start + shape[-1]]
    return found.sum_to(shape).astype(dtype)


class Bracket(Op):
    """How many of a sorted sequence's numbers are no larger than x, as int64."""

    differentiable = False

    def forward(self, points: Array, x: Array) -> Array:
        if is_narrow(points.dtype) or is_narrow(x.dtype):
            points, x = points.astype(np.float32), x.astype(np.float32)
        found = self.xp.searchsorted(points, x.reshape(-1), side="right")
        return found.reshape(x.shape).astype(np.int64)

    def batch(self, b: BatchLevel, points: Tensor, x: Tensor) -> Tensor:
        if not b.has(points):
            return Bracket()(points, b.whole(x))
        below = b.whole(points).reshape(b.size, *[1] * len(x.shape), -1)
        counted: Tensor = (below <= b.whole(x).unsqueeze(-1)).sum(-1)
        return counted
