"""The max-pool of 2 × 2 windows that convolution and batch norm do as well."""

from __future__ import annotations

import numpy as np

from ...backend import Array, array_module
from .layout import seen_second
from .select import keep_where
from .windows import Shape, Windows

POOL = Windows(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))
MASKED = 4  # the argmax of a window whose gradient ReLU stops; the kernels are compiled with it


def max_pool(y: Array) -> tuple[Array, Array]:
    """The largest of each window of y (N, C, H, W) and the place of the first such element."""
    xp = array_module(y)
    out = POOL.output_size("max_pool2d", y.shape[2:])
    a, b, c, d = (y[:, :, *tap] for _, tap in POOL.each_tap(out))
    right, lower_right = b > a, d > c
    top, bottom = xp.maximum(a, b), xp.maximum(c, d)
    lower = bottom > top
    xp.maximum(top, bottom, out=top)
    return top, xp.where(lower, lower_right + np.uint8(2), right.astype(np.uint8))


def spread(grad: Array, argmax: Array, size: Shape) -> Array:
    """Each window's gradient (N, C, OH/2, OW/2) put where its maximum was, (N, C, OH, OW)."""
    xp = array_module(grad)
    n, c = grad.shape[:2]
    g = seen_second(xp.zeros((n, *size, c), grad.dtype))
    for k, tap in POOL.each_tap(grad.shape[2:]):
        g[:, :, *tap] = keep_where(grad, argmax == k)
    return g
