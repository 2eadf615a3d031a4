"""ReLU and the 2 × 2 max-pool behind a convolution on a GPU, where its kernel does not do them.

And what both leave of a gradient. float32 and 16 bits go through `relu_pool.cu`, others are done
plainly, as in `fused_reference`.
"""

from __future__ import annotations

import numpy as np

from ...backend import Array, CudaSource, int32s, int64s
from ...backend.cuda_source import dtype_macros
from ..common.headers import VECTOR
from ..common.layout import empty_last, last
from ..common.pool2x2 import MASKED, spread
from ..common.select import keep_where
from ..common.windows import Shape
from . import fused_reference

_kernels = CudaSource(__file__, VECTOR, "relu_pool.cu", defines=(f"MASKED={MASKED}",))

BYTE = np.dtype(np.uint8)
BYTES = 16  # that a thread moves at once
FLOATS = ("float32", "bfloat16", "float16")


def pooled(y: Array, relu: bool) -> tuple[Array, Array]:
    """The max-pool of y (N, O, OH, OW), then ReLU where wanted, and the argmax of both."""
    n, channels, *size = y.shape
    out_shape = (n, channels, size[0] // 2, size[1] // 2)
    if y.dtype.name not in FLOATS or 0 in out_shape:
        return fused_reference.pooled(y, relu)
    out, argmax = empty_last(out_shape, y.dtype), empty_last(out_shape, BYTE)
    width = _width(channels, y.dtype)
    given = last(y), out, argmax, *int32s(n, *size, channels, relu)
    _launch("conv_max_pool", out.size // width, width, y.dtype, given)
    return out, argmax


def opened(grad: Array, y: Array | None, argmax: Array | None, size: Shape) -> Array:
    """The gradient of the convolution's own output (N, O, OH, OW) from that of ReLU or the pool.

    It is that of the pool where there is an ``argmax``, else y is ReLU's.
    """
    n, channels = grad.shape[:2]
    plainly = grad.dtype.name not in FLOATS or 0 in (n, channels, *size)
    out = grad if plainly else empty_last((n, channels, *size), grad.dtype)
    if argmax is None:
        assert y is not None
        if plainly:
            return keep_where(grad, ~(y <= 0))
        width = BYTES // grad.itemsize
        given = last(grad), last(y), out, *int64s(out.size)
        _launch("conv_relu_backward", -(-out.size // width), width, grad.dtype, given)
        return out
    if plainly:
        return spread(grad, argmax, size)
    width = _width(channels, grad.dtype)
    threads = n * -(-size[0] // 2) * -(-size[1] // 2) * (channels // width)
    given = last(grad), last(argmax), out, *int32s(n, *size, channels)
    _launch("conv_pool_backward", threads, width, grad.dtype, given)
    return out


def prepare(relu: bool, pool: bool, channels: int, dtype: np.dtype) -> None:
    """Have the kernels of `opened` compiled."""
    if dtype.name in FLOATS and (relu or pool):
        width = _width(channels, dtype) if pool else BYTES // dtype.itemsize
        _kernels.prepare(_macros(width, dtype))


def _width(channels: int, dtype: np.dtype) -> int:
    width = BYTES // dtype.itemsize
    return 1 if channels % width else width


def _macros(width: int, dtype: np.dtype) -> tuple[str, ...]:
    return (f"WIDTH={width}", *dtype_macros(dtype))


def _launch(
    name: str, threads: int, width: int, dtype: np.dtype, given: tuple[object, ...]
) -> None:
    _kernels.launch(name, _kernels.blocks(threads), given, defines=_macros(width, dtype))
