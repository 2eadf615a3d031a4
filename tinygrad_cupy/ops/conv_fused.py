"""Convolution, bias, ReLU and max-pool as one operation, its intermediates never in memory.

Pooling comes last in name but first in effect: adding a bias and ReLU are monotone, so the maximum
passes through them, and what is pooled away is neither stored nor read again. Letters are explained
in `windows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import TensorBase
from ..autograd.fused import FusedOp
from ..backend import Array, Kernel
from ..backend.dtypes import through_single
from ..kernels.common.windows import Pair
from ..kernels.conv import cpu as conv_cpu
from ..kernels.conv import cuda as conv_cuda
from ..kernels.conv.fused_reference import POOL, SHUT
from ..kernels.conv.reference import Geometry
from .conv import Conv2d, conv_inputs
from .pool import MaxGather
from .unary import ReluGate

if TYPE_CHECKING:
    from ..tensor import Tensor

# (x, w, bias, geometry, relu, pool) → (y, code), see `block_kernels`.
block_forward = Kernel(cpu=through_single(conv_cpu.block_forward), cuda=conv_cuda.block_forward)
# (grad, x, w, y, code, geometry, relu, pool, needs) → gradients by x, w and bias, None where not
# needed. y is None when there is a code: nothing of it would be read.
block_backward = Kernel(cpu=through_single(conv_cpu.block_backward), cuda=conv_cuda.block_backward)


class ConvBlock(FusedOp):
    """y = max_pool(relu(x ⋆ w + bias)), ReLU and the pool (2 × 2, stride 2) where asked for."""

    def __init__(self, geometry: Geometry, relu: bool, pool: bool) -> None:
        self.geometry, self.relu, self.pool = geometry, relu, pool
        self.wants_gated = relu and not pool

    def forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        y, self.code = block_forward(x, weight, bias, self.geometry, self.relu, self.pool)
        self.y = y if self.relu and not self.pool else None  # a code says it all
        return y

    def reference(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        inputs = (x, weight) if bias is None else (x, weight, bias)
        y: Any = Conv2d(self.geometry)(*inputs)
        if not self.pool:
            return ReluGate(self.y)(y) if self.relu else y
        place = self.code % SHUT  # any place where ReLU shuts anyway
        y = MaxGather(POOL, place, y.shape[2:])(y)
        return ReluGate((self.code < SHUT).astype(y.dtype))(y) if self.relu else y

    def backward_arrays(self, grad: Array, x: Array, weight: Array, bias: Array | None) -> Any:
        y, relu = (None, False) if self.gated else (self.y, self.relu)
        how = (self.geometry, relu, self.pool, self.needs)
        return block_backward(grad, x, weight, y, self.code, *how)


class ConvBlockMixin(TensorBase):
    """The fused convolution as a method."""

    __slots__ = ()

    def conv2d_block(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
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
        geometry, inputs = conv_inputs(self, weight, bias, stride, padding, dilation, groups)
        op = ConvBlock(geometry, relu, pool)
        y = op(*inputs, *[None] * (3 - len(inputs)))
        if op.y is not None:
            op.watch(y)  # backward reads it
        return y
