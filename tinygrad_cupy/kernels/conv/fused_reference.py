"""Convolution with bias, ReLU and a 2 × 2 max-pool on arrays, plainly.

A pooled output keeps one byte an element, its *argmax*: the place 0 … 3 (row · 2 + column) of the
window's first maximum, or MASKED where ReLU lets no gradient through. Letters are explained in
`windows`.
"""

from __future__ import annotations

from typing import Any

from ...backend import Array, array_module
from ..common.pool2x2 import MASKED, max_pool, spread
from ..common.select import keep_where
from ..common.windows import Geometry
from .epilogue import Epilogue
from .reference import dgrad, fprop, wgrad


def forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, epilogue: Epilogue
) -> tuple[Array, Array | None]:
    """y of x (N, C, H, W), and its argmax when it is pooled."""
    y = fprop(x, w, bias, geometry)
    if epilogue.pool:
        return pooled(y, epilogue.relu)
    if epilogue.relu:
        array_module(x).maximum(y, y.dtype.type(0), out=y)
    return y, None


def pooled(y: Array, relu: bool) -> tuple[Array, Array]:
    """The max-pool of a convolution's y, then ReLU where wanted, and the argmax of both."""
    xp = array_module(y)
    y, argmax = max_pool(y)
    if relu:
        xp.maximum(y, y.dtype.type(0), out=y)
        argmax = xp.where(y <= 0, argmax.dtype.type(MASKED), argmax)
    return y, argmax


def backward(
    grad: Array,
    x: Array,
    w: Array,
    y: Array | None,
    argmax: Array | None,
    geometry: Geometry,
    epilogue: Epilogue,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:
    """Gradients by x, w and bias, as far as ``needs`` asks; y is read only without a pool."""
    g = grad
    if argmax is not None:
        g = spread(grad, argmax, geometry.windows.output_size("conv2d", x.shape[2:]))
    elif epilogue.relu and y is not None:
        g = keep_where(grad, ~(y <= 0))
    return (
        dgrad(g, w, geometry, x.shape) if needs[0] else None,
        wgrad(x, g, geometry, w.shape) if needs[1] else None,
        g.sum(axis=(0, 2, 3)) if needs[2] else None,
    )
