"""Normalization of activations by layers, groups and instances; of batches: `batch_norm`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.autocast import in_wide
from ..autograd.mode import no_grad
from .complex_numbers import squared_size
from .layer_norm import in_groups, normalized
from .promotion import as_float, common_float, in_single, single
from .windows import Windows

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class NormMixin(TensorBase):
    """Normalizations as methods."""

    __slots__ = ()

    @in_wide
    def layer_norm(
        self,
        normalized_shape: int | tuple[int, ...],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Layer normalization (Ba et al. 2016) over the last axes, whose shape is given.

        (x - mean) / √(var + eps) · weight + bias, the variance divided by the number of elements;
        both are taken as by `var`.
        """
        x: Any = self
        shape = _last_axes("layer_norm", x, normalized_shape)
        axes = tuple(range(len(x.shape) - len(shape), len(x.shape)))

        return in_single(
            x.astype(common_float(x, weight, bias)),
            lambda x: normalized(x, axes, eps, weight, bias),
        )

    @in_wide
    def group_norm(
        self,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Group normalization (Wu & He 2018) of self (N, C, …), over the channels of each group.

        (x - mean) / √(var + eps) of each of ``num_groups`` groups of channels of each image, then
        · weight + bias, both (C,). Raises ``ValueError`` where the groups do not divide C.
        """
        x: Any = self
        if len(x.shape) < 2 or num_groups < 1 or x.shape[1] % num_groups:
            raise ValueError(
                f"[group_norm] expected (N, C, …) with C a multiple of {num_groups}, the number of "
                f"groups, got shape {x.shape}"
            )
        _expect_channels("group_norm", x, weight, bias)
        x = x.astype(common_float(x, weight, bias))
        return in_single(x, lambda x: _by_channel(in_groups(x, num_groups, eps), weight, bias))

    def instance_norm(
        self,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Instance normalization (Ulyanov et al. 2016) of the channels of self (N, C, L, …).

        (x - mean) / √(var + eps) · weight + bias. Running statistics (C,), where they are given,
        move in place by ``momentum`` towards the means over the batch, the variance unbiased;
        without ``use_input_stats`` they take the place of mean and variance. Raises ``ValueError``
        for shapes that do not fit, and where a channel has but one element.
        """
        x: Any = self
        axes, running = tuple(range(2, len(x.shape))), (running_mean, running_var)
        if len(x.shape) < 3:
            raise ValueError(f"[instance_norm] expected (N, C, L, …), got shape {x.shape}")
        _expect_channels("instance_norm", x, weight, bias, *running)
        x = x.astype(common_float(x, weight, bias))
        column = (1, -1, *[1] * len(axes))
        if not use_input_stats:
            if running_mean is None or running_var is None:
                raise ValueError(
                    "[instance_norm] expected running statistics where the input's are not used"
                )
            mean, var = running_mean, running_var

            def moved_and_scaled(x: Any) -> Any:
                centred = x - mean.astype(x.dtype).reshape(*column)
                scale = (var.astype(x.dtype) + eps).sqrt().reshape(*column)
                return _by_channel(centred / scale, weight, bias)

            return in_single(x, moved_and_scaled)
        count = math.prod(x.shape[2:])
        if count < 2:
            raise ValueError(
                "[instance_norm] expected more than one element in each channel, got shape "
                f"{x.shape}"
            )
        if running_mean is not None and running_var is not None:
            given = single(x.detach())
            for statistic, now in (
                (running_mean, given.mean(axes)),
                (running_var, given.var(axes, ddof=1)),
            ):
                with no_grad():
                    found = now.mean(0).astype(statistic.dtype)
                    statistic.assign_(statistic * (1 - momentum) + found * momentum)
        return in_single(x, lambda x: _by_channel(in_groups(x, x.shape[1], eps), weight, bias))

    def rms_norm(
        self,
        normalized_shape: int | tuple[int, ...],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        """Root-mean-square normalization (Zhang & Sennrich 2019) over the last axes.

        x / √(mean(x²) + eps) · weight, of the axes whose shape is given; ``eps`` defaults to the
        distance from 1 to the next number of the dtype that is computed in.
        """
        x: Any = self
        shape = _last_axes("rms_norm", x, normalized_shape)
        axes = tuple(range(len(x.shape) - len(shape), len(x.shape)))

        def of_unit_square(x: Any) -> Any:
            least = float(np.finfo(x.dtype).eps) if eps is None else eps
            return normalized(x, axes, least, weight, centred=False)

        return in_single(x.astype(common_float(x, weight)), of_unit_square)

    def local_response_norm(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> Tensor:
        """Local response normalization (Krizhevsky et al. 2012) of self (N, C, L, …).

        x / (k + alpha · m)^beta, m the mean of x² over ``size`` neighbouring channels, of which
        those beyond the ends are 0: ⌊size / 2⌋ before and ⌊(size - 1) / 2⌋ behind.
        """
        x: Any = as_float(self)
        if len(x.shape) < 3 or size < 1:
            raise ValueError(
                "[local_response_norm] expected (N, C, L, …) and a size of at least 1, got shape "
                f"{x.shape} and {size}"
            )
        around = ((0, 0), (size // 2, (size - 1) // 2), *[(0, 0)] * (len(x.shape) - 2))

        def normalized(x: Any) -> Any:
            means = Windows(size, 1)(squared_size(x).pad(around)).sum(-1) / size
            return x / (means * alpha + k) ** beta

        return in_single(x, normalized)


def _last_axes(name: str, x: Any, given: int | tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the last axes that are normalized."""
    shape = (given,) if isinstance(given, int) else tuple(given)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"[{name}] expected last axes {shape}, got shape {x.shape}")
    return shape


def _by_channel(y: Any, weight: Tensor | None, bias: Tensor | None) -> Any:
    """y · weight + bias, both (C,), along axis 1."""
    column = (1, -1, *[1] * (len(y.shape) - 2))
    if weight is not None:
        y = y * weight.astype(y.dtype).reshape(*column)
    return y if bias is None else y + bias.astype(y.dtype).reshape(*column)


def _expect_channels(name: str, x: Any, *vectors: Tensor | None) -> None:
    for vector in vectors:
        if vector is not None and vector.shape != x.shape[1:2]:
            raise ValueError(
                f"[{name}] expected a vector of {x.shape[1]} channels (input shape {x.shape}), got "
                f"shape {vector.shape}"
            )
