"""Convolution with bias, ReLU and a 2 × 2 max-pool on arrays: the plain kernels of `conv_block`.

A pooled output keeps one byte an element, its *code*: the place 0 … 3 (row · 2 + column) of the
window's first maximum, or SHUT where ReLU lets no gradient through. Letters are explained in
`windows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, array_module
from ..common.select import keep_where
from ..common.windows import Windows
from .reference import Geometry, Shape, conv_forward, conv_input, conv_weight

POOL = Windows(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))
SHUT = 4


def forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, relu: bool, pool: bool
) -> tuple[Array, Array | None]:
    """y of x (N, C, H, W), and its code when it is pooled."""
    y, code = conv_forward(x, w, bias, geometry), None
    xp = array_module(x)
    if pool:
        y, code = max_pool(y)
    if relu:
        xp.maximum(y, y.dtype.type(0), out=y)
    if relu and code is not None:
        code[y <= 0] = SHUT
    return y, code


def max_pool(y: Array) -> tuple[Array, Array]:
    """The largest of each window of y (N, C, H, W) and the place of the first such element."""
    xp = array_module(y)
    out = POOL.output_size("max_pool2d", y.shape[2:])
    a, b, c, d = (y[:, :, rows, columns] for _, rows, columns in POOL.each_tap(out))
    right, lower_right = b > a, d > c
    top, bottom = xp.maximum(a, b), xp.maximum(c, d)
    lower = bottom > top
    xp.maximum(top, bottom, out=top)
    return top, xp.where(lower, lower_right + np.uint8(2), right.astype(np.uint8))


def backward(
    grad: Array,
    x: Array,
    w: Array,
    y: Array | None,
    code: Array | None,
    geometry: Geometry,
    relu: bool,
    pool: bool,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:
    """Gradients by x, w and bias, as far as ``needs`` asks; y is read only without a pool."""
    g = grad
    if code is not None:
        g = spread(grad, code, geometry.windows.output_size("conv2d", x.shape[2:]))
    elif relu and y is not None:
        g = keep_where(grad, ~(y <= 0))
    return (
        conv_input(g, w, geometry, x.shape) if needs[0] else None,
        conv_weight(x, g, geometry, w.shape) if needs[1] else None,
        g.sum(axis=(0, 2, 3)) if needs[2] else None,
    )


def spread(grad: Array, code: Array, size: Shape) -> Array:
    """Each window's gradient (N, C, OH/2, OW/2) put where its maximum was, (N, C, OH, OW)."""
    xp = array_module(grad)
    n, c, *out = grad.shape
    g = xp.zeros((n, *size, c), grad.dtype).transpose(0, 3, 1, 2)
    for k, rows, columns in POOL.each_tap((out[0], out[1])):
        g[:, :, rows, columns] = keep_where(grad, code == k)
    return g
