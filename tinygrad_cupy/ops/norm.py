"""Normalization of activations: batch norm and layer norm.

Batch norm works on rows (P, C): every position of every image is one row, the channel is the
column. P is N · H · W.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import blas
from ..autograd import FusedOp, TensorBase
from ..backend import Array, array_module
from ..parallel import by_parts
from .elementwise import as_float, in_single

if TYPE_CHECKING:
    from ..tensor import Tensor


def _rows(x: Array) -> Array:
    """x (N, C, …) as (P, C): a view where the channels are last in memory, else a copy."""
    return array_module(x).moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def _shaped(rows: Array, shape: tuple[int, ...]) -> Array:
    """(P, C) back to (N, C, …)."""
    n, c, *rest = shape
    return array_module(rows).moveaxis(rows.reshape(n, *rest, c), -1, 1)


def _column_means(rows: Array, term: Callable[[slice], Array]) -> Array:
    """Means of the columns of ``term``, made part by part of (P, C) and gone again.

    Added up by a product: BLAS adds in blocks, so less is rounded off than in one running sum.
    """
    xp = array_module(rows)

    def part_sum(part: slice) -> Array:
        values = term(part)
        return blas.matmul(xp.ones((1, len(values)), rows.dtype), values)[0]

    parts = by_parts(xp, part_sum, len(rows))
    return sum(parts[1:], parts[0]) / rows.dtype.type(max(len(rows), 1))


class BatchNorm(FusedOp):
    """(x - mean) / √(var + eps) · weight + bias with the statistics of this batch, per channel.

    Backward, with x̂ the normalized input:
    dx = weight / √(var + eps) · (g - mean(g) - x̂ · mean(g · x̂)).
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        rows = _rows(x)
        self.mean = _column_means(rows, lambda part: rows[part])
        self.var = _column_means(rows, lambda part: (rows[part] - self.mean) ** 2)
        self.scale = 1 / self.xp.sqrt(self.var + self.var.dtype.type(self.eps))
        y = self.xp.empty_like(rows)

        def task(part: slice) -> None:
            self.xp.subtract(rows[part], self.mean, out=y[part])
            y[part] *= self.scale * weight
            y[part] += bias

        by_parts(self.xp, task, len(rows))
        return _shaped(y, x.shape)

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        axes = (0, *range(2, len(x.shape)))
        column = (1, -1, *[1] * (len(x.shape) - 2))
        centred = x - x.mean(axes, keepdims=True)
        var = (centred * centred).mean(axes, keepdims=True)
        normal = centred / (var + self.eps).sqrt()
        return normal * weight.reshape(*column) + bias.reshape(*column)

    def backward_arrays(self, grad: Array, x: Array, weight: Array, bias: Array) -> Any:
        g, rows = _rows(grad), _rows(x)
        mean_g = _column_means(g, lambda part: g[part])
        mean_gx = self.scale * _column_means(g, lambda part: g[part] * (rows[part] - self.mean))
        dx = self.xp.empty_like(g)

        def task(part: slice) -> None:
            self.xp.subtract(rows[part], self.mean, out=dx[part])
            dx[part] *= -self.scale * mean_gx
            dx[part] += g[part]
            dx[part] -= mean_g
            dx[part] *= self.scale * weight

        if self.needs[0]:
            by_parts(self.xp, task, len(g))
        count = g.dtype.type(len(g))
        return _shaped(dx, x.shape), mean_gx * count, mean_g * count


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
        dtype = np.result_type(as_float(x).dtype, weight.dtype, bias.dtype)
        y = in_single(
            x.astype(dtype), lambda x: op(x, weight.astype(x.dtype), bias.astype(x.dtype))
        )
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

        def normalized(x: Tensor) -> Tensor:
            centred = x - x.mean(axes, keepdims=True)
            return centred / ((centred * centred).mean(axes, keepdims=True) + eps).sqrt()

        y = in_single(as_float(x), normalized)
        if weight is not None:
            y = y * weight
        return y if bias is None else y + bias


def _move(running: Tensor, batch: Array, momentum: float) -> None:
    """running += momentum · (batch - running), in place."""
    step = (batch - running.data) * running.data.dtype.type(momentum)
    running.data += step.astype(running.dtype, copy=False)
    running.bump_version()
