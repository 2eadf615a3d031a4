"""Dropout on a GPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import random
from ...backend import Array, CudaSource, Elementwise, device_of, import_cupy, int32s, int64s
from ..common.layout import contiguous, empty_last, is_stored_last
from . import reference
from .reference import least_word, scale_of

_kernels = CudaSource(
    *(__file__, random.PHILOX, "dropout.cu"),
    defines=(f"RESIDENT={random.RESIDENT}", f"STREAM={random.STREAM_DROPOUT}"),
)


def draw(x: Array, p: float, last: bool) -> tuple[Array, Array]:
    """`reference.draw` in one launch, with ``last`` of images stored N, H, W, C."""
    least = least_word(p)
    part = random.part_of(x.shape)
    if x.dtype != np.float32 or x.size == 0 or least >= 2**64 or not part.is_of_blocks:
        return reference.draw(x, p, apply)
    source = x if last else contiguous(x)
    cupy = import_cupy()
    y, mask = cupy.empty(x.shape, x.dtype), cupy.empty(x.shape, np.bool_)
    state = random.generator.state(random.STREAM_DROPOUT, device_of(x))
    sizes = _sizes(x) if last else int64s(x.size)
    where = (np.uint32(least >> 32), *int64s(part.first // 4, part.total))
    arguments = (source, y, mask, *sizes, scale_of(x, p), *where, state)
    if last:
        _kernels.launch("dropout_draw_channels_last", random.walking_images(x), arguments)
    else:
        _kernels.launch("dropout_draw", random.walking(x), arguments)
    return y, mask


def apply(x: Array, mask: Array, p: float, last: bool) -> Array:
    """x · mask / (1 - p), with ``last`` stored N, H, W, C."""
    if not last or x.dtype != np.float32 or x.size == 0:
        return _multiply(x, mask, scale_of(x, p))
    y = empty_last(x.shape, x.dtype)
    arguments = (contiguous(x), mask, y, *_sizes(x), scale_of(x, p))
    blocks = _kernels.blocks(x.size // 4)
    _kernels.launch("dropout_apply_channels_last", blocks, arguments)
    return y


def _sizes(x: Array) -> tuple[Any, ...]:
    """Images, channels and pixels of x (N, C, H, W), as arguments of a launch."""
    n, channels, height, width = x.shape
    return (*int64s(n), *int32s(channels, height * width))


def lies_channels_last(x: Array) -> bool:
    """Whether x is images stored N, H, W, C that `dropout.cu` takes four pixels at a time."""
    return bool(
        x.ndim == 4
        and not x.flags.c_contiguous
        and x.shape[2] * x.shape[3] % 4 == 0
        and math.prod(x.shape[1:]) < 2**31
        and is_stored_last(x)
    )


_multiply = Elementwise(
    "T x, bool mask, T scale", "T y", "y = x * T(mask) * scale", "dropout_apply"
)
