"""Arrays (N, C, …) as the C files see them: images with their pixels or channels side by side."""

from __future__ import annotations

import ctypes

from ..backend import Array
from ..native import plain
from .layout import seen_last


class Images(ctypes.Structure):
    """As in images.c: where an element of an image lies, in floats."""

    _fields_ = [
        ("at", ctypes.c_void_p),
        ("by_image", ctypes.c_int64),
        ("by_pixel", ctypes.c_int64),
        ("by_channel", ctypes.c_int64),
    ]


def images_of(x: Array) -> tuple[Images, Array]:
    """Of x (N, C, …) float32; and the array that must live as long: x, or a contiguous copy."""
    if not _regular(x):
        x = plain(x)
    steps = [s // x.itemsize for s in x.strides]
    by_channel = steps[1] if x.shape[1] > 1 else 1  # of one channel a stride says nothing
    return Images(x.ctypes.data, steps[0], steps[-1] if x.ndim > 2 else x.shape[1], by_channel), x


def _regular(x: Array) -> bool:
    """Whether floats lie at multiples of their size, and an image's pixels equally far apart."""
    inner = range(2, x.ndim - 1)
    return (
        x.flags.aligned
        and not any(s % x.itemsize for s in x.strides)
        and all(x.strides[i] == x.strides[i + 1] * x.shape[i + 1] for i in inner)
    )


def contiguous_last(x: Array | None) -> Array | None:
    """x (N, C, …), if there is one, as a contiguous (N, …, C)."""
    return None if x is None else plain(seen_last(x))
