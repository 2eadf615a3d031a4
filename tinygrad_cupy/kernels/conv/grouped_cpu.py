"""Convolution in groups of few channels on the CPU through ``grouped.c``, where it is compiled.

For float32. The gradient by the input is, phase by phase of the strides, the same product of the
output's gradient. Groups of many channels go through im2col. Letters are explained in `windows`.
"""

from __future__ import annotations

import ctypes
import functools

import numpy as np

from ...backend import Array, strides_of
from ...backend.c_source import CSource
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import parts_of, workspace
from ..common.images import FLOAT, images_of
from ..common.layout import seen_second
from ..common.pool2x2 import MASKED
from ..common.windows import Geometry, Shape, Windows
from .phases import phases

MOST = 32  # channels of a group: its rows in the ring are to stay in the cache
LEAST_WORK = 1 << 17  # multiplications of a part, which take longer than to have a thread do it

_file = CSource(__file__, "../common/images.h", "grouped.c", defines=(f"MASKED={MASKED}",))


class _Grouped(ctypes.Structure):
    """As ``Grouped`` in grouped.c."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("per", "o", "h", "w", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw"),
            *("pitch", "slices", "neighbours", "image", "row", "pixel"),
        )
    ]


def suits(x: Array, other: Array, geometry: Geometry) -> bool:
    """Whether grouped.c is for images x; ``other`` is the weight or a gradient."""
    return bool(
        geometry.groups > 1
        and x.shape[1] <= MOST * geometry.groups
        and x.dtype == other.dtype == np.float32
        and x.size
        and other.size
        and _file.library is not None
    )


def fprop(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) from x (N, C, H, W), w (O, C/G, KH, KW) and bias (O,)."""
    windows, groups = geometry
    out = windows.output_size("conv2d", x.shape[2:])
    y = aligned_empty((len(x), *out, len(w)), np.float32)
    _product(x, w, bias, windows, groups, y)
    return seen_second(y)


def dgrad(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """Gradient by the input, (N, C, H, W), from g (N, O, OH, OW)."""
    windows, groups = geometry
    n, c, *size = x_shape
    dx = aligned_empty((n, *size, c), np.float32)
    o, per, kh, kw = w.shape
    turned = w.reshape(groups, o // groups, per, kh, kw).swapaxes(1, 2)
    turned = turned.reshape(c, o // groups, kh, kw)
    for phase in phases(windows, tuple(size)):
        part = dx[:, *phase.pixels]
        if phase.windows is None:
            part[...] = 0
        else:
            _product(g, turned[:, :, *phase.taps], None, phase.windows, groups, part)
    return seen_second(dx)


def wgrad(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """Gradient by the weight, (O, C/G, KH, KW), from x (N, C, H, W) and g (N, O, OH, OW)."""
    windows, groups = geometry
    o, per, kh, kw = w_shape
    sizes = _sizes(x.shape, w_shape, windows, tuple(g.shape[2:]), (0, 0, 0))
    (images, held_x), (grads, held_g) = images_of(x), images_of(g)
    count, least = len(x) * sizes.slices, _least(sizes)
    parts = len(parts_of(count, least))
    dw = workspace("dw", (parts, kh, kw, per, sizes.pitch), np.float32)
    arguments = (images, _source(x.shape[1], o, groups), grads, _source(o, o, o), dw)
    scratch = _file.size("grouped_scratch", sizes)
    _file.run("grouped_wgrad", sizes, count, arguments, scratch, least)
    del held_x, held_g
    return np.ascontiguousarray(dw.sum(axis=0)[..., :o].transpose(3, 2, 0, 1))


def _product(
    x: Array, w: Array, bias: Array | None, windows: Windows, groups: int, y: Array
) -> None:
    """y (N, OH, OW, O), channels side by side, from x and w; the padding may be negative."""
    steps = tuple(step // FLOAT for step in strides_of(y)[:3])
    sizes = _sizes(x.shape, w.shape, windows, y.shape[1:3], steps)
    images, held = images_of(x)
    o, per, kh, kw = w.shape
    packed = np.zeros((kh, kw, per, sizes.pitch), np.float32)
    packed[..., :o] = w.transpose(2, 3, 1, 0)
    shift = None
    if bias is not None:
        shift = np.zeros(sizes.pitch, np.float32)
        shift[:o] = bias
    arguments = (images, _source(x.shape[1], o, groups), packed, shift, y)
    scratch = _file.size("grouped_scratch", sizes)
    _file.run("grouped_forward", sizes, len(x) * sizes.slices, arguments, scratch, _least(sizes))
    del held


def _sizes(x: Shape, w: Shape, windows: Windows, out: Shape, steps: Shape) -> _Grouped:
    o, per, kh, kw = w
    how = (*windows.stride, *windows.padding, *windows.dilation)
    pitch, slices = -(-o // _lanes()) * _lanes(), -(-o // _slice())
    neighbours = per == 1 and o == x[1]
    return _Grouped(per, o, *x[2:], *out, kh, kw, *how, pitch, slices, neighbours, *steps)


def _least(sizes: _Grouped) -> int:
    """Items of a part."""
    channels = min(sizes.o, _slice())
    taps = sizes.kh * sizes.kw * sizes.per
    return int(-(-LEAST_WORK // (sizes.oh * sizes.ow * taps * channels)))


@functools.lru_cache(256)
def _source(c: int, o: int, groups: int) -> Array:
    """(C/G, O): the channels of x that each output channel meets."""
    per = c // groups
    return np.ascontiguousarray(
        np.arange(o) // (o // groups) * per + np.arange(per)[:, None], np.int64
    )


@functools.cache
def _lanes() -> int:
    return _file.size("grouped_lanes")


@functools.cache
def _slice() -> int:
    return _file.size("grouped_slice")
