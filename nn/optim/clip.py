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
from .checks import gradients_of, parameter_list, set_gradients
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

    >>> p = nn.Parameter([3.0, 4.0])
    >>> (p**2).sum().backward()
    >>> nn.optim.clip_grad_norm([p], max_norm=1.0)
    Tensor(10.)
    >>> p.grad.round(3)
    Tensor([0.6, 0.8])
    """
    return _clip_norm("clip_grad_norm", params, max_norm, 2.0, False)


def clip_grad_norm_(
    params: Iterable[Tensor] | Tensor,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """`clip_grad_norm` with PyTorch's arguments: any p-norm, `norm_type` above 0 or infinite.

    `error_if_nonfinite` raises RuntimeError for a norm that is NaN or infinite, and changes
    nothing; it waits for the GPU, so a captured step refuses it. Each `.grad` is a new tensor
    afterwards: an old one may be shared, and is left as it was.

    >>> p = nn.Parameter([3.0, 4.0])
    >>> (p**2).sum().backward()
    >>> nn.optim.clip_grad_norm_([p], max_norm=4.0, norm_type=float("inf"))
    Tensor(8.)
    >>> p.grad.round(3)
    Tensor([3., 4.])
    """
    order = math.inf
    if norm_type != math.inf:
        order = checks.positive("clip_grad_norm_", "norm_type", norm_type)
    return _clip_norm("clip_grad_norm_", params, max_norm, order, error_if_nonfinite)


def clip_grad_value_(params: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Bring every element of every gradient into [-clip_value, clip_value]; NaN stays NaN.

    Of complex gradients each part by itself. Each `.grad` is a new tensor afterwards. Raises as
    `clip_grad_norm`.

    >>> p = nn.Parameter([3.0, -0.25])
    >>> (p**2).sum().backward()
    >>> nn.optim.clip_grad_value_([p], 1.0)
    >>> p.grad
    Tensor([ 1. , -0.5])
    """
    limit = checks.number("clip_grad_value_", "clip_value", clip_value, 0)
    _, clipped, grads = _given("clip_grad_value_", params)
    if not clipped:
        return
    _check_one_device("clip_grad_value_", grads)
    if optim_cuda.alike(grads):
        results = optim_cuda.clamp(grads, limit)
    else:
        results = [_clamped(grad, limit) for grad in grads]
    set_gradients(clipped, results)


def _clip_norm(
    name: str,
    params: Iterable[Tensor] | Tensor,
    max_norm: float,
    order: float,
    error_if_nonfinite: bool,
) -> Tensor:
    limit = checks.positive(name, "max_norm", max_norm)
    listed, clipped, grads = _given(name, params)
    if not clipped:
        return Tensor(0.0, device=listed[0].device)
    _check_one_device(name, grads)
    if optim_cuda.alike(grads) and (order == 2 or grads[0].dtype.kind != "c"):
        norm, scaled = optim_cuda.clip(grads, limit, order)
    else:
        norm, scaled = _clip(grads, limit) if order == 2 else _clip_order(grads, limit, order)
    total = Tensor(norm)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"[{name}] the norm of the gradients is {total.item()}: with error_if_nonfinite=False "
            "they are scaled by it all the same"
        )
    set_gradients(clipped, scaled)
    return total


def _given(
    name: str, params: Iterable[Tensor] | Tensor
) -> tuple[list[Tensor], list[Tensor], list[Any]]:
    """The parameters, those that have a gradient, and its arrays."""
    alone = isinstance(params, Tensor) and name.endswith("_")  # as PyTorch takes it
    listed = parameter_list(name, [params] if alone else params)  # type: ignore[list-item]
    return (listed, *gradients_of(name, listed))


def _check_one_device(name: str, grads: list[Any]) -> None:
    devices = {backend.device_of(grad) for grad in grads}
    if len(devices) > 1:
        raise ValueError(
            f"[{name}] expected all gradients on one device, got {' and '.join(sorted(devices))}"
        )


def _clamped(grad: Any, limit: float) -> Any:
    xp = backend.array_module(grad)
    parts = as_real_numbers(xp.ascontiguousarray(grad))
    most = np.asarray(limit).astype(parts.dtype)[()]
    return xp.clip(parts, -most, most).view(grad.dtype).reshape(grad.shape)


def _clip_order(grads: list[Any], limit: float, order: float) -> tuple[Any, list[Any]]:
    """As `_clip`, by another norm; of complex numbers by their moduli."""
    xp = backend.array_module(grads[0])
    with np.errstate(over="ignore", invalid="ignore"):
        moduli = [xp.abs(grad) for grad in grads]
        sizes = [size.astype(np.float64).reshape(-1) for size in moduli]
        if order == math.inf:
            largest = [size.max() for size in sizes if size.size]
            norm = xp.stack(largest).max() if largest else xp.zeros((), np.float64)
        else:
            norm = sum(xp.power(size, order).sum() for size in sizes) ** (1 / order)
        factor = xp.minimum(limit / (norm + 1e-6), 1)
        scaled = [scaled_by(xp, grad, factor) for grad in grads]
        wide = any(size.dtype == np.float64 for size in moduli)
        return xp.asarray(norm, np.float64 if wide else np.float32), scaled


def _clip(grads: list[Any], limit: float) -> tuple[Any, list[Any]]:
    """The norm of the gradients, and the gradients scaled down."""
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
        scaled = [scaled_by(xp, grad, factor) for grad in grads]
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


def scaled_by(xp: Any, grad: Any, factor: Any) -> Any:
    """``grad * factor``, of 16-bit floats computed in float32."""
    if grad.dtype.itemsize == 2:
        return (grad.astype(np.float32) * factor.astype(np.float32)).astype(grad.dtype)
    return grad * factor.astype(grad.real.dtype)
