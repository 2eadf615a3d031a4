"""Convolution, bias, ReLU and max-pool as one operation, its intermediates never in memory.

Pooling comes last in name but first in effect: adding a bias and ReLU are monotone, so the maximum
passes through them, and what is pooled away is neither stored nor read again. Letters are explained
in `windows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import FusedOp, TensorBase
from ..autograd.mode import mode
from ..backend import Array
from ..kernels.common.windows import Geometry, Sizes
from ..kernels.conv import Epilogue
from .conv import Conv, conv_inputs
from .pool import epilogue_as_found
from .sliding import of_batch

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class ConvBlock(FusedOp):
    """y = max_pool(relu(x ⋆ w + bias)), ReLU and the pool (2 × 2, stride 2) where asked for."""

    autocast = "narrow"
    only_real = True

    y: Array | None = None  # with ReLU alone
    argmax: Array | None = None  # with a pool

    def __init__(self, geometry: Geometry, relu: bool, pool: bool) -> None:
        self.geometry, self.relu, self.pool = geometry, relu, pool
        self.relu_applied = relu and not pool  # backward begins with ReLU's

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        epilogue = Epilogue(self.relu, self.pool)
        if mode.recording:
            kernels.conv.prepare_backward(x, weight, self.geometry, epilogue)
        y, self.argmax = kernels.conv.fused_forward(x, weight, bias, self.geometry, epilogue)
        self.y = y if self.relu and not self.pool else None  # a argmax says it all
        return y

    def watching(self, y: Tensor) -> Tensor:
        """y, the output, which backward reads where there is ReLU alone."""
        if self.y is not None:
            self.watch(y)
        return y

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        inputs = (x, weight) if bias is None else (x, weight, bias)
        y: Any = Conv(self.geometry)(*inputs)
        return epilogue_as_found(y, self.relu, self.y, self.argmax)

    def backward_arrays(self, grad: Array, x: Array, weight: Array, bias: Array | None) -> Any:
        y, relu = (None, False) if self.absorbed else (self.y, self.relu)
        how = (self.geometry, Epilogue(relu, self.pool), self.needs)
        return kernels.conv.fused_backward(grad, x, weight, y, self.argmax, *how)

    def batch(self, b: BatchLevel, x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        if not b.has(weight, bias):
            op = ConvBlock(self.geometry, self.relu, self.pool)
            y = op(b.join(x, 0), weight, bias)
            return b.split(op.watching(y), 0)
        inputs = (x, weight) if bias is None else (x, weight, bias)
        y = Conv(self.geometry)(*inputs)
        y = y.relu() if self.relu else y
        return b.whole(y.max_pool2d(2) if self.pool else y)


class ConvBlockMixin(TensorBase):
    """The fused convolution as a method."""

    __slots__ = ()

    def conv2d_block(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        relu: bool = False,
        pool: bool = False,
    ) -> Tensor:
        """`conv2d`, then ``relu()`` and ``max_pool2d(2)`` where asked for, as one operation.

        Self (N, C, H, W), weight (O, C/groups, KH, KW), bias (O,); the other arguments are those of
        `conv2d`, and so are values and errors those of the three operations. Result: (N, O, OH, OW)
        with OH and OW halved, rounded down, by the pool. Of equal maxima the first takes the
        gradient.
        """
        where = (stride, padding, dilation, groups)

        def compute(x: Tensor) -> Tensor:
            geometry, inputs = conv_inputs("conv2d", 2, x, weight, bias, *where)
            op = ConvBlock(geometry, relu, pool)
            return op.watching(op(*inputs, *[None] * (3 - len(inputs))))

        return of_batch("conv2d", self, 2, compute)
