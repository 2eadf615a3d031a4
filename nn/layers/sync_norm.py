"""Batch norm whose statistics are those of the whole batch, also where ranks have parts of it."""

from __future__ import annotations

from typing import Any

from tinygrad_cupy.nn.module import Module

from .norm import BatchNorm


class SyncBatchNorm(BatchNorm):
    """Batch normalization with mean and variance of the batch of all ranks (docs/many-gpus.md).

    As BatchNorm1d, 2d or 3d, whose parameters and buffers it has, of inputs (N, C, ...). Where the
    ranks of `tinygrad_cupy.distributed` have parts of a batch it gives what one process gives for
    all of it, whatever the sizes of the images on each, for one exchange of 2 C numbers in the
    forward pass and one in the backward pass; in a process by itself, and in evaluation, it is
    BatchNorm.

    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> nn.SyncBatchNorm.convert(model)[1]
    SyncBatchNorm(4, eps=1e-05, momentum=0.1)
    """

    _synchronized = True
    fuses = ("relu", "relu6", "pool")
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


def _converted(cls: type[SyncBatchNorm], value: Any) -> Any:
    if isinstance(value, BatchNorm) and not isinstance(value, SyncBatchNorm):
        return cls.convert(value)
    if isinstance(value, list | tuple) and any(isinstance(one, BatchNorm) for one in value):
        return type(value)(_converted(cls, one) for one in value)
    if isinstance(value, dict) and any(isinstance(one, BatchNorm) for one in value.values()):
        return {key: _converted(cls, one) for key, one in value.items()}
    return value
