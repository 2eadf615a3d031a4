"""Convolution on a GPU: which kernel does it, and with what tiles.

Three families, all without a column matrix, for float32 arrays laid out N, H, W, C: products on
tensor cores (`conv.cu`, `conv_weight.cu`), images with few channels (`conv_few.cu`), and what is
neither (groups, strided input gradients, other dtypes) goes through `conv_kernels`' im2col, which
is also the plain reference. Letters are explained in `windows`.
"""

from __future__ import annotations

import math

import numpy as np

from .. import blas
from ..backend import Array, CudaFile, import_cupy
from . import block_kernels, conv_kernels
from .conv_kernels import Geometry, Shape
from .conv_plans import (
    PRECISIONS,
    few_channels,
    few_plan,
    forward_plan,
    limits_here,
    shape_defines,
    weight_plan,
)
from .masking import keep_where
from .windows import Pair, Windows

_forward = CudaFile(__file__, "conv_tiles.cu", "conv.cu")
_weight = CudaFile(__file__, "conv_tiles.cu", "conv_weight.cu")
_few = CudaFile(__file__, "conv_few.cu")
_sum = CudaFile(__file__, "conv_sum.cu")
_gate = CudaFile(__file__, "conv_gate.cu")

NOWHERE = np.uint64(0)  # the null pointer
FORWARD_UNUSED = ("RELU=0", "BIAS=0", "POOL=0")  # one file holds both kernels

# --- what the engine calls ----------------------------------------------------------------------


def forward(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) from x (N, C, H, W), w (O, C/G, KH, KW) and bias (O,)."""
    return block_forward(x, w, bias, geometry, relu=False, pool=False)[0]


def input_gradient(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW): a transposed convolution."""
    mirrored = conv_kernels.gathering(geometry, g.shape[2:], x_shape[2:])
    if mirrored is not None and _suits(g, w, geometry):
        found = _product(g, w, None, mirrored, x_shape[1], flip=True)
        if found is not None:
            return found[0]
    return conv_kernels.conv_input(g, w, geometry, x_shape)


def weight_gradient(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C/G, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    if _suits(x, g, geometry):
        found = _weight_and_bias(x, g, geometry.windows, w_shape)
        if found is not None:
            return found[0]
    return conv_kernels.conv_weight(x, g, geometry, w_shape)


def block_forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, relu: bool, pool: bool
) -> tuple[Array, Array | None]:
    """Convolution, then bias, ReLU and 2 × 2 max-pool where wanted: y and the pool's code."""
    if pool:  # an error where there is no window
        size = geometry.windows.output_size("conv2d", x.shape[2:])
        block_kernels.POOL.output_size("max_pool2d", size)
    if _suits(x, w, geometry):
        found = _product(x, w, bias, geometry.windows, w.shape[0], relu=relu, pool=pool)
        if found is not None:
            return found
    return block_kernels.forward(x, w, bias, geometry, relu, pool)


