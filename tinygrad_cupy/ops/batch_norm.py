"""Batch normalization: by the statistics of each channel over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, TensorBase
from ..backend import Array, device_of, full, is_cuda
from ..backend.capture import active
from ..backend.dtypes import is_narrow
from ..backend.ranks import Share, ranks
from ..kernels.common.pool2x2 import POOL
from ..kernels.common.windows import expect_images
from ..kernels.norm import Running
from .pool import epilogue_as_found
from .promotion import as_float, common_float, in_single, single
from .reduce import Centre

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class BatchNorm(FusedOp):
    """(x - mean) / √(var + eps) · weight + bias with the statistics of this batch, per channel.

    Then ReLU, of at most ``cap`` where that is given, or a max-pool (2 × 2, stride 2), or ReLU and
    a pool, where asked for. The forward moves the running statistics. x of 16 bits is computed with
    in float32, as weight and bias then are, and what is stored of its dtype, y and the gradient by
    x, is rounded once. With a ``share`` of a batch, the statistics are those of all that ranks have
    of it.
    """

    only_real = True
    relu_y: Array | None = None
    argmax: Array | None = None

    def __init__(
        self,
        eps: float,
        running: Running,
        relu: bool,
        pool: bool,
        share: Share | None,
        cap: float | None,
    ) -> None:
        self.eps, self.running, self.relu, self.pool = eps, running, relu, pool
        self.share, self.cap = share, cap

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        self.on_gpu = is_cuda(x)
        y, self.relu_y, self.argmax, self.stats = kernels.norm.batch_norm(
            x, weight, bias, self.eps, self.running, self.relu, self.pool, self.share, self.cap
        )
        return y

    def absorbs(self, producer: Any) -> bool:
        # A kernel on a GPU masks the gradient where x, ReLU's output, is 0, for nothing.
        return self.on_gpu and getattr(producer, "relu_applied", False)

    def batch(self, b: BatchLevel, *inputs: Tensor) -> Tensor:
        # Each element has statistics of its own, and moves the running ones in its turn.
        def one(*inputs: Tensor) -> Tensor:
            op = BatchNorm(self.eps, self.running, self.relu, self.pool, self.share, self.cap)
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
        mean = _mean_of(x, axes, self.share)
        centred = Centre(axes)(single(x)) if self.share is None else single(x) - mean(single(x))
        var = mean(centred * centred)
        normal = centred / (var + self.eps).sqrt()
        y = normal * weight.reshape(*column) + bias.reshape(*column)
        found = self.relu_y, self.argmax
        return epilogue_as_found(y.astype(x.dtype), self.relu, *found, self.cap)

    def backward_arrays(self, grad: Array, x: Array, weight: Array, bias: Array) -> Any:
        how = (self.relu, self.needs[0], self.absorbing, self.share, self.cap)
        return kernels.norm.batch_norm_backward(
            grad, x, weight, bias, self.stats, self.relu_y, self.argmax, *how
        )


class BatchNormMixin(TensorBase):
    """Batch normalization as a method."""

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
        synchronized: bool = False,
        relu6: bool = False,
    ) -> Tensor:
        """Batch normalization (Ioffe & Szegedy 2015) of self (N, C, …) per channel.

        Training: normalized by the mean and the variance (÷ P) of this batch, and the running
        statistics move in place, running += momentum · (batch - running), the variance unbiased
        (÷ (P - 1)), as in PyTorch; num_batches_tracked, where given, is counted up in place.
        Otherwise: normalized by the running statistics, or this batch's where there are none.
        ``momentum=None`` is 1 / num_batches_tracked: the mean over all batches.

        Statistics are as good as two passes in float64 give, and the mean is not rounded before it
        is taken off: a mean that is large beside the deviation costs nothing, nor an outlier.

        ``relu``, ``relu6`` and ``pool`` are ``.relu()``, ``.relu6()`` and ``.max_pool2d(2)`` behind
        it, as one operation (a pool behind ``relu6`` is another).

        ``synchronized``: where the ranks of `tinygrad_cupy.distributed` have a part of the batch
        each, its statistics are those of all of it: each value counts once, whatever the sizes of
        the samples. All ranks call it; each pass exchanges two numbers for each channel, once.

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
        dtype = common_float(x, weight, bias)
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
                y = y.relu6() if relu6 else y.relu() if relu else y
                return y.max_pool2d(2) if pool else y

            return _of_layer(x, in_single(x.astype(dtype), moved_and_scaled))
        share = ranks.split if synchronized else None
        here = kernels.norm.values_of_channel(x)
        if (here if share is None else share.at_least(here)) < 2:
            raise ValueError(
                f"[batch_norm] expected more than one value per channel in training, got shape "
                f"{x.shape}"
            )
        kept = (running_mean, running_var, num_batches_tracked)
        running = _moving(x, dtype, *kept, momentum)
        cap = 6.0 if relu6 else None
        op = BatchNorm(eps, running, relu or relu6, pool and not relu6, share, cap)

        beside = np.dtype(np.float32) if is_narrow(dtype) else dtype
        gain = x._wrap(_filled(x, 1, beside)) if weight is None else weight.astype(beside)
        shift = x._wrap(_filled(x, 0, beside)) if bias is None else bias.astype(beside)
        y = op.watching(op(x.astype(dtype), gain, shift))
        for tensor in kept if running_mean is not None else ():
            if tensor is not None:
                tensor.bump_version()
        found = _of_layer(x, y)
        return found.max_pool2d(2) if pool and relu6 else found


def _filled(x: Any, value: float, dtype: Any) -> Array:
    """(C,) of one value, beside x (N, C, …)."""
    return full(x.shape[1:2], value, dtype, device_of(x.data))


def _mean_of(x: Any, axes: tuple[int, ...], share: Share | None) -> Callable[[Any], Any]:
    """The mean of each channel of such as x (N, C, …) over all that ranks have: (1, C, 1, …)."""
    if share is None:
        return lambda x: x.mean(axes, keepdims=True)
    here = kernels.norm.values_of_channel(x, share)
    rows = ranks.world.total(full((), here, np.dtype(np.float64), device_of(x.data)))
    weight = x._wrap((here / rows).astype(single(x).dtype))
    return lambda x: ranks.world.summed(x.mean(axes, keepdims=True) * weight)


def _moving(
    x: Any,
    dtype: Any,
    mean: Any,
    var: Any,
    batches: Any,
    momentum: float | None,
) -> Running:
    """What the kernel of a batch norm moves; memory to write to where it is to move nothing."""
    if mean is not None:
        if batches is None and momentum is None:
            raise ValueError("[batch_norm] expected num_batches_tracked where momentum is None")
        return Running(mean.data, var.data, None if batches is None else batches.data, momentum)
    aside = np.dtype(np.float32) if is_narrow(dtype) else dtype
    return Running(_filled(x, 0, aside), _filled(x, 0, aside), None, 0.0)


def _of_layer(x: Any, y: Any) -> Tensor:
    """A result; under `autocast` its parameters of float32 do not widen x."""
    found: Tensor = y if active.cast is None else y.astype(as_float(x).dtype)
    return found
