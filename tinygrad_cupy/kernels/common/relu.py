"""ReLU and its gradient on arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...backend import Array, Elementwise, array_module, elementwise, kernel
from ...backend.cpu_threads import PARALLEL_SIZE, by_parts
from ...backend.dtypes import quietly
from .select import keep_where


def _relu_cpu(x: Array) -> Array:
    if type(x) is not np.ndarray:  # a symbol, see `backend.host_symbols`
        return np.maximum(x, x.dtype.type(0))
    y = np.empty_like(x)

    def task(part: slice) -> None:
        np.maximum(x[part], x.dtype.type(0), out=y[part])

    return _split(task, x, y)


def _relu_backward_cpu(grad: Array, y: Array) -> Array:
    if type(y) is not np.ndarray:
        return np.where(y <= y.dtype.type(0), grad.dtype.type(0), grad)
    out = np.empty_like(y)

    def task(part: slice) -> None:
        keep_where(grad[part], ~quietly(np.less_equal, y[part], y.dtype.type(0)), out[part])

    return _split(task, y, out)


def _split(task: Callable[[slice], None], x: Array, out: Array) -> Array:
    """``task`` on slices of the first axis, side by side when x is large; gives ``out``."""
    if x.ndim and x.size >= PARALLEL_SIZE:
        by_parts(np, task, len(x))
    else:
        task(...)  # type: ignore[arg-type]
    return out


@elementwise
def _relu_cuda(x: Array) -> Array:
    return array_module(x).maximum(x, x.dtype.type(0))


_passed = Elementwise("G grad, T y", "G out", "out = y <= T(0) ? G(0) : grad", "relu_backward")


@elementwise
def _relu_backward_cuda(grad: Array, y: Array) -> Array:
    return _passed(grad, y)


@kernel(cpu=_relu_cpu, cuda=_relu_cuda)
def relu(x: Array) -> Array:
    """max(x, 0), in the layout of x."""


@kernel(cpu=_relu_backward_cpu, cuda=_relu_backward_cuda)
def relu_backward(grad: Array, y: Array) -> Array:
    """0 where y ≤ 0, else grad: what ReLU, whose output is y, lets through."""
