"""Direct convolution on the CPU: volumes by `direct.c`, where there is a compiler.

An input is copied between zeros once, and read where it lies by all taps: no plane is stacked, no
column matrix is made. The gradient by the input is the same product of a gradient between whose
elements stand stride - 1 zeros, with the kernel turned. Sequences could go the same way: as images
of one row, by conv.c, they are up to a quarter faster.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import parts_of, workspace
from ..common import sums
from ..common.windows import Geometry, Shape

Body = Callable[..., Any]

SEGMENT = 504  # places of a row that are an item: of tiles of 6, 9 and 12
LEAST_WORK = 1 << 17  # multiplications of a part, which take longer than to have a thread do it
MOST_CHANNELS = 64  # of more, products by BLAS are faster

_file = CSource(__file__, "direct.c")


class _Direct(ctypes.Structure):
    """As ``Direct`` in direct.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("image", "outputs", "products", "planes", "height", "width", "segment", "segments"),
            *("by_plane", "by_row", "by_place", "vectors"),
        )
    ]


# --- what `kernels.conv` calls ------------------------------------------------------------------


def fprop(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
        if not _suits(x, w, geometry):
            return otherwise(x, w, bias, geometry)
        out = geometry.windows.output_size("conv", x.shape[2:])
        return _product(x, w, bias, _ones(geometry), *geometry.windows[1:4], out)

    return of_any


def dgrad(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
        if not _suits(g, w, geometry):
            return otherwise(g, w, geometry, x_shape)
        return _by_input(g, w, geometry, x_shape)

    return of_any


def wgrad(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
        if not _suits(x, g, geometry):
            return otherwise(x, g, geometry, w_shape)
        return _by_weight(x, g, geometry, w_shape)

    return of_any


def wgrad_and_bias(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> tuple[Array, Array]:
        if not _suits(x, g, geometry):
            found: tuple[Array, Array] = otherwise(x, g, geometry, w_shape)
            return found
        return _by_weight(x, g, geometry, w_shape), sums.total(g, (0, *range(2, g.ndim)))

    return of_any


def backward(otherwise: Body) -> Body:
    """``otherwise`` where direct convolution is not for it."""

    @functools.wraps(otherwise)
    def of_any(g: Array, x: Array, w: Array, geometry: Geometry, by_bias: bool) -> Any:
        if not (_suits(x, w, geometry) and _suits(g, w, geometry)):
            return otherwise(g, x, w, geometry, by_bias)
        db = sums.total(g, (0, *range(2, g.ndim))) if by_bias else None
        dx = _by_input(g, w, geometry, x.shape)
        return dx, _by_weight(x, g, geometry, w.shape), db

    return of_any


# --- calls of direct.c --------------------------------------------------------------------------


def _suits(x: Array, other: Array, geometry: Geometry) -> bool:
    """Whether direct.c is for x, of volumes; ``other`` is the weight or a gradient."""
    return bool(
        x.ndim == 5
        and x.dtype == other.dtype == np.float32
        and geometry.groups == 1
        and x.size
        and other.size
        and max(x.shape[1], other.shape[1]) <= MOST_CHANNELS
        and _file.library is not None
    )


def _ones(geometry: Geometry) -> Shape:
    return (1,) * len(geometry.windows.kernel)


def _by_input(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    back, axes = geometry.windows.mirrored, tuple(range(2, w.ndim))
    turned = np.flip(w, axes).swapaxes(0, 1)
    ones = _ones(geometry)
    how = (geometry.windows.stride, ones, back.padding, back.dilation)
    return _product(g, turned, None, *how, tuple(x_shape[2:]))


def _product(
    x: Array,
    w: Array,
    bias: Array | None,
    apart: Shape,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    out: Shape,
) -> Array:
    """y (N, O, *out) of windows of x, whose elements stand so far ``apart``, and w (O, C, …)."""
    y = aligned_empty((len(x), len(w), *out), np.float32)
    lines = _padded(x, apart, stride, padding, dilation, w.shape[2:], out)
    sizes, reach = _sizes(lines.shape[1:], len(w), w.shape[2:], stride, dilation, out)
    given = None if bias is None else plain(bias)
    matrix = _packed(w, sizes.vectors)
    count = len(x) * sizes.planes * sizes.height * sizes.segments
    arguments = (lines, reach, matrix, given, y)
    _file.run("direct_forward", sizes, count, arguments, least=_least(sizes))
    return y


def _by_weight(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    windows, out = geometry.windows, g.shape[2:]
    outputs, _, *kernel = w_shape
    how = (windows.stride, windows.padding, windows.dilation, tuple(kernel), out)
    lines = _padded(x, _ones(geometry), *how)
    sizes, reach = _sizes(
        lines.shape[1:], outputs, tuple(kernel), windows.stride, windows.dilation, out
    )
    block = sizes.vectors * _lanes()
    pitch = -(-outputs // block) * block
    places = math.prod(out)
    last = workspace("direct_g", (len(g), places, pitch), np.float32)
    last[:, :, :outputs] = g.reshape(len(g), outputs, places).transpose(0, 2, 1)
    last[:, :, outputs:] = 0
    count = len(x) * sizes.planes * sizes.height * sizes.segments
    least = max(_least(sizes), -(-count // 8))
    parts = len(parts_of(count, least))
    dw = workspace("direct_dw", (parts, pitch // block, sizes.products, block), np.float32)
    _file.run("direct_wgrad", sizes, count, (lines, reach, last, dw), least=least)
    total = dw.sum(axis=0)  # (O / block, products, block), of one part too: dw is written again
    by_output = total.transpose(0, 2, 1).reshape(pitch, sizes.products)
    return np.ascontiguousarray(by_output[:outputs]).reshape(w_shape)


def _padded(
    x: Array,
    apart: Shape,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    kernel: Shape,
    out: Shape,
) -> Array:
    """x (N, C, …) as the windows of all of ``out`` see it: zeros around and between it."""
    side = zip(out, stride, kernel, dilation, strict=True)
    seen = tuple([(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in side])
    if seen == x.shape[2:] and not any(padding):
        return plain(x)
    lines = workspace("direct_x", (*x.shape[:2], *seen), np.float32)
    lines[...] = 0
    into, given = [slice(None)] * 2, [slice(None)] * 2
    for n, step, before, size in zip(x.shape[2:], apart, padding, seen, strict=True):
        first = max(0, -(before // step))  # of x's elements, the first that is seen
        stop = max(first, min(n, (size - 1 - before) // step + 1))
        given.append(slice(first, stop))
        begin = before + first * step
        into.append(slice(begin, max(begin, before + (stop - 1) * step + 1), step))
    lines[tuple(into)] = x[tuple(given)]
    return lines


@functools.lru_cache(1024)
def _sizes(
    image: Shape, outputs: int, kernel: Shape, stride: Shape, dilation: Shape, out: Shape
) -> tuple[_Direct, Array]:
    """What direct.c is told, and where each product of a place is."""
    channels, *size = image
    steps = [math.prod(size[i + 1 :]) for i in range(len(size))]  # of the axes
    plane = math.prod(size)
    reach = plane * np.arange(channels)
    for k, d, step in zip(kernel, dilation, steps, strict=True):
        reach = reach[..., None] + np.arange(k) * d * step
    each = [0] * (3 - len(size)) + [s * step for s, step in zip(stride, steps, strict=True)]
    planes, height, width = (1,) * (3 - len(out)) + tuple(out)
    segments = -(-width // SEGMENT)
    vectors = 1 if outputs <= _lanes() else 2
    numbers = (channels * plane, outputs, reach.size, planes, height, width)
    segment = -(-width // segments)
    sizes = _Direct(*numbers, segment, -(-width // segment), *each, vectors)
    return sizes, np.ascontiguousarray(reach.reshape(-1), np.int64)


def _least(sizes: _Direct) -> int:
    """Items of a part."""
    return max(1, int(LEAST_WORK // (sizes.segment * sizes.products * sizes.outputs)))


@functools.cache
def _lanes() -> int:
    return _file.size("direct_lanes")


def _packed(w: Array, vectors: int) -> Array:
    """w (O, C, …) → (O / block, products, block), filled up with zeros."""
    block = vectors * _lanes()
    outputs = len(w)
    rows = w.reshape(outputs, -1)
    if outputs % block:
        rows = np.concatenate([rows, np.zeros((-outputs % block, rows.shape[1]), np.float32)])
    blocks = rows.reshape(-1, block, rows.shape[1])
    return np.ascontiguousarray(blocks.transpose(0, 2, 1))
