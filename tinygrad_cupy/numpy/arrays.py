"""The array type of this namespace, and how arguments become tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from ..autograd import TensorBase
from ..autograd.batching import BatchedMixin
from ..autograd.forward import DualMixin
from ..autograd.levels import Tracer
from ..autograd.mode import mode
from ..backend import default_device, device_of
from ..backend.dtypes import is_inexact
from ..ops import shape as joining
from ..ops.leaving import carries_gradient, in_augmented_assignment
from ..ops.promotion import in_one_dtype, numbers_like, of_list
from ..ops.protocols import is_array
from ..tensor import Tensor

__all__ = ["ndarray"]


class ndarray(Tensor):
    """A tensor with NumPy's default dtypes: integers divide to float64, Python floats are float64.

    What is computed from one is one. An element, ``x[0]`` of a vector, is a copy, as NumPy's
    numbers are: ``x[0], x[1] = x[1], x[0]`` swaps.
    """

    __slots__ = ()
    _float: ClassVar[Any] = np.float64
    _copies_elements: ClassVar[bool] = True

    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool = False,
    ) -> None:
        if not isinstance(data, TensorBase) and not is_array(data):
            data, device = np.asarray(data), device or default_device()
        super().__init__(data, dtype, device, requires_grad)


class Dual(DualMixin, ndarray):
    """One with a tangent, inside of `jvp`."""

    __slots__ = ()


class Batched(BatchedMixin, ndarray):
    """One of a batch, inside of `vmap`."""

    __slots__ = ()


ndarray._plain, ndarray._dual, ndarray._batched = ndarray, Dual, Batched


_PLAIN = frozenset(map(np.dtype, "?bhilqBHILQefdFD"))  # dtypes that need no look


# --- arguments ----------------------------------------------------------------------------------


def first_tensor(values: Iterable[Any]) -> Any:
    """The first tensor among ``values``, lists and tuples in them too; None without one."""
    for x in values:
        if isinstance(x, TensorBase):
            return x
        if isinstance(x, list | tuple) and (found := first_tensor(x)) is not None:
            return found
    return None


def tensor(x: Any, like: Any = None) -> Any:
    """``x`` as a tensor: of the class of the tensor ``like``, or an `ndarray` where there is none.

    A nested list with tensors in it is stacked, in the dtype that all promote to.
    An array stays on its device; what is none goes where ``like`` is, and floats are of its dtype,
    where that is one: they neither widen it nor are rounded to float32 beside float64.
    An array beside a tensor that wants a gradient is copied: its owner may write into it before the
    backward pass.
    """
    if isinstance(x, TensorBase):
        return x
    kind: Any = ndarray if like is None else like._plain
    if isinstance(x, list | tuple) and first_tensor(x) is not None:
        parts = in_one_dtype(*tensors(*x))
        return joining.stack(list(parts))
    if not is_array(x):
        return kind(x) if like is None else _beside(x, like)
    array = x.copy() if like is not None and like.requires_grad and mode.recording else x
    if type(x) is np.ndarray and x.dtype in _PLAIN:
        return kind._wrap(array)
    return kind(array)


def _beside(x: Any, like: Any) -> Any:
    """A number or a list of numbers as a tensor where ``like`` is; see `tensor`."""
    floats = is_inexact(like.dtype) and np.asarray(x).dtype.kind == "f"
    made = like._plain(x, like.dtype if floats else None, "cpu")
    if device_of(like.data) == "cpu":
        return made
    moved: Any = numbers_like(like, made.data)
    return moved.clone() if made.size > 1 else moved  # for it may be written, in a capture too


def tensors(*values: Any) -> list[Any]:
    """All as tensors, those that are none like the first that is one, or where an array is."""
    like = first_tensor(values)
    if like is None and (arrays := [x for x in values if is_array(x)]):
        like = tensor(arrays[0])
    return [tensor(x, like) for x in values]


def terms(*values: Any) -> list[Any]:
    """As `tensors`, of what is put together: numbers in lists do not widen the tensor beside them.

    As with its operators: only floats beside integers make floats of these.
    """
    like = first_tensor(values)
    return tensors(*values) if like is None else [term(x, like) for x in values]


def term(x: Any, like: Any) -> Any:
    """One of `terms` beside the tensor ``like``, or alone."""
    if like is not None and isinstance(x, list | tuple) and first_tensor(x) is None:
        found = of_list(x, like)
        return tensor(x, like) if found is NotImplemented else found
    return tensor(x, like)


def operands(*values: Any, one: Callable[[Any, Any], Any] = term) -> list[Any]:
    """As `terms`, but numbers stay numbers beside a tensor or an array: they do not widen it.

    ``one`` makes an operand beside a tensor, where that is not `term`.
    """
    if all(isinstance(x, TensorBase) for x in values):
        return list(values)
    scalars = [isinstance(x, bool | int | float | complex | np.generic) for x in values]
    if all(scalars):
        return tensors(*values)
    like = first_tensor(values)
    if like is None:
        like = tensor(next(x for x, scalar in zip(values, scalars, strict=True) if not scalar))
        one = tensor  # NumPy's rules, between arrays and lists
    return [x if scalar else one(x, like) for x, scalar in zip(values, scalars, strict=True)]


def finished(result: Any, dtype: Any = None, out: Any = None) -> Any:
    """``result`` cast to ``dtype``, and written into ``out`` where there is one."""
    result = result if dtype is None else result.astype(dtype)
    return result if out is None else written("out", result, out)


def written(name: str, result: Any, out: Any, augmented: bool = True) -> Any:
    """``result`` written into ``out``, which is returned: a tensor, or an array of NumPy or CuPy.

    An array holds no gradient: where one is wanted of the result, that is an error, but in
    ``array += tensor`` (unless ``augmented`` is False), which gives the name to a tensor.
    """
    if isinstance(out, tuple):
        (out,) = out
    if out is None:
        return result
    if isinstance(out, TensorBase):
        out[...] = result  # type: ignore[index]
        return out
    if not is_array(out):
        raise TypeError(f"[{name}] expected out to be a tensor or an array, got {type(out)}")
    if carries_gradient(result) and augmented and in_augmented_assignment():
        if not isinstance(result, Tracer):
            Tensor(out)[...] = result.detach()  # others may look at the array by another name
        return result
    expect_no_gradient(name, result)
    Tensor(out)[...] = result
    return out


def expect_no_gradient(name: str, value: Any) -> Any:
    """The array of a tensor that is written into an array; an error where that drops a gradient."""
    if carries_gradient(value):
        raise TypeError(
            f"[{name}] expected out to be a tensor, got an array, which holds no gradient: leave "
            "out= away, or take the values out of the graph with .detach()"
        )
    return value.data
