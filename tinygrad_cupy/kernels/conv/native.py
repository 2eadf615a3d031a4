"""Convolution on the CPU through ``conv.c``, where the machine has a C compiler.

For float32 and one group. What does not `suit` goes through NumPy, in `cpu`. Letters are explained
in `windows`.
"""

from __future__ import annotations

import ctypes
import functools
import math

import numpy as np

from ...backend import Array, product, strides_of
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import PARTS, parts_of, workspace
from ..common import sums
from ..common.images import FLOAT, contiguous_last, images_of
from ..common.layout import is_stored_last, seen_last, seen_second
from ..common.pool2x2 import MASKED
from ..common.windows import Geometry, Shape, Windows
from .epilogue import Epilogue
from .phases import phases
from .reference import turned

PIXELS = 256  # of images that are taken together: weights read for them serve them all
BAND = 1 << 15  # floats of the input that stay in the cache
RUN = 4096  # pixels that one float32 adds up at most
LONG = 1 << 16  # pixels that a product adds up
MATRIX = 1 << 14  # elements of a 1 x 1 weight whose gradient has items enough as a product
POINT = Windows((1, 1), (1, 1), (0, 0), (1, 1))

_file = CSource(
    *(__file__, "../common/images.h", "../common/taps.h", "conv.c"), defines=(f"MASKED={MASKED}",)
)


class _Conv(ctypes.Structure):
    """As ``Conv`` in conv.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("n", "c", "h", "w", "o", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw"),
            *("relu", "pool", "group", "slices", "band", "image", "row", "pixel", "margin"),
        )
    ]


class _Packing(ctypes.Structure):
    """As ``Packing`` in conv.c."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("o", "c", "kh", "kw", "channels")],
        ("steps", ctypes.c_int64 * 4),
    ]


def suits(x: Array, other: Array, geometry: Geometry) -> bool:
    """Whether a convolution of x (N, C, H, W) can run here; ``other`` is a weight or gradient."""
    if x.dtype != np.float32 or other.dtype != np.float32 or geometry.groups != 1:
        return False
    return bool(x.size and other.size and _file.library is not None)


def forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, epilogue: Epilogue
) -> tuple[Array, Array | None]:
    """y (N, O, OH, OW), halved by the pool, and the pool's argmax."""
    out = geometry.windows.output_size("conv2d", x.shape[2:])
    size = tuple([n // 2 for n in out]) if epilogue.pool else out
    y = aligned_empty((len(x), *size, len(w)), np.float32)
    argmax = aligned_empty(y.shape, np.uint8) if epilogue.pool else None
    _product(x, w, bias, geometry.windows, out, y, argmax, epilogue)
    return seen_second(y), None if argmax is None else seen_second(argmax)


def dgrad(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW)."""
    n, c, *size = x_shape
    dx = aligned_empty((n, *size, c), np.float32)
    back = w.transpose(1, 0, 2, 3)
    for phase in phases(geometry.windows, tuple(size)):
        part = dx[:, *phase.pixels]
        if phase.windows is None:
            part[...] = 0
        else:
            taps = back[:, :, *phase.taps]
            _product(g, taps, None, phase.windows, phase.size, part, None, Epilogue())
    return seen_second(dx)


def wgrad(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    if geometry.windows == POINT and math.prod(w_shape) >= MATRIX:
        pixels, grads = _pixels(x), _pixels(g)
        if pixels is not None and grads is not None and len(pixels) <= LONG:
            matrix = aligned_empty(w_shape[:2], np.float32)
            if product.product(grads.T, pixels, matrix):
                return matrix.reshape(w_shape)
    if not _is_wide(w_shape):
        w = np.broadcast_to(np.float32(0), w_shape)  # its shape alone matters
        _, dw, _ = backward(g, x, w, None, None, geometry, (False, True, False))
        assert dw is not None
        return dw
    sizes = _sizes(x.shape, w_shape, geometry.windows, tuple(g.shape[2:]))
    chunks, blocks = -(-sizes.c // _chunk()), -(-sizes.o // (2 * _lanes()))
    rows = min(BAND // ((sizes.w + 2 * sizes.pw) * _chunk() * sizes.sh), RUN // sizes.ow, sizes.oh)
    sizes.band = max(1, rows)
    if sizes.band == sizes.oh:
        sizes.group = min(len(x), max(1, PIXELS // (sizes.oh * sizes.ow)))
    sizes.slices = min(blocks, -(-PARTS // chunks))
    (images, held_x), (grads, held_g) = images_of(x), images_of(g)
    dw = workspace("dw", _packed_size(w_shape, sizes.c), np.float32)
    scratch = _file.size("conv_wgrad_scratch", sizes)
    _file.run("conv_wgrad", sizes, chunks * sizes.slices, (images, grads, dw), scratch)
    del held_x, held_g
    return _unpacked(dw, 1, w_shape)


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
    windows = geometry.windows
    out = windows.output_size("conv2d", x.shape[2:])
    alone = windows == POINT or windows.stride != (1, 1) or _margin(windows) < 0
    if _is_wide(w.shape) or (needs[0] and alone):
        return _each_gradient(_opened(grad, relu_y, argmax, out), x, w, geometry, needs)
    sizes = _sizes(x.shape, w.shape, windows, out)
    sizes.pool = argmax is not None
    (n, c, h, width), o = x.shape, len(w)
    (images, held_x), (grads, held_grad) = images_of(x), images_of(grad)
    dx = way_back = None
    pitch = -(-o // _lanes()) * _lanes()
    if needs[0]:
        dx = aligned_empty((n, h, width, c), np.float32)
        sizes.margin = _margin(windows)
        way_back = _packed(turned(w), pitch)
    parts, dw, db = len(parts_of(n)), None, None
    if needs[1]:
        dw = workspace("dw", (parts, *_packed_size(w.shape, c)), np.float32)
    if needs[2]:
        db = workspace("db", (parts, pitch), np.float64)
    opened = contiguous_last(relu_y), contiguous_last(argmax)
    arguments = (images, grads, *opened, way_back, dx, dw, db)
    scratch = _file.size("conv_backward_scratch", sizes)
    _file.run("conv_backward", sizes, n, arguments, scratch)
    del held_x, held_grad
    return (
        None if dx is None else seen_second(dx),
        None if dw is None else _unpacked(dw, parts, w.shape),
        None if db is None else db.sum(axis=0)[:o].astype(np.float32),
    )


def _each_gradient(
    g: Array, x: Array, w: Array, geometry: Geometry, needs: tuple[bool, ...]
) -> tuple[Array | None, ...]:
    """Gradients by x, w and bias from g (N, O, OH, OW), one after the other."""
    return (
        dgrad(g, w, geometry, tuple(x.shape)) if needs[0] else None,
        wgrad(x, g, geometry, tuple(w.shape)) if needs[1] else None,
        sums.total(g, (0, 2, 3)) if needs[2] else None,
    )


def _opened(grad: Array, relu_y: Array | None, argmax: Array | None, out: Shape) -> Array:
    """The gradient (N, O, OH, OW) in front of ReLU and pool."""
    if relu_y is None and argmax is None:
        return grad
    n, channels = grad.shape[:2]
    g = aligned_empty((n, *out, channels), np.float32)
    sizes = _Conv(n=n, o=channels, oh=out[0], ow=out[1], pool=argmax is not None)
    images, held = images_of(grad)
    opened = contiguous_last(relu_y), contiguous_last(argmax)
    scratch = _file.size("conv_open_scratch", sizes)
    _file.run("conv_open", sizes, n, (images, *opened, g), scratch)
    del held
    return seen_second(g)


def _is_wide(w: Shape) -> bool:
    """Whether the gradient by a weight has items enough for all threads, which own parts of it.

    Else parts of the batch each have one of their own, which are added up.
    """
    return -(-w[1] // _chunk()) * -(-w[0] // (2 * _lanes())) >= PARTS


def _product(
    x: Array,
    w: Array,
    bias: Array | None,
    windows: Windows,
    out: Shape,
    y: Array,
    argmax: Array | None,
    epilogue: Epilogue,
) -> None:
    """y (N, OH, OW, O), channels side by side, from x and w; the padding may be negative."""
    # A phase of dgrad that goes on behind g has more pixels than g.
    point = windows == POINT and tuple(out) == tuple(x.shape[2:]) and not epilogue.pool
    pixels = _pixels(x) if point and y.flags.c_contiguous else None
    if pixels is not None:
        matrix, rows = w[:, :, 0, 0].T, y.reshape(-1, len(w))
        if product.product(pixels, matrix, rows, bias, epilogue.relu):
            return
    sizes = _sizes(x.shape, w.shape, windows, out)
    sizes.relu, sizes.pool = epilogue
    images, held = images_of(x)
    steps = [step // FLOAT for step in strides_of(y)[:3]]
    sizes.image, sizes.row, sizes.pixel = steps
    if point and steps[1] == out[1] * steps[2]:
        sizes.w = sizes.ow = math.prod(out)  # all rows are one
        sizes.h = sizes.oh = 1
    sizes.group = min(len(x), max(1, PIXELS // (sizes.oh * sizes.ow)))
    groups, blocks = -(-len(x) // sizes.group), -(-sizes.o // (2 * _lanes()))
    sizes.slices = min(blocks, -(-PARTS // groups))
    shift = None
    if bias is not None or epilogue.pool:
        shift = np.zeros(-(-sizes.o // _lanes()) * _lanes(), np.float32)
        if bias is not None:
            shift[: sizes.o] = bias
    arguments = (images, _packed(w, sizes.c), shift, y, argmax)
    scratch = _file.size("conv_forward_scratch", sizes)
    _file.run("conv_forward", sizes, groups * sizes.slices, arguments, scratch)
    del held


def _pixels(x: Array) -> Array | None:
    """x (N, C, H, W) as a matrix of a row for each pixel; None unless it is stored so."""
    return seen_last(x).reshape(-1, x.shape[1]) if is_stored_last(x) else None


def _margin(windows: Windows) -> int:
    """Columns of zeros beside a gradient that the way back to the input's width needs."""
    return windows.mirrored.padding[1]


def _sizes(x: Shape, w: Shape, windows: Windows, out: Shape) -> _Conv:
    how = (*windows.stride, *windows.padding, *windows.dilation)
    return _Conv(*x, w[0], *out, *w[2:], *how, group=1, slices=1)


@functools.cache
def _lanes() -> int:
    return _file.size("conv_lanes")


@functools.cache
def _chunk() -> int:
    return _file.size("conv_chunk")


def _packed_size(w: Shape, channels: int) -> Shape:
    return (-(-w[0] // _lanes()) * _lanes() * channels * math.prod(w[2:]),)


def _packed(w: Array, channels: int) -> Array:
    """w (O, C, KH, KW) in blocks of output channels, and with so many input channels."""
    packed = workspace("packed", _packed_size(w.shape, channels), np.float32)
    if w.dtype != np.float32 or not w.flags.aligned:
        w = plain(w)
    steps = [step // FLOAT for step in strides_of(w)]
    _pack("conv_pack", w.shape, channels, steps, (w, packed))
    return packed


def _unpacked(packed: Array, parts: int, w: Shape) -> Array:
    """The sum of so many parts, each a gradient by weights (O, C, KH, KW) as packed."""
    found = aligned_empty(w, np.float32)
    _pack("conv_unpack", w, parts, [0] * 4, (packed, found))
    return found


def _pack(name: str, w: Shape, count: int, steps: list[int], arrays: tuple[Array, Array]) -> None:
    blocks = -(-w[0] // (2 * _lanes()))
    least = max(1, (1 << 15) * blocks // math.prod(w))
    _file.run(name, _Packing(*w, count, (ctypes.c_int64 * 4)(*steps)), blocks, arrays, 0, least)
