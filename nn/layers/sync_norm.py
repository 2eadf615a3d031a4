"""Batch norm whose statistics are those of the whole batch, also where ranks have parts of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cupy.autograd.mode import no_grad
from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor

from .norm import BatchNorm


class SyncBatchNorm(BatchNorm):
    """Batch normalization with mean and variance of the batch of all ranks (docs/many-gpus.md).

    As BatchNorm1d, 2d or 3d, whose parameters and buffers it has, of inputs (N, C, ...). Where the
    ranks of `tinygrad_cupy.distributed` have parts of a batch it gives what one process gives for
    all of it, for two exchanges of C numbers in the forward pass and two in the backward pass; in a
    process by itself, and in evaluation, it is BatchNorm.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> nn.SyncBatchNorm.convert(model)[1]
    SyncBatchNorm(4, eps=1e-05, momentum=0.1)
    """

    fuses = ("relu", "pool")
    layouts = ("N, C", "N, C, L", "N, C, H, W", "N, C, D, H, W")

    @classmethod
    def convert(cls, model: Module) -> Any:
        """The model with a SyncBatchNorm, of the same parameters and buffers, for each BatchNorm.

        Layers inside of it are replaced in place; where the model is a BatchNorm itself, its
        counterpart is returned.
        """
        if isinstance(model, BatchNorm) and not isinstance(model, cls):
            made: Any = object.__new__(cls)
            made.__dict__.update(model.__dict__)
            return made
        for holder in [module for _, module in model.named_modules()]:
            for name, value in list(vars(holder).items()):
                found = _converted(cls, value)
                if found is not value:
                    setattr(holder, name, found)
        return model

    convert_sync_batchnorm = convert

    def forward(self, x: Tensor, relu: bool = False, pool: bool = False) -> Tensor:
        share = ranks.split
        training = self.training or not self.track_running_stats
        if share is None or not training:
            return super().forward(x, relu, pool)
        checks.input_axes(self, x, *self.layouts)
        checks.input_size(self, x, 1, self.num_features, "input channels")
        observe(self, "momentum", "eps")
        y = self._normalized(x, float(share.present))
        y = y.relu() if relu else y
        return y.max_pool2d(2) if pool else y

    def _normalized(self, x: Tensor, here: float) -> Tensor:
        """`here`: 1, or 0 for a rank that has no sample and computes another's."""
        from tinygrad_cupy.distributed import all_reduce

        wide: Any = x.astype(np.float32) if x.dtype.itemsize == 2 else x
        axes, column = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
        share = ranks.split
        assert share is not None
        count = x.size // x.shape[1] // share.samples * share.total  # values of a channel, of all
        if count < 2:
            raise ValueError(
                "[SyncBatchNorm] expected more than one value per channel in training, got one "
                f"(input shape {x.shape}): a batch of one has no variance"
            )
        mean = all_reduce(wide.sum(axes) * here) / count
        centred = wide - mean.reshape(*column)
        var = all_reduce((centred * centred).sum(axes) * here) / count
        y = centred / (var + self.eps).sqrt().reshape(*column)
        if self.weight is not None:
            y = y * self.weight.astype(y.dtype).reshape(*column)
            y = y + self.bias.astype(y.dtype).reshape(*column)
        if self.training and self.track_running_stats:
            self._move(mean.detach(), var.detach() * (count / (count - 1)))
        return y.astype(x.dtype)  # type: ignore[no-any-return]

    def _move(self, mean: Tensor, var: Tensor) -> None:
        with no_grad():
            batches = self.num_batches_tracked
            batches.assign_(batches + 1)
            for kept, now in ((self.running_mean, mean), (self.running_var, var)):
                far: Any = now.astype(kept.dtype) - kept
                if self.momentum is None:
                    kept.assign_(kept + far / batches.astype(kept.dtype))
                else:
                    kept.assign_(kept + far * self.momentum)


def _converted(cls: type[SyncBatchNorm], value: Any) -> Any:
    if isinstance(value, BatchNorm) and not isinstance(value, SyncBatchNorm):
        return cls.convert(value)
    if isinstance(value, list | tuple) and any(isinstance(one, BatchNorm) for one in value):
        return type(value)(_converted(cls, one) for one in value)
    if isinstance(value, dict) and any(isinstance(one, BatchNorm) for one in value.values()):
        return {key: _converted(cls, one) for key, one in value.items()}
    return value
