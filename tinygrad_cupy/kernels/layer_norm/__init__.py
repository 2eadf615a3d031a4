"""Rows normalized by their own statistics, on NumPy arrays: layer, group and RMS norm on a CPU.

R rows, C columns. On a GPU they are put together from other operations.
"""

from __future__ import annotations

from ...backend import Array
from . import native, reference
from .reference import Gradients

__all__ = ["backward", "forward"]


def forward(
    x: Array, weight: Array | None, bias: Array | None, centred: bool, eps: float
) -> tuple[Array, Array]:
    """y (R, C) = (x - mean) / √(mean square of that + eps) · weight + bias, and its statistics.

    Both are of each row; the mean is 0 if not ``centred``. weight and bias are (C,) or None.
    """
    if native.suits(x, weight, bias):
        return native.forward(x, weight, bias, centred, eps)
    return reference.forward(x, weight, bias, centred, eps)


def backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: Array,
    centred: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    """The gradients by x, weight and bias, as far as ``needs`` asks; None for the others."""
    if native.suits(x, weight, grad):
        return native.backward(grad, x, weight, stats, centred, needs)
    return reference.backward(grad, x, weight, stats, centred, needs)
