"""Layer, RMS and group normalization as one operation each way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import FusedOp
from ..backend import Array
from .complex_numbers import squared_size
from .reduce import Centre

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class LayerNorm(FusedOp):
    """(x - mean) / √(var + eps) · weight + bias over the last ``count`` axes.

    Not ``centred`` it is x / √(mean(x²) + eps) · weight + bias. weight and bias have the shape of
    those axes, or are None.
    """

    only_real = True
    saves = ("x", "weight", "bias")

    def __init__(self, count: int, eps: float, centred: bool = True) -> None:
        self.count, self.eps, self.centred = count, eps, centred

    def forward(self, x: Array, weight: Array | None, bias: Array | None) -> Array:
        gain, shift = (None if a is None else a.reshape(-1) for a in (weight, bias))
        how = (self.centred, self.eps)
        y, self.stats = kernels.layer_norm.forward(self._rows(x), gain, shift, *how)
        return y.reshape(x.shape)

    def backward_arrays(self, grad: Array, x: Array, weight: Any, bias: Any) -> Any:
        gain = None if weight is None else weight.reshape(-1)
        given = (self._rows(grad), self._rows(x), gain, self.stats, self.centred)
        dx, by_weight, by_bias = kernels.layer_norm.backward(*given, self.needs)
        return (
            None if dx is None else dx.reshape(x.shape),
            None if by_weight is None else by_weight.reshape(weight.shape),
            None if by_bias is None else by_bias.reshape(bias.shape),
        )

    def reference(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        axes = tuple(range(x.ndim - self.count, x.ndim))
        y = standardized(x, axes, self.eps) if self.centred else of_unit_square(x, axes, self.eps)
        y = y if weight is None else y * weight
        found: Tensor = y if bias is None else y + bias
        return found

    def batch(self, b: BatchLevel, x: Tensor, *affine: Any) -> Tensor:
        if b.has(*affine):
            found: Tensor = b.one_by_one(lambda *given: self.again()(*given), (x, *affine))
            return found
        op = LayerNorm(self.count, self.eps, self.centred)
        return op(b.whole(x), *affine)

    def _rows(self, x: Array) -> Array:
        return x.reshape(-1, math.prod(x.shape[x.ndim - self.count :]))


class GroupNorm(FusedOp):
    """(x - mean) / √(var + eps) of each of ``groups`` groups of channels of x (N, C, …)."""

    only_real = True
    saves = ("x",)

    def __init__(self, groups: int, eps: float) -> None:
        self.groups, self.eps = groups, eps

    def forward(self, x: Array) -> Array:
        y, self.stats = kernels.layer_norm.of_groups(x, self.groups, self.eps)
        return y

    def backward_arrays(self, grad: Array, x: Array) -> Array:
        return kernels.layer_norm.of_groups_backward(grad, x, self.groups, self.stats)

    def reference(self, x: Tensor) -> Tensor:
        rows = x.reshape(x.shape[0], self.groups, math.prod(x.shape[1:]) // self.groups)
        found: Tensor = standardized(rows, (2,), self.eps).reshape(x.shape)
        return found

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        whole = b.whole(x)
        flat = whole.reshape(-1, *whole.shape[2:])
        return GroupNorm(self.groups, self.eps)(flat).reshape(whole.shape)


def in_groups(x: Any, groups: int, eps: float) -> Any:
    """x (N, C, …) normalized in groups of channels."""
    count = x.shape[0] * groups
    if count and kernels.layer_norm.suits(x._facts, math.prod(x.shape) // count):
        return GroupNorm(groups, eps)(x)
    rows = x.reshape(x.shape[0], groups, math.prod(x.shape[1:]) // groups)  # of none, too
    return standardized(rows, (2,), eps).reshape(x.shape)


def normalized(
    x: Any,
    axes: tuple[int, ...],
    eps: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    centred: bool = True,
) -> Any:
    """x normalized over ``axes``, the last ones, · weight + bias, which broadcast."""
    shape = x.shape[axes[0] :]
    fit = all(t is None or t.shape == shape for t in (weight, bias))
    if fit and kernels.layer_norm.suits(x._facts, math.prod(shape)):
        affine = [t if t is None else t.astype(x.dtype) for t in (weight, bias)]
        return LayerNorm(len(axes), eps, centred)(x, *affine)
    y = (standardized if centred else of_unit_square)(x, axes, eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def standardized(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """(x - mean) / √(var + eps) over axes, in other operations."""
    centred = Centre(axes)(x)
    return centred / (squared_size(centred).mean(axes, keepdims=True) + eps).sqrt()


def of_unit_square(x: Any, axes: tuple[int, ...], eps: float) -> Any:
    """x / √(mean(x²) + eps) over axes, in other operations."""
    return x / ((x * x).mean(axes, keepdims=True) + eps).sqrt()
