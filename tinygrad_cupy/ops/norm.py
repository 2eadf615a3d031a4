"""Normalization of activations: batch norm and layer norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import FusedOp, TensorBase
from ..backend import Array, is_cuda
from ..backend.dtypes import common_dtype
from ..kernels.common.pool2x2 import POOL
from ..kernels.common.windows import expect_images
from ..kernels.norm import Running
from .pool import epilogue_as_found
from .promotion import as_float, in_single
from .reduce import Centre

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class BatchNorm(FusedOp):
    """(x - mean) / √(var + eps) · weight + bias with the statistics of this batch, per channel.

    Then ReLU and a max-pool (2 × 2, stride 2) where asked for. The forward moves the running
    statistics.
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
        centred = Centre(axes)(x)
        var = (centred * centred).mean(axes, keepdims=True)
        normal = centred / (var + self.eps).sqrt()
        y = normal * weight.reshape(*column) + bias.reshape(*column)
        return epilogue_as_found(y, self.relu, self.relu_y, self.argmax)

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
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        training: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
        relu: bool = False,
        pool: bool = False,
        num_batches_tracked: Tensor | None = None,
    ) -> Tensor:
        """Batch normalization (Ioffe & Szegedy 2015) of self (N, C, …) per channel.

        Training: normalized by the mean and the variance (÷ P) of this batch, and the running
        statistics move in place, running += momentum · (batch - running), the variance unbiased
        (÷ (P - 1)), as in PyTorch; num_batches_tracked, where given, is counted up in place.
        Otherwise: normalized by the running statistics.

        Statistics are as good as two passes in float64 give, and the mean is not rounded before it
        is taken off: a mean that is large beside the deviation costs nothing, nor an outlier.

        ``relu`` and ``pool`` are ``.relu()`` and ``.max_pool2d(2)`` behind it, as one operation.

        Raises ``ValueError`` when weight, bias and running statistics are not of shape (C,), or a
        channel has but one value in training.
        """
        x: Any = self
        vector = x.shape[1:2]
        if {vector} != {t.shape for t in (weight, bias, running_mean, running_var)}:
            raise ValueError(
                f"[batch_norm] expected input (N, C, …) with C = {weight.shape[0]}, got shape "
                f"{x.shape}"
            )
        if pool:
            expect_images("batch_norm", self)
            POOL.output_size("max_pool2d", x.shape[2:])
        dtypes = {as_float(x).dtype, weight.dtype, bias.dtype}
        dtype = common_dtype(*dtypes) if len(dtypes) > 1 else dtypes.pop()
        if not training:
            column = (1, -1, *[1] * (len(x.shape) - 2))

            def moved_and_scaled(x: Tensor) -> Tensor:
                mean, var = (t.astype(x.dtype) for t in (running_mean, running_var))
                scale = weight / (var + eps).sqrt()
                centred = x - mean.reshape(*column)  # first, or far from zero digits are lost
                y = centred * scale.reshape(*column) + bias.reshape(*column)
                y = y.relu() if relu else y
                return y.max_pool2d(2) if pool else y

            return in_single(x.astype(dtype), moved_and_scaled)
        count = x.data.size // max(x.shape[1], 1)
        if count < 2:
            raise ValueError(
                f"[batch_norm] expected more than one value per channel in training, got shape "
                f"{x.shape}"
            )
        moved = [t for t in (running_mean, running_var, num_batches_tracked) if t is not None]
        batches = None if num_batches_tracked is None else num_batches_tracked.data
        op = BatchNorm(
            eps, Running(running_mean.data, running_var.data, batches, momentum), relu, pool
        )

        def normalized(x: Tensor) -> Tensor:
            return op.watching(op(x, weight.astype(x.dtype), bias.astype(x.dtype)))

        y = in_single(x.astype(dtype), normalized)
        for tensor in moved:
            tensor.bump_version()
        return y

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
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        if not shape or x.shape[-len(shape) :] != shape:
            raise ValueError(f"[layer_norm] expected last axes {shape}, got shape {x.shape}")
        axes = tuple(range(len(x.shape) - len(shape), len(x.shape)))

        def normalized(x: Tensor) -> Tensor:
            centred = Centre(axes)(x)
            y = centred / ((centred * centred).mean(axes, keepdims=True) + eps).sqrt()
            if weight is not None:
                y = y * weight
            return y if bias is None else y + bias

        given = [t.data.dtype for t in (weight, bias) if t is not None]
        return in_single(x.astype(common_dtype(as_float(x).data.dtype, *given)), normalized)
