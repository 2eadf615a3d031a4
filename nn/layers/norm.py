"""Normalization layers.

Letters in shapes: N batch, C channels, L length, H height, W width.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Buffer, Module, Parameter
from tinygrad_cupy.tensor import Tensor


class BatchNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, per channel (axis 1).

    Ioffe and Szegedy, "Batch normalization" (2015). In training, mean and (biased) variance are
    those of the batch, and running_mean and running_var move towards the batch's mean and unbiased
    variance by `momentum`; in evaluation the running ones are used. `weight` starts at 1, `bias` at
    0, running_mean at 0, running_var at 1. num_batches_tracked counts training batches, as in
    PyTorch's state_dict. Called with `relu` or `pool`, ReLU and MaxPool2d(2) are applied as well,
    in the same kernel. Use BatchNorm1d or BatchNorm2d.
    """

    layouts: tuple[str, ...] = ()

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.num_features = checks.integer(self, "num_features", num_features)
        self.eps = checks.positive(self, "eps", eps)
        self.momentum = checks.fraction(self, "momentum", momentum)
        self.weight = Parameter(Tensor.ones(self.num_features))
        self.bias = Parameter(Tensor.zeros(self.num_features))
        self.running_mean = Buffer(Tensor.zeros(self.num_features))
        self.running_var = Buffer(Tensor.ones(self.num_features))
        self.num_batches_tracked = Buffer(np.zeros((), np.int64), device=self.weight.device)

    def forward(self, x: Tensor, relu: bool = False, pool: bool = False) -> Tensor:
        checks.input_axes(self, x, *self.layouts)
        checks.input_size(self, x, 1, self.num_features, "input channels")
        training = self.training
        if training and x.size == self.num_features:
            raise ValueError(
                f"[{type(self).__name__}] expected more than one value per channel in training, "
                f"got one (input shape {x.shape}): a batch of one has no variance"
            )
        observe(self, "momentum", "eps")
        return x.batch_norm(
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            training=training,
            momentum=self.momentum,
            eps=self.eps,
            relu=relu,
            pool=pool,
            num_batches_tracked=self.num_batches_tracked,
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm):
    """Batch normalization of (N, C) or (N, C, L): one mean and variance for each of C channels."""

    layouts = ("N, C", "N, C, L")
    __doc__ = f"{__doc__}\n\n{BatchNorm.__doc__}"


class BatchNorm2d(BatchNorm):
    """Batch normalization of images (N, C, H, W): one mean and variance for each of C channels."""

    layouts = ("N, C, H, W",)
    fuses = ("relu", "pool")
    __doc__ = f"{__doc__}\n\n{BatchNorm.__doc__}"


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the last axes, `normalized_shape`.

    Ba, Kiros and Hinton, "Layer normalization" (2016). The biased variance; the same in training
    and evaluation. `weight` starts at 1 and `bias` at 0, both of shape `normalized_shape`;
    `elementwise_affine=False` leaves both out, `bias=False` the bias.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        shape = normalized_shape
        axes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        self.normalized_shape = tuple(
            checks.integer(self, "normalized_shape", size) for size in axes
        )
        if not axes:
            raise ValueError("[LayerNorm] normalized_shape must name at least one axis, got ()")
        self.eps = checks.positive(self, "eps", eps)
        self.weight = Parameter(Tensor.ones(*axes)) if elementwise_affine else None
        self.bias = Parameter(Tensor.zeros(*axes)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        axes = len(self.normalized_shape)
        if x.shape[-axes:] != self.normalized_shape:
            raise ValueError(
                f"[LayerNorm] expected the last {axes} axes to be {self.normalized_shape}, got "
                f"{x.shape[-axes:]} (input shape {x.shape})"
            )
        return x.layer_norm(self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
        )
