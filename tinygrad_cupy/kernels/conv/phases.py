"""The gradient by a convolution's input as convolutions of stride 1 of the output's gradient.

Along an axis of stride s, input pixels r, r + s, r + 2s, … are met by the same taps of the kernel:
those k with r + padding - k · dilation a multiple of s. So each of these s phases is a convolution
by a part of the kernel, turned, whose results lie s apart (a "sub-pixel" convolution). Nothing is
multiplied with zeros between pixels, and nothing is added up in memory.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

from ..common.windows import Shape, Windows


class Phase(NamedTuple):
    """One convolution of the output's gradient g: its windows, weights and where its results go.

    ``windows`` is None where no tap meets these pixels, whose gradient is 0. Its padding may be
    negative, and that behind the last pixel is whatever the results of ``size`` need.
    """

    windows: Windows | None
    taps: tuple[slice, ...]  # of the weight, along each axis; turned
    pixels: tuple[slice, ...]  # of the input, along each axis
    size: Shape  # how many they are


@functools.lru_cache(4096)
def phases(windows: Windows, x_size: Shape) -> tuple[Phase, ...]:
    """All of them, for an input of ``x_size``; each of its pixels is in one."""
    axes = zip(*windows[:4], x_size, strict=True)
    return tuple(_together(each) for each in itertools.product(*map(_along, axes)))


class _Line(NamedTuple):
    """A phase along one axis."""

    kernel: int
    padding: int
    dilation: int
    taps: slice
    pixels: slice
    size: int


def _along(axis: tuple[int, ...]) -> list[_Line]:
    kernel, stride, padding, dilation, size = axis
    common = math.gcd(stride, dilation)
    lines = []
    for first in range(min(stride, size)):
        pixels = slice(first, size, stride)
        count = len(range(first, size, stride))
        met = [k for k in range(kernel) if (first + padding - k * dilation) % stride == 0]
        if not met:
            lines.append(_Line(0, 0, 1, slice(0, 0), pixels, count))
            continue
        # Pixel u of the phase meets g at (first + padding - k · dilation) / stride + u.
        step, apart = stride // common, dilation // common
        before = (len(met) - 1) * apart - (first + padding - met[0] * dilation) // stride
        stop = met[0] - step
        taps = slice(met[-1], None if stop < 0 else stop, -step)
        lines.append(_Line(len(met), before, apart, taps, pixels, count))
    return lines


def _together(lines: tuple[_Line, ...]) -> Phase:
    kernel, padding, dilation, taps, pixels, size = zip(*lines, strict=True)
    ones = (1,) * len(lines)
    windows = None if 0 in kernel else Windows(kernel, ones, padding, dilation)
    return Phase(windows, taps, pixels, size)
