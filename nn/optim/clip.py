"""Gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend.cpu_threads import spans, workspace
from tinygrad_cupy.backend.dtypes import as_real_numbers
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from . import cuda as optim_cuda
from .checks import check_grad, parameter_list
from .update import BLOCK


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients by one factor so that their joint 2-norm is at most `max_norm`.

    Returns the norm before clipping, a Tensor on the parameters' device: nothing waits for the GPU.
    It is float32 (float64 where a gradient is), and no square leaves the range on the way.
    The factor is min(1, max_norm / (norm + 1e-6)), as in PyTorch. Pascanu et al., "On the
    difficulty of training recurrent neural networks" (2012). Parameters without a gradient are
    skipped. A NaN among the gradients makes norm and gradients NaN; an infinite one an infinite
    norm, itself NaN, and every finite one 0.

    ValueError, and nothing is changed, for a gradient that is not of its parameter's shape, dtype
    and device, and for gradients on several devices.
    """
    limit = checks.positive("clip_grad_norm", "max_norm", max_norm)
    listed = parameter_list("clip_grad_norm", params)
    clipped, grads = [], []
    for position, param in enumerate(listed):
        if param.grad is not None:
            check_grad("clip_grad_norm", position, param.data, param.grad.data)
            clipped.append(param)
            grads.append(param.grad.data)
    if not clipped:
        return Tensor(0.0, device=listed[0].device)
    norm, scaled = optim_cuda.clip(grads, limit) if optim_cuda.alike(grads) else _clip(grads, limit)
    for param, grad in zip(clipped, scaled, strict=True):
        # New memory: after backward(create_graph=True) other tensors may share the old one.
        param.grad = Tensor(grad)
    return Tensor(norm)


def _clip(grads: list[Any], limit: float) -> tuple[Any, list[Any]]:
    """The norm of the gradients, and the gradients scaled down."""
    devices = {backend.device_of(grad) for grad in grads}
    if len(devices) > 1:
        raise ValueError(
            "[clip_grad_norm] expected all gradients on one device, got "
            f"{' and '.join(sorted(devices))}"
        )
    xp = backend.array_module(grads[0])
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [as_real_numbers(xp.ascontiguousarray(grad)) for grad in grads]
        norm = xp.sqrt(sum(_sum_of_squares(xp, part) for part in parts))
        largest: Any = 1.0
        if xp is np and not 1e-140 < norm < math.inf:  # squares of float64 left its range
            largest = max(float(np.abs(part).max(initial=0)) for part in parts)
            if 0 < largest < math.inf:
                squares = (np.square(part / largest, dtype=np.float64).sum() for part in parts)
                norm = np.sqrt(sum(squares)) * largest
        factor = xp.minimum(limit / (norm + 1e-6), 1)
        scaled = [_times(xp, grad, factor) for grad in grads]
        wide = any(part.dtype == np.float64 for part in parts)
        norm = xp.asarray(norm, np.float64 if wide else np.float32)
    return norm, scaled


def _sum_of_squares(xp: Any, grad: Any) -> Any:
    """In float64, on the CPU over pieces that stay in the cache.

    There the squares of float32 are float32, in half the time, where none of them matters that
    leaves its range.
    """
    if xp is not np:
        return xp.square(grad.astype(np.float64)).sum()
    flat = grad.reshape(-1)
    if grad.dtype == np.float32:
        total = _sum_in_pieces(flat, np.float32)
        if 1e-25 < total < math.inf:
            return total
    return _sum_in_pieces(flat, np.float64)


def _sum_in_pieces(flat: Any, dtype: Any) -> float:
    total = 0.0
    for span in spans(flat.size, BLOCK):
        squares = workspace("clipped gradient", flat[span].shape, dtype)
        total += float(np.square(flat[span], out=squares, dtype=dtype).sum())
    return total


def _times(xp: Any, grad: Any, factor: Any) -> Any:
    """``grad * factor``, of 16-bit floats computed in float32."""
    if grad.dtype.itemsize == 2:
        return (grad.astype(np.float32) * factor.astype(np.float32)).astype(grad.dtype)
    return grad * factor.astype(grad.real.dtype)
