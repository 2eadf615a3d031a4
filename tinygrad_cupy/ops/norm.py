"""Normalization of activations: batch norm and layer norm.

Batch norm works on rows (P, C): every position of every image is one row, the channel is the
column. P is N · H · W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import blas
from ..autograd import FusedOp, TensorBase
from ..backend import Array, array_module

if TYPE_CHECKING:
    from ..tensor import Tensor


def _rows(x: Array) -> Array:
    """x (N, C, …) as (P, C): a view where the channels are last in memory, else a copy."""
    return array_module(x).moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def _shaped(rows: Array, shape: tuple[int, ...]) -> Array:
    """(P, C) back to (N, C, …)."""
    n, c, *rest = shape
    return array_module(rows).moveaxis(rows.reshape(n, *rest, c), -1, 1)


def _column_means(rows: Array) -> Array:
    """Means of the columns of (P, C), by a product: BLAS adds in blocks, so less is rounded off."""
    ones = array_module(rows).full((1, len(rows)), 1 / max(len(rows), 1), rows.dtype)
    return blas.matmul(ones, rows)[0]


class BatchNorm(FusedOp):
    """(x - mean) / √(var + eps) · weight + bias with the statistics of this batch, per channel.

    Backward, with x̂ the normalized input:
    dx = weight / √(var + eps) · (g - mean(g) - x̂ · mean(g · x̂)).
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        rows = _rows(x)
        self.mean = _column_means(rows)
        normal = rows - self.mean
        self.var = _column_means(normal * normal)
        self.scale = 1 / self.xp.sqrt(self.var + self.var.dtype.type(self.eps))
        normal *= self.scale * weight
        normal += bias
        return _shaped(normal, x.shape)

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        axes = (0, *range(2, len(x.shape)))
        column = (1, -1, *[1] * (len(x.shape) - 2))
        centred = x - x.mean(axes, keepdims=True)
        var = (centred * centred).mean(axes, keepdims=True)
        normal = centred / (var + self.eps).sqrt()
        return normal * weight.reshape(*column) + bias.reshape(*column)

    def backward_arrays(self, grad: Array, x: Array, weight: Array, bias: Array) -> Any:
        g = _rows(grad)
        normal = _rows(x) - self.mean
        normal *= self.scale
        mean_g = _column_means(g)
        mean_gx = _column_means(g * normal)
        count = g.dtype.type(len(g))
        dx = None
        if self.needs[0]:
            normal *= -mean_gx
            normal += g
            normal -= mean_g
            normal *= self.scale * weight
            dx = _shaped(normal, x.shape)
        return dx, mean_gx * count, mean_g * count


class NormMixin(TensorBase):
    """Normalizations as methods."""

    __slots__ = ()

    def batch_norm(
        self,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        training: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Batch normalization (Ioffe & Szegedy 2015) of self (N, C, …) per channel.

        Training: normalized by the mean and the variance (÷ P) of this batch, and the running
        statistics move in place, running += momentum · (batch - running), the variance unbiased
        (÷ (P - 1)), as in PyTorch. Otherwise: normalized by the running statistics.
        """
        x: Any = self
        channels = x.shape[1] if len(x.shape) > 1 else None
        if any(t.shape != (channels,) for t in (weight, bias, running_mean, running_var)):
            raise ValueError(
                f"[batch_norm] expected input (N, C, …) with C = {weight.shape[0]}, got shape "
                f"{x.shape}"
            )
        if not training:
            column = (1, -1, *[1] * (len(x.shape) - 2))
            scale = weight / (running_var + eps).sqrt()
            shift = bias - running_mean * scale
            return x * scale.reshape(*column) + shift.reshape(*column)  # type: ignore[no-any-return]
        count = x.data.size // max(x.shape[1], 1)
        if count < 2:
            raise ValueError(
                f"[batch_norm] expected more than one value per channel in training, got shape "
                f"{x.shape}"
            )
        op = BatchNorm(eps)
        y = op(x, weight, bias)
        _move(running_mean, op.mean, momentum)
        _move(running_var, op.var * op.var.dtype.type(count / (count - 1)), momentum)
        return y

    def layer_norm(
        self,
        normalized_shape: int | tuple[int, ...],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Layer normalization (Ba et al. 2016) over the last axes, whose shape is given.

        (x - mean) / √(var + eps) · weight + bias, the variance divided by the number of elements.
        """
        x: Any = self
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        if not shape or x.shape[-len(shape) :] != shape:
            raise ValueError(f"[layer_norm] expected last axes {shape}, got shape {x.shape}")
        axes = tuple(range(-len(shape), 0))
        centred = x - x.mean(axes, keepdims=True)
        y: Tensor = centred / ((centred * centred).mean(axes, keepdims=True) + eps).sqrt()
        if weight is not None:
            y = y * weight
        return y if bias is None else y + bias


def _move(running: Tensor, batch: Array, momentum: float) -> None:
    """running += momentum · (batch - running), in place."""
    step = (batch - running.data) * running.data.dtype.type(momentum)
    running.data += step.astype(running.dtype, copy=False)
    running.bump_version()
