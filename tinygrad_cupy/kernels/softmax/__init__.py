"""Softmax and its logarithm on arrays, over ``axes``, which are not negative."""

from __future__ import annotations

import numpy as np

from ...backend import Array
from . import native, reference

__all__ = ["backward", "forward"]


def forward(x: Array, axes: tuple[int, ...], log: bool) -> Array:
    """exp(x - max) / Σ exp(x - max) or, if ``log``, x - max - log Σ exp(x - max)."""
    ours = type(x) is np.ndarray and native.suits(x, axes)
    return (native if ours else reference).forward(x, axes, log)


def backward(grad: Array, y: Array, axes: tuple[int, ...], log: bool) -> Array:
    """The gradient by x, from that by y: y · (grad - Σ grad · y), or grad - exp(y) · Σ grad."""
    ours = type(y) is np.ndarray and grad.dtype == y.dtype and native.suits(y, axes)
    return (native if ours else reference).backward(grad, y, axes, log)
