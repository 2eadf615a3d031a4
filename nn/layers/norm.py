"""Normalization layers.

Letters in shapes: N batch, C channels, D depth, H height, W width, L length.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Buffer, Module, Parameter
from tinygrad_cupy.tensor import Tensor


class _Channels(Module):
    """What norms of channels have: a scale, a shift and running statistics, each (C,) or None."""

    layouts: tuple[str, ...] = ()
    _may_lack = ("num_batches_tracked",)  # as files of PyTorch before 0.4.1 do
    # As they are by default; None where they are left out.
    weight: Parameter
    bias: Parameter
    running_mean: Buffer
    running_var: Buffer
    num_batches_tracked: Buffer

    def _set_up(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
    ) -> None:
        count = self.num_features = checks.integer(self, "num_features", num_features)
        self.eps = checks.positive(self, "eps", eps)
        if momentum is not None:
            momentum = checks.fraction(self, "momentum", momentum)
        self.momentum = momentum
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        nothing: Any = None
        self.weight = Parameter(Tensor.ones(count)) if affine else nothing
        self.bias = Parameter(Tensor.zeros(count)) if affine else nothing
        self.running_mean = self.running_var = self.num_batches_tracked = nothing
        if track_running_stats:
            self.running_mean = Buffer(Tensor.zeros(count))
            self.running_var = Buffer(Tensor.ones(count))
            device = self.running_mean.device
            self.num_batches_tracked = Buffer(np.zeros((), np.int64), device=device)


class BatchNorm(_Channels):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, per channel (axis 1).

    Ioffe and Szegedy, "Batch normalization" (2015). In training, mean and (biased) variance are
    those of the batch, and running_mean and running_var move towards the batch's mean and unbiased
    variance by `momentum`; in evaluation the running ones are used. `weight` starts at 1, `bias` at
    0, running_mean at 0, running_var at 1. num_batches_tracked counts training batches, as in
    PyTorch's state_dict. `momentum=None` makes the running ones the means over all batches;
    `affine=False` leaves weight and bias out; `track_running_stats=False` leaves the running ones
    out: the batch's own are used in evaluation, too. Called with `relu`, `relu6` or `pool`, ReLU,
    ReLU6 and MaxPool2d(2) are applied as well, in the same kernel. ValueError for other axes or
    channels and, in training, for one value per channel. Use BatchNorm1d, BatchNorm2d or
    BatchNorm3d.
    """

    _synchronized = False  # whether the batch is that of all ranks

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self._set_up(num_features, eps, momentum, affine, track_running_stats)

    def forward(
        self, x: Tensor, relu: bool = False, pool: bool = False, relu6: bool = False
    ) -> Tensor:
        checks.input_axes(self, x, *self.layouts)
        checks.input_size(self, x, 1, self.num_features, "input channels")
        training = self.training
        if (training or not self.track_running_stats) and self._values(x) == 1:
            when = "in training" if training else "without running statistics"
            raise ValueError(
                f"[{type(self).__name__}] expected more than one value per channel {when}, "
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
            relu6=relu6,
            num_batches_tracked=self.num_batches_tracked,
            synchronized=self._synchronized and training,
        )

    def _values(self, x: Tensor) -> int:
        """How many values of a channel the statistics are taken over, or fewer above one."""
        share = ranks.split if self._synchronized and self.training else None
        here = x.size // self.num_features
        return here if share is None else share.at_least(here)

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        text += ", affine=False" * (not self.affine)
        return text + ", track_running_stats=False" * (not self.track_running_stats)


def with_text_of(base: type, doc: str | None) -> str | None:
    """A docstring of one line and an example, with the text of the base class between them."""
    if doc is None:
        return None
    first, _, example = inspect.cleandoc(doc).partition("\n\n")
    return f"{first}\n\n{inspect.getdoc(base)}\n\n{example}"


class BatchNorm1d(BatchNorm):
    """Batch normalization of (N, C) or (N, C, L): one mean and variance for each of C channels.

    >>> y = nn.BatchNorm1d(3)(Tensor.rand(16, 3) * 5)
    >>> (abs(y.mean(0)) < 1e-5).all().item(), y.var(0).detach().round(2)
    (True, Tensor([1., 1., 1.]))
    """

    layouts = ("N, C", "N, C, L")
    __doc__ = with_text_of(BatchNorm, __doc__)


