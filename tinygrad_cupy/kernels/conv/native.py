"""Convolution on the CPU through ``conv.c``, where the machine has a C compiler.

For float32 and one group; the gradient by the input for a stride of 1. What does not `suit` goes
through NumPy, in `cpu`. Letters are explained in `windows`.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_threads import parts_of, workspace
from ..common.images import contiguous_last, images_of
from ..common.layout import seen_second
from ..common.pool2x2 import MASKED
from ..common.windows import Geometry, Shape, Windows
from .epilogue import Epilogue
from .reference import turned

_file = CSource(__file__, "../common/images.h", "conv.c", defines=(f"MASKED={MASKED}",))


class _Conv(ctypes.Structure):
    """As ``Conv`` in conv.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("c", "h", "w", "o", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw"),
            *("vectors", "relu", "pool", "back_vectors", "margin"),
        )
    ]


def suits(x: Array, w: Array, geometry: Geometry, needs_x: bool = False) -> bool:
    """Whether a convolution of x (N, C, H, W) with w can run here, and by x its gradient too."""
    windows = geometry.windows
    if x.dtype != np.float32 or w.dtype != np.float32 or geometry.groups != 1:
        return False
    if needs_x and (windows.stride != (1, 1) or _margin(windows) < 0):
        return False
    return _file.library is not None


def forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, epilogue: Epilogue
) -> tuple[Array, Array | None]:
    """y (N, O, OH, OW), halved by the pool, and the pool's argmax."""
    sizes = _sizes(x.shape, w.shape, geometry, *epilogue)
    out = (sizes.oh // 2, sizes.ow // 2) if epilogue.pool else (sizes.oh, sizes.ow)
    y = np.empty((len(x), *out, len(w)), np.float32)
    argmax = np.empty(y.shape, np.uint8) if epilogue.pool else None
    images, held = images_of(x)
    matrix = _packed(w, sizes.vectors, sizes.c)
    shift = np.zeros(len(w), np.float32) if bias is None else plain(bias)
    arguments = (images, matrix, shift, y, argmax)
    scratch = _file.size("conv_forward_scratch", sizes)
    _file.run("conv_forward", sizes, len(x), arguments, scratch)
    del held  # until here: images points into it
    return seen_second(y), None if argmax is None else seen_second(argmax)


def backward(
    grad: Array,
    x: Array,
    w: Array,
    relu_y: Array | None,
    argmax: Array | None,
    geometry: Geometry,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """Gradients by x, w and bias from ``grad`` (N, O, OH, OW), behind ReLU and pool.

    ``argmax`` is the pool's, ``relu_y`` the result of ReLU where there is no pool.
    """
    sizes = _sizes(x.shape, w.shape, geometry, relu=False, pool=argmax is not None)
    (n, c, h, width), (o, _, kh, kw) = x.shape, w.shape
    (images, held_x), (grads, held_grad) = images_of(x), images_of(grad)
    dx = way_back = None
    block = sizes.vectors * _lanes()
    pitch = -(-o // block) * block
    if needs[0]:
        dx = np.empty((n, h, width, c), np.float32)
        sizes.margin = _margin(geometry.windows)
        way_back = _packed(turned(w), sizes.back_vectors, pitch)
    parts, dw, db = len(parts_of(n)), None, None
    if needs[1]:
        dw = workspace("dw", (parts, pitch // block, kh, kw, c, block), np.float32)
    if needs[2]:
        db = workspace("db", (parts, pitch), np.float64)
    arguments = (
        images,
        grads,
        contiguous_last(relu_y),
        contiguous_last(argmax),
        way_back,
        dx,
        dw,
        db,
    )
    scratch = _file.size("conv_backward_scratch", sizes)
    _file.run("conv_backward", sizes, n, arguments, scratch)
    del held_x, held_grad
    by_x = None if dx is None else seen_second(dx)
    by_w = None if dw is None else _total(dw).transpose(0, 4, 3, 1, 2)
    return (
        by_x,
        None if by_w is None else by_w.reshape(pitch, c, kh, kw)[:o],
        None if db is None else _total(db)[:o],
    )


def _total(parts: Array) -> Array:
    """Sums over the parts, in their order."""
    return parts.sum(axis=0).astype(np.float32, copy=False)


def _margin(windows: Windows) -> int:
    """Columns of zeros beside a gradient that the way back to the input's width needs."""
    return windows.mirrored.padding[1]


def _sizes(x: Shape, w: Shape, geometry: Geometry, relu: bool, pool: bool) -> _Conv:
    windows = geometry.windows
    out = windows.output_size("conv2d", x[2:])
    how = (*windows.stride, *windows.padding, *windows.dilation)
    return _Conv(*x[1:], w[0], *out, *w[2:], *how, _vectors(w[0]), relu, pool, _vectors(w[1]), 0)


def _vectors(channels: int) -> int:
    """Of a block of output channels."""
    return 1 if channels <= _lanes() else 2


@functools.cache
def _lanes() -> int:
    return _file.size("conv_lanes")


def _packed(w: Array, vectors: int, channels: int) -> Array:
    """w (O, C, KH, KW) → (O / block, KH, KW, channels, block), filled up with zeros."""
    o, c, kh, kw = w.shape
    block = vectors * _lanes()
    blocks = -(-o // block)
    packed = np.zeros((blocks, kh, kw, channels, block), np.float32)
    for b in range(blocks):
        some = w[b * block : (b + 1) * block].transpose(2, 3, 1, 0)
        packed[b, :, :, :c, : some.shape[3]] = some
    return packed
