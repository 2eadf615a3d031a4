"""Softmax and its logarithm on arrays, over ``axes``, which are not negative."""

from __future__ import annotations

import numpy as np

from ...backend import Array, is_cuda
from . import cuda, native, reference

__all__ = ["backward", "forward", "has_kernel"]


def has_kernel(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether x, on a GPU, has one kernel each way."""
    return is_cuda(x) and cuda.suits(x, axes)


def forward(x: Array, axes: tuple[int, ...], log: bool) -> Array:
    """exp(x - max) / Σ exp(x - max) or, if ``log``, x - max - log Σ exp(x - max)."""
    if type(x) is np.ndarray and native.suits(x, axes):
        return native.forward(x, axes, log)
    if has_kernel(x, axes):
        return cuda.forward(x, axes, log)
    return reference.forward(x, axes, log)


def backward(grad: Array, y: Array, axes: tuple[int, ...], log: bool) -> Array:
    """The gradient by x, from that by y: y · (grad - Σ grad · y), or grad - exp(y) · Σ grad."""
    if type(y) is np.ndarray and grad.dtype == y.dtype and native.suits(y, axes):
        return native.backward(grad, y, axes, log)
    if has_kernel(y, axes) and grad.dtype == y.dtype:
        return cuda.backward(grad, y, axes, log)
    return reference.backward(grad, y, axes, log)