class BatchNorm2d(BatchNorm):
    """Batch normalization of images (N, C, H, W): one mean and variance for each of C channels.

    >>> norm = nn.BatchNorm2d(3)
    >>> norm(Tensor.full((4, 3, 2, 2), 7.0)).max().item()  # the mean is 7
    0.0
    >>> norm.running_mean  # a tenth of the way from 0 to 7
    Tensor([0.7, 0.7, 0.7])
    """

    layouts = ("N, C, H, W",)
    fuses = ("relu", "relu6", "pool")
    __doc__ = with_text_of(BatchNorm, __doc__)


class BatchNorm3d(BatchNorm):
    """Batch normalization of volumes (N, C, D, H, W): one mean and variance for each channel.

    >>> nn.BatchNorm3d(3)(Tensor.rand(2, 3, 4, 5, 6)).shape
    (2, 3, 4, 5, 6)
    """

    layouts = ("N, C, D, H, W",)
    __doc__ = with_text_of(BatchNorm, __doc__)


class _InstanceNorm(_Channels):
    """y = (x - mean) / sqrt(var + eps) * weight + bias of each channel of each image.

    Ulyanov et al., "Instance normalization" (2016). `affine` gives a weight, which starts at 1, and
    a bias, at 0, both (C,). With `track_running_stats`, means over the batch of what training found
    are kept, moving by `momentum`, and used in evaluation; without, evaluation is as training.
    num_batches_tracked stays 0, as in PyTorch. An input without N is taken, too. ValueError for
    other axes or channels.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        momentum = checks.fraction(self, "momentum", momentum)
        self._set_up(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, *self.layouts)
        alone = x.ndim == self.layouts[1].count(",") + 1
        checks.input_size(self, x, 0 if alone else 1, self.num_features, "input channels")
        observe(self, "momentum", "eps")
        y = (x.unsqueeze(0) if alone else x).instance_norm(
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_input_stats=self.training or not self.track_running_stats,
            momentum=self.momentum or 0.0,
            eps=self.eps,
        )
        return y.squeeze(0) if alone else y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of sequences (N, C, L).

    >>> nn.InstanceNorm1d(2)(Tensor([[[1.0, 3.0], [10.0, 30.0]]])).round(3)
    Tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """

    layouts = ("N, C, L", "C, L")
    __doc__ = with_text_of(_InstanceNorm, __doc__)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of images (N, C, H, W).

    >>> nn.InstanceNorm2d(3, affine=True)(Tensor.rand(2, 3, 8, 8)).shape
    (2, 3, 8, 8)
    """

    layouts = ("N, C, H, W", "C, H, W")
    __doc__ = with_text_of(_InstanceNorm, __doc__)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of volumes (N, C, D, H, W).

    >>> nn.InstanceNorm3d(3)(Tensor.rand(2, 3, 4, 5, 6)).shape
    (2, 3, 4, 5, 6)
    """

    layouts = ("N, C, D, H, W", "C, D, H, W")
    __doc__ = with_text_of(_InstanceNorm, __doc__)


class GroupNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var of each group of channels.

    Wu and He, "Group normalization" (2018). `num_groups` divides `num_channels`, or a ValueError
    says so; inputs are (N, C, ...). `weight` starts at 1 and `bias` at 0, both (C,); `affine=False`
    leaves both out. The same in training and evaluation.

    >>> norm = nn.GroupNorm(2, 4)
    >>> norm(Tensor([[1.0, 3.0, 10.0, 30.0]])).detach().round(3)
    Tensor([[-1.,  1., -1.,  1.]])
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        self.num_groups = checks.integer(self, "num_groups", num_groups)
        self.num_channels = checks.integer(self, "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"[GroupNorm] num_groups must divide num_channels: {num_channels} channels cannot "
                f"be split into {num_groups} groups"
            )
        self.eps = checks.positive(self, "eps", eps)
        self.weight = Parameter(Tensor.ones(self.num_channels)) if affine else None
        self.bias = Parameter(Tensor.zeros(self.num_channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        checks.input_size(self, x, 1, self.num_channels, "input channels")
        observe(self, "eps")
        return x.group_norm(self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = self.weight is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={affine}"
