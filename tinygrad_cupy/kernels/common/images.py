"""Arrays (N, C, …) as the C files see them: images with their pixels or channels side by side."""

from __future__ import annotations

import ctypes

from ...backend import Array, one_stride, strides_of
from ...backend.c_source import plain
from .layout import seen_last

FLOAT = 4  # bytes


class Images(ctypes.Structure):
    """As in images.h: where an element of an image lies, in floats."""

    _fields_ = [
        ("at", ctypes.c_void_p),
        ("by_image", ctypes.c_int64),
        ("by_pixel", ctypes.c_int64),
        ("by_channel", ctypes.c_int64),
    ]


def images_of(x: Array) -> tuple[Images, Array]:
    """Of x (N, C, …) float32; and the array that must live as long: x, or a contiguous copy."""
    steps = _steps(x)
    if steps is None:
        x = plain(x)
        steps = _steps(x) or (0, 0, 0)
    return Images(x.ctypes.data, *steps), x


def _steps(x: Array) -> tuple[int, int, int] | None:
    """From image to image, pixel to pixel and channel to channel, in floats.

    None where there are no such steps: floats beside multiples of their size, or an image's pixels
    not equally far apart.
    """
    shape, strides = x.shape, strides_of(x)
    if not x.size:
        return 0, 0, 0  # nothing is read
    by_image, by_channel = strides[:2]
    by_pixel = one_stride(shape[2:], strides[2:])
    if by_pixel is None or not x.flags.aligned:
        return None
    if by_image % FLOAT or by_pixel % FLOAT or by_channel % FLOAT:
        return None
    # Of one channel, or one pixel, the step that makes the image a single run of floats.
    channels = shape[1]
    one_pixel = x.size == len(x) * channels
    return (
        by_image // FLOAT,
        channels if one_pixel else by_pixel // FLOAT,
        1 if channels == 1 else by_channel // FLOAT,
    )


def contiguous_last(x: Array | None) -> Array | None:
    """x (N, C, …), if there is one, as a contiguous (N, …, C)."""
    return None if x is None else plain(seen_last(x))
