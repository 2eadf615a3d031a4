"""Dropout on the CPU through ``dropout.c``, where the machine has a C compiler; for float32.

What does not `suit` goes through NumPy, in `dropout`.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ..common.images import images_of
from ..common.pool2x2 import MASKED

_file = CSource(__file__, "../common/images.h", "dropout.c", defines=(f"MASKED={MASKED}",))
DRAW_LEAST, KEEP_LEAST = 1 << 13, 1 << 16  # elements for a thread: fewer do not pay


class _Dropout(ctypes.Structure):
    """As ``Dropout`` in dropout.c."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("channels", "pixels")],
        *[(name, ctypes.c_uint64) for name in ("counter", "seed", "stream", "least")],
        ("scale", ctypes.c_float),
    ]


def suits(x: Array) -> bool:
    """Whether dropout of x (N, C, …) can run here: a block of four words must not be cut."""
    if x.dtype != np.float32 or x.ndim < 2 or not x.size or x.size // len(x) % 4:
        return False
    return _file.library is not None


def draw(
    x: Array, scale: Any, least: int, counter: int, key: tuple[int, int]
) -> tuple[Array, Array]:
    """x · mask · scale and the mask, both in C order: words of at least ``least`` are kept."""
    sizes = _Dropout(x.shape[1], math.prod(x.shape[2:]), counter, *key, least, scale)
    images, held = images_of(x)
    y, mask = aligned_empty(x.shape, np.float32), aligned_empty(x.shape, np.bool_)
    least_images = -(-DRAW_LEAST * len(x) // x.size)
    _file.run("dropout_draw", sizes, len(x), (images, y, mask), least=least_images)
    del held  # until here: images points into it
    return y, mask


def keep(x: Array, mask: Array, scale: Any) -> Array:
    """x · mask · scale of a contiguous x."""
    y = aligned_empty(x.shape, np.float32)
    sizes = _Dropout(1, x.size, 0, 0, 0, 0, scale)
    _file.run("dropout_keep", sizes, x.size, (plain(x), mask, y), least=KEEP_LEAST)
    return y
