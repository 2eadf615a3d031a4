"""ReLU and its gradient on arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, Elementwise, array_module, kernel
from ...backend.cpu_threads import PARALLEL_SIZE, by_parts
from ...backend.cuda_source import dtype_macros
from ...backend.dtypes import quietly
from .headers import VECTOR
from .layout import empty, is_stored_last
from .select import keep_where

_kernels = CudaSource(__file__, VECTOR, "relu.cu")
_relu_backward_strided = Elementwise(
    "T grad, T y", "T out", "out = y <= T(0) ? T(0) : grad", "relu_backward"
)


@functools.cache
def _defines(dtype: Any) -> tuple[tuple[str, ...], int]:
    """The macros of a dtype, and how many elements a thread takes: 16 bytes."""
    width = 16 // dtype.itemsize
    return (*dtype_macros(dtype), f"WIDTH={width}"), width


def _relu_cpu(x: Array) -> Array:
    y = np.empty_like(x)

    def task(part: slice) -> None:
        np.maximum(x[part], x.dtype.type(0), out=y[part])

    return _split(task, x, y)


def _relu_backward_cpu(grad: Array, y: Array) -> Array:
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


def _relu_cuda(x: Array) -> Array:
    xp = array_module(x)
    channels_last = _order(x)
    if channels_last is None:
        return xp.maximum(x, x.dtype.type(0))
    return _launch("relu", channels_last, x)


def _relu_backward_cuda(grad: Array, y: Array) -> Array:
    channels_last = _order(y)
    if channels_last is None or _order(grad) != channels_last or grad.dtype != y.dtype:
        return _relu_backward_strided(grad, y)
    return _launch("relu_backward", channels_last, grad, y)


def _order(x: Array) -> bool | None:
    """True for (N, H, W, C) behind the strides of (N, C, H, W), False for C order, None: other."""
    if not dtype_macros(x.dtype) or x.size == 0 or x.data.ptr % 16:
        return None
    if x.flags.c_contiguous:
        return False
    return True if is_stored_last(x) else None


def _launch(name: str, channels_last: bool, *inputs: Array) -> Array:
    out = empty(inputs[0].shape, inputs[0].dtype, channels_last)
    defines, width = _defines(out.dtype)
    blocks = _kernels.blocks(-(-out.size // width))
    arguments: tuple[Any, ...] = (*inputs, out, np.int64(out.size))
    _kernels.launch(name, blocks, arguments, defines=defines)
    return out


@kernel(cpu=_relu_cpu, cuda=_relu_cuda)
def relu(x: Array) -> Array:
    """max(x, 0), in the layout of x."""


@kernel(cpu=_relu_backward_cpu, cuda=_relu_backward_cuda)
def relu_backward(grad: Array, y: Array) -> Array:
    """0 where y ≤ 0, else grad: what ReLU, whose output is y, lets through."""