def block_backward(
    grad: Array,
    x: Array,
    w: Array,
    y: Array | None,
    code: Array | None,
    geometry: Geometry,
    relu: bool,
    pool: bool,
    needs: tuple[bool, ...],
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients by x, w and bias of `block_forward`, each where ``needs`` asks for it.

    Of y and code only one is read: the code where there was a pool.
    """
    windows, w_shape = geometry.windows, tuple(w.shape)
    suits = _suits(x, grad, geometry)
    wanted_bias = len(needs) > 2 and needs[2]
    if suits and not needs[0] and few_channels(w_shape):
        return None, *_few_weight(x, grad, y if relu and not pool else None, code, windows, w_shape)
    size = windows.output_size("conv2d", x.shape[2:])
    g = _opened(grad, y, code, size) if relu or pool else grad
    dx = input_gradient(g, w, geometry, tuple(x.shape)) if needs[0] else None
    found = None
    if suits and (needs[1] or wanted_bias):
        found = _weight_and_bias(x, g, windows, w_shape)
    if found is not None:
        return dx, *found
    dw = weight_gradient(x, g, geometry, w_shape) if needs[1] else None
    return dx, dw, g.sum(axis=(0, 2, 3)) if wanted_bias else None


def _suits(x: Array, other: Array, geometry: Geometry) -> bool:
    """Whether the kernels of this file take it: float32, one group, sizes that an int holds.

    ``other`` is the weight or a gradient: O or C is its second axis.
    """
    if geometry.groups != 1 or x.dtype != np.float32 or other.dtype != np.float32:
        return False
    if x.size == 0 or other.size == 0 or not limits_here().tensor_cores:
        return False
    pixels = math.prod(geometry.windows.padded_size(x.shape[2:])) * x.shape[0]
    return bool(pixels * max(x.shape[1], other.shape[1]) < 2**31)


# --- launching ----------------------------------------------------------------------------------


def _product(
    x: Array,
    w: Array,
    bias: Array | None,
    windows: Windows,
    outputs: int,
    relu: bool = False,
    pool: bool = False,
    flip: bool = False,
) -> tuple[Array, Array | None] | None:
    """Windows of x times weights: y (N, O, OH, OW) and, with ``pool``, where its maxima were.

    None where no tile fits in shared memory (very wide images, large kernels).
    """
    cupy = import_cupy()
    channels = x.shape[1]
    sizes = n, _, _, oh, ow = _sizes(x, windows)
    out = (n, oh // 2, ow // 2, outputs) if pool else (n, oh, ow, outputs)
    y = cupy.empty(out, np.float32)
    code = cupy.empty(out, np.uint8) if pool else None
    result = (_first(y), None if code is None else _first(code))
    if y.size == 0:
        return result
    flags = [f"RELU={int(relu)}", f"BIAS={int(bias is not None)}", f"POOL={int(pool)}"]
    arrays = (
        _last(x),
        _contiguous(w),
        NOWHERE if bias is None else _contiguous(bias),
        y,
        NOWHERE if code is None else code,
    )
    if not flip and few_channels((outputs, channels, *windows.kernel)):
        threads = out[0] * out[1] * (out[2] if pool else -(-ow // 4)) * -(-outputs // 4)
        blocks = min(_few.blocks(threads), 16 * limits_here().processors)
        defines = (*shape_defines(channels, outputs, windows), *flags)
        _few.launch("few_forward", blocks, (*arrays, *map(np.int32, sizes)), 256, 0, defines)
        return result
    pixels = 4 * y.size // outputs if pool else y.size // outputs
    plan = forward_plan(
        channels, outputs, windows, sizes, pool, PRECISIONS[blas.get_precision()], limits_here()
    )
    if plan is None:
        return None
    numbers = (*sizes, pixels, plan.tiles, plan.capacity)
    defines = (*plan.defines, *flags, f"FLIP={int(flip)}")
    _forward.launch(
        "conv_forward", plan.grid, (*arrays, *map(np.int32, numbers)), 256, plan.shared, defines
    )
    return result


def _weight_and_bias(
    x: Array, g: Array, windows: Windows, w_shape: Shape
) -> tuple[Array, Array] | None:
    """dw (O, C, KH, KW) and db (O,) from x and the gradient g of y; None where no tile fits."""
    if few_channels(w_shape):
        return _few_weight(x, g, None, None, windows, w_shape)
    outputs, channels = w_shape[:2]
    sizes = _sizes(x, windows)
    precision = PRECISIONS[blas.get_precision()]
    plan = weight_plan(channels, outputs, windows, sizes, precision, limits_here())
    if plan is None:
        return None
    sums = _Sums(w_shape, plan.grid[0])
    numbers = (*sizes, math.prod(g.shape) // outputs, plan.tiles, plan.capacity)
    arguments = (_last(x), _last(g), *sums.parts, *map(np.int32, numbers))
    _weight.launch("conv_weight", plan.grid, arguments, 256, plan.shared, plan.defines)
    return sums.total()


def _few_weight(
    x: Array, g: Array, gate: Array | None, code: Array | None, windows: Windows, w_shape: Shape
) -> tuple[Array, Array]:
    """The same with few channels, where g may also be the gradient behind ReLU or the max-pool."""
    outputs, channels = w_shape[:2]
    plan = few_plan(w_shape, g.size, code is not None)
    kind = 2 if code is not None else 1 if gate is not None else 0
    defines = (*shape_defines(channels, outputs, windows), *plan.defines, f"GRAD={kind}")
    sums = _Sums(w_shape, plan.grid[0])
    extra = [NOWHERE if array is None else _last(array) for array in (gate, code)]
    arguments = (_last(x), _last(g), *extra, *sums.parts, *map(np.int32, _sizes(x, windows)))
    _few.launch("few_weight", plan.grid, arguments, 256, 0, (*defines, *FORWARD_UNUSED))
    return sums.total()


class _Sums:
    """What the blocks of a weight gradient found, each for itself: added up in a fixed order."""

    def __init__(self, w_shape: Shape, blocks: int) -> None:
        self.w_shape, self.blocks = w_shape, blocks
        empty = import_cupy().empty
        count = math.prod(w_shape)
        self.parts = (empty((blocks, count), np.float32), empty((blocks, w_shape[0]), np.float32))

    def total(self) -> tuple[Array, Array]:
        """dw (O, C, KH, KW) and db (O,)."""
        outputs, channels, *kernel = self.w_shape
        empty = import_cupy().empty
        dw, db = empty(self.w_shape, np.float32), empty(outputs, np.float32)
        numbers = map(np.int32, (self.blocks, outputs, math.prod(kernel), channels))
        blocks = _sum.blocks(dw.size + outputs, 32)
        _sum.launch("conv_weight_sum", blocks, (*self.parts, dw, db, *numbers))
        return dw, db


def _sizes(x: Array, windows: Windows) -> tuple[int, ...]:
    """N, H, W, OH, OW."""
    size = (int(x.shape[2]), int(x.shape[3]))
    return (int(x.shape[0]), *size, *windows.output_size("conv2d", size))


def _opened(grad: Array, y: Array, code: Array | None, size: Pair) -> Array:
    """The gradient of the convolution's own output (N, O, OH, OW) from that of ReLU or the pool."""
    cupy = import_cupy()
    if grad.dtype != np.float32:
        return keep_where(grad, y > 0) if code is None else block_kernels.spread(grad, code, size)
    n, channels = grad.shape[:2]
    out = cupy.empty((n, *size, channels), np.float32)
    if out.size == 0:
        return _first(out)
    if code is None:
        blocks = _gate.blocks(-(-out.size // 4))
        _gate.launch("gate_relu", blocks, (_last(grad), _last(y), out, np.int64(out.size)))
        return _first(out)
    wide = 4 if channels % 4 == 0 else 1
    threads = n * -(-size[0] // 2) * -(-size[1] // 2) * channels // wide
    numbers = map(np.int32, (n, *size, channels))
    _gate.launch(
        f"gate_pool{wide}", _gate.blocks(threads), (_last(grad), _last(code), out, *numbers)
    )
    return _first(out)


def _last(x: Array) -> Array:
    """x (N, C, H, W) as a contiguous (N, H, W, C) whose memory starts at a multiple of 16 bytes."""
    last = x.transpose(0, 2, 3, 1)
    return _contiguous(last)


def _contiguous(x: Array) -> Array:
    aligned = x.data.ptr % 16 == 0
    return x if x.flags.c_contiguous and aligned else x.copy(order="C")


def _first(x: Array) -> Array:
    """(N, H, W, C) seen as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)
