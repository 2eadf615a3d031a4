"""Normalization of activations: by batches, layers, groups and instances."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, TensorBase
from ..autograd.autocast import in_wide
from ..autograd.mode import no_grad
from ..backend import Array, device_of, full, is_cuda
from ..backend.capture import active
from ..backend.dtypes import common_dtype, is_narrow
from ..kernels.common.pool2x2 import POOL
from ..kernels.common.windows import expect_images
from ..kernels.norm import Running
from .complex_numbers import squared_size
from .layer_norm import in_groups, normalized
from .pool import epilogue_as_found
from .promotion import as_float, in_single, single
from .reduce import Centre
from .windows import Windows

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class BatchNorm(FusedOp):
    """(x - mean) / √(var + eps) · weight + bias with the statistics of this batch, per channel.

    Then ReLU and a max-pool (2 × 2, stride 2) where asked for. The forward moves the running
    statistics. x of 16 bits is computed with in float32, as weight and bias then are, and what is
    stored of its dtype, y and the gradient by x, is rounded once.
    """

    only_real = True
    relu_y: Array | None = None
    argmax: Array | None = None

    def __init__(self, eps: float, running: Running, relu: bool = False, pool: bool = False):
        self.eps, self.running, self.relu, self.pool = eps, running, relu, pool

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        self.on_gpu = is_cuda(x)
        y, self.relu_y, self.argmax, self.stats = kernels.norm.batch_norm(
            x, weight, bias, self.eps, self.running, self.relu, self.pool
        )
        return y

    def absorbs(self, producer: Any) -> bool:
        # A kernel on a GPU masks the gradient where x, ReLU's output, is 0, for nothing.
        return self.on_gpu and getattr(producer, "relu_applied", False)

    def batch(self, b: BatchLevel, *inputs: Tensor) -> Tensor:
        # Each element has statistics of its own, and moves the running ones in its turn.
        def one(*inputs: Tensor) -> Tensor:
            op = BatchNorm(self.eps, self.running, self.relu, self.pool)
            y = op(*inputs)
            return op.watching(y)

        return b.one_by_one(one, inputs)  # type: ignore[no-any-return]

    def watching(self, y: Tensor) -> Tensor:
        """y, the output, which backward reads where there is ReLU alone."""
        if self.relu_y is not None:
            self.watch(y)
        return y

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        axes = (0, *range(2, len(x.shape)))
        column = (1, -1, *[1] * (len(x.shape) - 2))
        centred = Centre(axes)(single(x))
        var = (centred * centred).mean(axes, keepdims=True)
        normal = centred / (var + self.eps).sqrt()
        y = normal * weight.reshape(*column) + bias.reshape(*column)
        return epilogue_as_found(y.astype(x.dtype), self.relu, self.relu_y, self.argmax)

    def backward_arrays(self, grad: Array, x: Array, weight: Array, bias: Array) -> Any:
        how = (self.relu, self.needs[0], self.absorbing)
        return kernels.norm.batch_norm_backward(
            grad, x, weight, self.stats, self.relu_y, self.argmax, *how
        )


class NormMixin(TensorBase):
    """Normalizations as methods."""

    __slots__ = ()

    def batch_norm(
        self,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        training: bool = True,
        momentum: float | None = 0.1,
        eps: float = 1e-5,
        relu: bool = False,
        pool: bool = False,
        num_batches_tracked: Tensor | None = None,
    ) -> Tensor:
        """Batch normalization (Ioffe & Szegedy 2015) of self (N, C, …) per channel.

        Training: normalized by the mean and the variance (÷ P) of this batch, and the running
        statistics move in place, running += momentum · (batch - running), the variance unbiased
        (÷ (P - 1)), as in PyTorch; num_batches_tracked, where given, is counted up in place.
        Otherwise: normalized by the running statistics, or this batch's where there are none.
        ``momentum=None`` is 1 / num_batches_tracked: the mean over all batches.

        Statistics are as good as two passes in float64 give, and the mean is not rounded before it
        is taken off: a mean that is large beside the deviation costs nothing, nor an outlier.

        ``relu`` and ``pool`` are ``.relu()`` and ``.max_pool2d(2)`` behind it, as one operation.

        Raises ``ValueError`` when weight, bias and running statistics are not of shape (C,), or a
        channel has but one value in training.
        """
        x: Any = self
        given = [t for t in (weight, bias, running_mean, running_var) if t is not None]
        if len(x.shape) < 2 or any(t.shape != x.shape[1:2] for t in given):
            channels = f" with C = {given[0].shape[0]}" if given and given[0].ndim == 1 else ""
            raise ValueError(
                f"[batch_norm] expected input (N, C, …){channels}, got shape {x.shape}"
            )
        if (running_mean is None) != (running_var is None):
            raise ValueError("[batch_norm] expected both running statistics or none, got one")
        if pool:
            expect_images("batch_norm", self)
            POOL.output_size("max_pool2d", x.shape[2:])
        dtype = _common(x, weight, bias)
        if active.cast is not None and dtype == np.float32:
            dtype = as_float(x).dtype  # stored in 16 bits, though parameters are of 32
        if not training and running_mean is not None and running_var is not None:
            mean, var = running_mean, running_var
            column = (1, -1, *[1] * (len(x.shape) - 2))

            def moved_and_scaled(x: Tensor) -> Tensor:
                deviation = (var.astype(x.dtype) + eps).sqrt()
                scale = (1 if weight is None else weight) / deviation
                # first, or far from zero digits are lost
                centred = x - mean.astype(x.dtype).reshape(*column)
                y = centred * scale.reshape(*column)
                y = y if bias is None else y + bias.reshape(*column)
                y = y.relu() if relu else y
                return y.max_pool2d(2) if pool else y

            return _of_layer(x, in_single(x.astype(dtype), moved_and_scaled))
        count = x.size // max(x.shape[1], 1)
        if count < 2:
            raise ValueError(
                f"[batch_norm] expected more than one value per channel in training, got shape "
                f"{x.shape}"
            )
        running = _moving(x, dtype, running_mean, running_var, num_batches_tracked, momentum)
        op = BatchNorm(eps, running, relu, pool)

        beside = np.dtype(np.float32) if is_narrow(dtype) else dtype
        gain = x._wrap(_filled(x, 1, beside)) if weight is None else weight.astype(beside)
        shift = x._wrap(_filled(x, 0, beside)) if bias is None else bias.astype(beside)
        y = op.watching(op(x.astype(dtype), gain, shift))
        if momentum is not None:
            for tensor in (running_mean, running_var, num_batches_tracked):
                if tensor is not None:
                    tensor.bump_version()
        return _of_layer(x, y)

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
            x.astype(_common(x, weight, bias)), lambda x: normalized(x, axes, eps, weight, bias)
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
        x = x.astype(_common(x, weight, bias))
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
        x = x.astype(_common(x, weight, bias))
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

        return in_single(x.astype(_common(x, weight)), of_unit_square)

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


def _filled(x: Any, value: float, dtype: Any) -> Array:
    """(C,) of one value, beside x (N, C, …)."""
    return full(x.shape[1:2], value, dtype, device_of(x.data))


def _moving(
    x: Any, dtype: Any, mean: Any, var: Any, batches: Any, momentum: float | None
) -> Running:
    """What the kernel of a batch norm moves; where it is not to move anything, memory to write to.

    Without a momentum the means over all batches are taken here: their factor is on the device.
    """
    if mean is not None and momentum is not None:
        return Running(mean.data, var.data, None if batches is None else batches.data, momentum)
    if mean is not None:
        if batches is None:
            raise ValueError("[batch_norm] expected num_batches_tracked where momentum is None")
        given, axes = single(as_float(x.detach())), (0, *range(2, len(x.shape)))
        with no_grad():
            batches.assign_(batches + 1)
            for kept, now in ((mean, given.mean(axes)), (var, given.var(axes, ddof=1))):
                kept.assign_(kept + (now.astype(kept.dtype) - kept) / batches.astype(kept.dtype))
    aside = np.dtype(np.float32) if is_narrow(dtype) else dtype
    return Running(_filled(x, 0, aside), _filled(x, 0, aside), None, 0.0)


def _of_layer(x: Any, y: Any) -> Tensor:
    """A result; under `autocast` its parameters of float32 do not widen x."""
    found: Tensor = y if active.cast is None else y.astype(as_float(x).dtype)
    return found


def _last_axes(name: str, x: Any, given: int | tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the last axes that are normalized."""
    shape = (given,) if isinstance(given, int) else tuple(given)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"[{name}] expected last axes {shape}, got shape {x.shape}")
    return shape


def _common(x: Any, *others: Tensor | None) -> Any:
    """The dtype that x, as floats, and the tensors that are given meet in."""
    return common_dtype(as_float(x).data.dtype, *[t.data.dtype for t in others if t is not None])


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
