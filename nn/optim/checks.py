"""What optimizers and clipping check of parameters and gradients before they write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend import Array
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor


def on_cpu(one: Any, other: Any) -> bool:
    """Whether both are NumPy's own arrays."""
    return type(one) is np.ndarray is type(other)


def together(one: Any, other: Any) -> bool:
    """Whether two arrays are on one device."""
    if on_cpu(one, other):
        return True
    if backend.is_cuda(one) and backend.is_cuda(other) and backend.cuda_count() == 1:
        return True
    return backend.device_of(one) == backend.device_of(other)


def check_grad(owner: object, position: int, array: Any, grad: Any) -> None:
    """A gradient must be of its parameter's shape, dtype and device; ValueError otherwise."""
    alike = grad.shape == array.shape and grad.dtype == array.dtype
    if not (alike and together(grad, array)):
        wanted, got = (
            f"shape {x.shape}, dtype {x.dtype} on {backend.device_of(x)}" for x in (array, grad)
        )
        raise ValueError(
            f"[{checks.name_of(owner)}] the gradient of parameter {position}: expected {wanted}, "
            f"as the parameter, got {got}"
        )


def gradients_of(owner: object, params: Sequence[Tensor]) -> tuple[list[Tensor], list[Any]]:
    """The parameters that have a gradient, and its arrays; ValueError as in `check_grad`."""
    if ranks.parallel:
        ranks.before_reading(params)
    found, grads = [], []
    for position, param in enumerate(params):
        if param.grad is not None:
            check_grad(owner, position, param.data, param.grad.data)
            found.append(param)
            grads.append(param.grad.data)
    return found, grads


def set_gradients(params: Sequence[Tensor], grads: Sequence[Any]) -> None:
    """Give parameters these arrays, in new memory, for gradients."""
    for param, grad in zip(params, grads, strict=True):
        # New memory: after backward(create_graph=True) other tensors may share the old one.
        param.grad = Tensor(grad)
    if ranks.parallel:
        ranks.after_writing(params)


def check_sizes(name: str, grad: Array, written: Sequence[Array]) -> None:
    """A gradient must be of as many elements as what an update writes; ValueError otherwise.

    C would read beyond its end, and what has one element would be spread over all.
    """
    if any(array.size != grad.size for array in written):
        others = ", ".join(str(array.size) for array in written)
        raise ValueError(f"[{name}] expected arrays of {grad.size} elements, as grad, got {others}")


def parameter_list(owner: object, params: Iterable[Tensor]) -> list[Tensor]:
    """`params` as a list of distinct leaf Tensors, or an error that names the owner."""
    name = checks.name_of(owner)
    if isinstance(params, Tensor):
        raise TypeError(f"[{name}] expected an iterable of Tensors, got one Tensor: pass [tensor]")
    listed = list(params)
    if not listed:
        raise ValueError(
            f"[{name}] expected at least one parameter, got none (an iterator gives its items once)"
        )
    first_at: dict[int, int] = {}
    for position, param in enumerate(listed):
        if not isinstance(param, Tensor):
            raise TypeError(
                f"[{name}] expected Tensors, got {type(param).__name__} at position {position}"
            )
        if id(param) in first_at:
            raise ValueError(
                f"[{name}] parameter {position} was given before, at position {first_at[id(param)]}"
            )
        first_at[id(param)] = position
    return listed
