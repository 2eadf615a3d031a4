"""Which dtype the operands of an operation meet in, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..backend import array_module, device_of, on_device_of, plain_array, to_device
from ..backend.dtypes import common_dtype, is_float, is_narrow

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


def as_float(x: TensorBase) -> Tensor:
    """``x``, cast to its class's default float where it holds integers or booleans."""
    tensor: Tensor = x  # type: ignore[assignment]
    return tensor if is_float(x.data.dtype) else tensor.astype(x._float)


def in_one_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """``tensors``, promoted to one dtype; themselves where they are of one already."""
    dtypes = [t.data.dtype for t in tensors]
    if len(set(dtypes)) == 1:
        return tensors
    dtype = common_dtype(*dtypes)
    return tuple([t.astype(dtype) for t in tensors])


def in_single(x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """``compute(x)``, in float32 and cast back where x is of float16 or bfloat16.

    What is computed on the way would overflow there, and be rounded at every step.
    """
    if not is_narrow(x.data.dtype):
        return compute(x)
    return compute(x.astype(np.float32)).astype(x.data.dtype)


def single(x: Tensor) -> Tensor:
    """``x``, in float32 where it has 16 bits: a rule of several steps is rounded at its end."""
    return x.astype(np.float32) if is_narrow(x.data.dtype) else x


def constant_like(x: TensorBase, value: Any) -> Tensor:
    """``value``, a tensor, an array, a list or a number, as a tensor where x is.

    A number does not widen x: a float beside floats is of x's dtype, an integer is anyhow.
    """
    if isinstance(value, TensorBase):
        return value  # type: ignore[return-value]
    if not isinstance(value, bool | int | float | np.generic):
        array = value if hasattr(value, "dtype") else np.asarray(value)
        return x._wrap(to_device(plain_array(array), device_of(x.data)))
    number = value.item() if isinstance(value, np.generic) else value
    dtype = x.data.dtype
    if not is_float(dtype) and isinstance(number, float):
        dtype = np.dtype(np.float64)
    with on_device_of(x.data):  # a kernel's argument, where an upload could not be captured
        return x._wrap(array_module(x.data).full((), number, dtype))
