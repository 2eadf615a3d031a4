"""Rows normalized by their own statistics, on arrays: layer, group, instance and RMS norm.

R rows, C columns.
"""

from __future__ import annotations

from ...backend import Array, is_cuda, kernel
from ..common import row_cuda
from . import cuda, native, reference
from .reference import Gradients

__all__ = ["backward", "forward", "of_groups", "of_groups_backward", "suits"]


def suits(x: Array, columns: int) -> bool:
    """Whether elements like those of x, in rows of ``columns``, are normalized by one kernel."""
    if x.dtype.kind != "f" or not columns:
        return False
    if not is_cuda(x):
        return True
    return row_cuda.suits(x.size // columns, columns)


def _forward_cpu(
    x: Array, weight: Array | None, bias: Array | None, centred: bool, eps: float
) -> tuple[Array, Array]:
    if native.suits(x, weight, bias):
        return native.forward(x, weight, bias, centred, eps)
    return reference.forward(x, weight, bias, centred, eps)


def _backward_cpu(
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: Array,
    centred: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    if native.suits(x, weight, grad):
        return native.backward(grad, x, weight, stats, centred, needs)
    return reference.backward(grad, x, weight, stats, centred, needs)


@kernel(cpu=_forward_cpu, cuda=cuda.forward)
def forward(
    x: Array, weight: Array | None, bias: Array | None, centred: bool, eps: float
) -> tuple[Array, Array]:
    """y (R, C) = (x - mean) / √(mean square of that + eps) · weight + bias, and its statistics.

    Both are of each row; the mean is 0 if not ``centred``. weight and bias are (C,) or None.
    """


@kernel(cpu=_backward_cpu, cuda=cuda.backward)
def backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: Array,
    centred: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    """The gradients by x, weight and bias, as far as ``needs`` asks; None for the others."""


def _of_groups_cpu(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    y, stats = forward(x.reshape(len(x) * groups, -1), None, None, True, eps)
    return y.reshape(x.shape), stats


def _of_groups_backward_cpu(grad: Array, x: Array, groups: int, stats: Array) -> Array:
    g, rows = (each.reshape(len(x) * groups, -1) for each in (grad, x))
    dx, _, _ = backward(g, rows, None, stats, True, (True, False, False))
    assert dx is not None
    return dx.reshape(x.shape)


@kernel(cpu=_of_groups_cpu, cuda=cuda.of_groups)
def of_groups(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    """As `forward`, of groups of the channels of each image of x (N, C, …), and its statistics.

    y lies in memory as x does, on a GPU: images with the channels last are not copied.
    """


@kernel(cpu=_of_groups_backward_cpu, cuda=cuda.of_groups_backward)
def of_groups_backward(grad: Array, x: Array, groups: int, stats: Array) -> Array:
    """The gradient by x."""
