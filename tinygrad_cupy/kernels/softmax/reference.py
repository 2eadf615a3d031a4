"""Softmax and its logarithm, on either kind of array."""

from __future__ import annotations

from ...backend import Array, array_module
from ..common import sums


def forward(x: Array, axes: tuple[int, ...], log: bool) -> Array:
    """As `kernels.softmax.forward`."""
    xp = array_module(x)
    shifted = x - x.max(axis=axes, keepdims=True)
    if log:
        return shifted - xp.log(sums.total(xp.exp(shifted), axes, keepdims=True))
    e = xp.exp(shifted)
    e /= sums.total(e, axes, keepdims=True)
    return e


def backward(grad: Array, y: Array, axes: tuple[int, ...], log: bool) -> Array:
    """As `kernels.softmax.backward`."""
    if log:
        return grad - array_module(y).exp(y) * sums.total(grad, axes, keepdims=True)
    return y * (grad - sums.total(grad * y, axes, keepdims=True))
