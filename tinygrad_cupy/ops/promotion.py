"""Which dtype the operands of an operation meet in, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.autocast import single as single  # what rules of several steps begin with
from ..autograd.tensor_base import expect_real
from ..backend import (
    Array,
    array_module,
    constant,
    device_of,
    on_device_of,
    plain_array,
    to_device,
)
from ..backend.capture import active
from ..backend.dtypes import (
    common_dtype,
    is_float,
    is_inexact,
    is_narrow,
    with_imaginary,
)

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


def as_float(x: TensorBase) -> Tensor:
    """``x``, cast to its class's default float where it holds integers or booleans."""
    tensor: Tensor = x  # type: ignore[assignment]
    return tensor if is_inexact(x._facts.dtype) else tensor.astype(x._float)


def as_ordered(x: TensorBase, name: str) -> Tensor:
    """`as_float`; ``TypeError`` for complex numbers, of which none is above another."""
    expect_real(name, x)
    return as_float(x)


def in_one_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """``tensors``, promoted to one dtype; themselves where they are of one already."""
    dtypes = [t._facts.dtype for t in tensors]
    if len(set(dtypes)) == 1:
        return tensors
    dtype = common_dtype(*dtypes)
    return tuple([t.astype(dtype) for t in tensors])


def in_single(x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """``compute(x)``, in float32 and cast back where x is of float16 or bfloat16.

    What is computed on the way would overflow there, and be rounded at every step. It stays float32
    where `autocast` has the operation run in that.
    """
    if not is_narrow(x._facts.dtype):
        return compute(x)
    if active.cast is not None and getattr(compute, "autocast", "") == "wide":
        return compute(x)
    return compute(x.astype(np.float32)).astype(x._facts.dtype)


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse matrix, of SciPy, of CuPy or of ours; none of them is imported."""
    return any(kind.__module__.startswith(_SPARSE) for kind in type(x).__mro__)


_SPARSE = ("scipy.sparse", "cupyx.scipy.sparse", "tinygrad_cupy.sparse")


# --- lists --------------------------------------------------------------------------------------


def of_list(values: Sequence[Any], like: TensorBase) -> Any:
    """A list or tuple, nested perhaps and with tensors in it, as an operand beside ``like``.

    Its numbers take the dtype of ``like``, as they would one by one: only floats beside integers
    turn these into floats. NotImplemented where something else is among them.
    """
    if _holds_tensor(values):
        parts: list[Any] = [x if isinstance(x, TensorBase) else _part(x, like) for x in values]
        if any(x is NotImplemented for x in parts):
            return NotImplemented
        stacked: Any = parts[0]
        return stacked._stacked(list(in_one_dtype(*parts)))
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        return NotImplemented
    return like._wrap(constant(_beside(array, like), device_of(like._facts)))


def _holds_tensor(values: Sequence[Any]) -> bool:
    return any(
        isinstance(x, TensorBase) or (isinstance(x, list | tuple) and _holds_tensor(x))
        for x in values
    )


def _part(x: Any, like: TensorBase) -> Any:
    if isinstance(x, list | tuple):
        return of_list(x, like)
    alone = of_list((x,), like)
    return alone if alone is NotImplemented else alone.squeeze(0)


def _beside(array: Array, like: TensorBase) -> Array:
    kind, dtype = array.dtype.kind, like._facts.dtype
    if dtype.kind == "c":
        return array.astype(dtype)
    if kind == "c":
        return array.astype(with_imaginary(dtype if is_float(dtype) else like._float))
    if kind == "b" or (kind in "iu" and dtype.kind == "b"):
        return array
    if is_float(dtype):
        return array.astype(dtype)
    if kind == "f":
        return array.astype(like._float)
    info = np.iinfo(dtype)
    fits = not array.size or (info.min <= array.min() and array.max() <= info.max)
    return array.astype(dtype) if fits else array


def constant_like(x: TensorBase, value: Any) -> Tensor:
    """``value``, a tensor, an array, a list or a number, as a tensor where x is.

    A number does not widen x: a float beside floats is of x's dtype, an integer is anyhow.
    """
    if isinstance(value, TensorBase):
        return value  # type: ignore[return-value]
    if not isinstance(value, bool | int | float | complex | np.generic):
        array = value if hasattr(value, "dtype") else np.asarray(value)
        return x._wrap(to_device(plain_array(array), device_of(x._facts)))
    number = value.item() if isinstance(value, np.generic) else value
    dtype = x._facts.dtype
    if isinstance(number, complex) and dtype.kind != "c":
        dtype = with_imaginary(dtype if is_float(dtype) else np.float64)
    elif not is_inexact(dtype) and isinstance(number, float):
        dtype = np.dtype(np.float64)
    with on_device_of(x._facts):  # a kernel's argument, where an upload could not be captured
        return x._wrap(array_module(x._facts).full((), number, dtype))


def numbers_like(x: TensorBase, values: Array) -> Tensor:
    """Numbers that are known on the host as a tensor where x is; one is a kernel's argument."""
    if not isinstance(x._facts, np.ndarray) and values.size == 1:
        with on_device_of(x._facts):
            one = array_module(x._facts).full(values.shape, values.item(), values.dtype)
        return x._wrap(one)
    return x._wrap(constant(values, device_of(x._facts)))


def common_float(x: Any, *others: Tensor | None) -> Any:
    """The dtype that x, as floats, and the tensors that are given meet in."""
    return common_dtype(as_float(x).data.dtype, *[t.data.dtype for t in others if t is not None])
