"""Writing in place: ``x += y`` and the like, ``x[key] = y``, and `assign_`.

What wants no gradient, and whatever is done under `no_grad`, is written into the left side's own
memory, which its views see. While operations are recorded, a leaf that wants a gradient is not
written at all, and ``x += y`` where one is wanted is ``x = x + y``: a new tensor with a graph.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from ..autograd import TensorBase
from ..autograd.levels import Tracer
from ..autograd.mode import mode
from ..backend import (
    Array,
    device_of,
    is_cuda,
    may_share_memory,
    on_device_of,
    plain_array,
    to_device,
)
from ..backend.capture import active, use
from ..backend.dtypes import is_float
from .indexing import array_key, index_error


def _expect_writable(name: str, tensor: TensorBase) -> Array:
    """The array of ``tensor``, which may be written; an error by ``name`` where it may not."""
    array = tensor.data
    if isinstance(array, np.generic):  # .data was set to the result of NumPy's arithmetic
        array = tensor.data = np.asarray(array)
    if mode.rule is not None and mode.rule.hands(array):
        raise RuntimeError(
            f"[{name}] {mode.rule.name} may not write into what it is handed, here a tensor of "
            f"shape {tensor.shape}: others have the same memory; "
            "compute a new tensor, or write into a .clone()"
        )
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise ValueError(
            f"[{name}] the memory of this tensor of shape {tensor.shape} is read-only; write into "
            "a .clone()"
        )
    strides = zip(array.shape, array.strides, strict=True)
    if array.size and any(n > 1 and stride == 0 for n, stride in strides):
        raise ValueError(
            f"[{name}] elements of this tensor of shape {tensor.shape} share their memory, as it "
            "was broadcast; write into a .clone()"
        )
    return array


def _refuse_recorded(name: str, tensor: TensorBase, instead: str) -> None:
    if tensor.requires_grad and tensor._node is None:
        raise RuntimeError(
            f"[{name}] a leaf that wants a gradient (shape {tensor.shape}) is not written in place "
            f"while operations are recorded: do it under no_grad(), or {instead}"
        )


def _expect_kind(name: str, dtype: Any, target: Any) -> None:
    if not (np.can_cast(dtype, target, "same_kind") or (is_float(dtype) and is_float(target))):
        raise TypeError(
            f"[{name}] expected values of a kind that {target} holds, got {dtype}: cast them with "
            ".astype()"
        )


def _refuse_traced(name: str, *values: Any) -> None:
    """Raise where one of these is a tensor of a transform in progress."""
    for x in values:
        for one in x if isinstance(x, tuple) else (x,):
            if isinstance(one, Tracer):
                raise RuntimeError(
                    f"[{name}] no element is written in place inside of {one._level.name}: build "
                    "the result with tg.where, tg.concat or arithmetic"
                )


def _wants_gradient(value: Any) -> bool:
    return isinstance(value, TensorBase) and value.requires_grad


class InplaceMixin(TensorBase):
    """Writing in place, as operators and methods."""

    __slots__ = ()

    def __iadd__(self, other: Any) -> Self:
        return self._update("+", operator.add, other)

    def __isub__(self, other: Any) -> Self:
        return self._update("-", operator.sub, other)

    def __imul__(self, other: Any) -> Self:
        return self._update("*", operator.mul, other)

    def __itruediv__(self, other: Any) -> Self:
        return self._update("/", operator.truediv, other)

    def __ipow__(self, other: Any) -> Self:
        return self._update("**", operator.pow, other)

    def __imatmul__(self, other: Any) -> Self:
        return self._update("@", operator.matmul, other)

    def __ifloordiv__(self, other: Any) -> Self:
        return self._update("//", operator.floordiv, other)

    def __imod__(self, other: Any) -> Self:
        return self._update("%", operator.mod, other)

    def __iand__(self, other: Any) -> Self:
        return self._update("&", operator.and_, other)

    def __ior__(self, other: Any) -> Self:
        return self._update("|", operator.or_, other)

    def __ixor__(self, other: Any) -> Self:
        return self._update("^", operator.xor, other)

    def __ilshift__(self, other: Any) -> Self:
        return self._update("<<", operator.lshift, other)

    def __irshift__(self, other: Any) -> Self:
        return self._update(">>", operator.rshift, other)

    def _update(self, sign: str, compute: Callable[[Any, Any], Any], other: Any) -> Self:
        """``self`` with ``compute(self, other)`` written into it, or that itself if recorded."""
        if active.level is not None and (isinstance(self, Tracer) or isinstance(other, Tracer)):
            return compute(self, other)  # type: ignore[no-any-return]  # what it holds is not ours
        name = f"{sign}="
        array = _expect_writable(name, self) if mode.rule is not None else None
        if mode.recording and (self.requires_grad or _wants_gradient(other)):
            _refuse_recorded(name, self, f"say x = x {sign} y")
            return compute(self, other)  # type: ignore[no-any-return]
        array = _expect_writable(name, self) if array is None else array
        values: Array = compute(self, other).data
        if values.shape != array.shape:
            raise ValueError(
                f"[{name}] expected a result of shape {self.shape}, the left side's, got "
                f"{tuple(values.shape)}; say x = x {sign} y"
            )
        _expect_kind(name, values.dtype, array.dtype)
        self._write(array, ..., values)
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write ``value``, which broadcasts, where NumPy's indexing by ``key`` says."""
        _refuse_traced("index", self, key, value)
        array = _expect_writable("index", self)
        if mode.recording and (self.requires_grad or _wants_gradient(value)):
            _refuse_recorded("index", self, "build the result with tg.where or tg.concat")
            raise RuntimeError(
                "[index] elements are not assigned where a gradient is wanted, of the tensor or of "
                "the value: build the result with tg.where, tg.concat or arithmetic, or assign "
                "under no_grad()"
            )
        keys = key if isinstance(key, tuple) else (key,)
        use(*[k for k in (*keys, value) if isinstance(k, TensorBase)])
        values = self._values("index", value)
        if isinstance(values, float) or hasattr(values, "dtype"):
            kind = np.dtype(np.float32) if isinstance(values, float) else values.dtype
            _expect_kind("index", kind, array.dtype)
        place = array_key(self, keys)
        try:
            self._write(array, place, values)
        except IndexError as error:
            raise index_error(self, error) from error
        except ValueError as error:
            shape = tuple(getattr(values, "shape", ()))
            raise ValueError(
                f"[index] values of shape {shape} do not broadcast to the place, of shape "
                f"{tuple(array[place].shape)}"
            ) from error

    def assign_(self, values: Any) -> Self:
        """Write ``values`` (a tensor, array or number that broadcasts) into self's own memory.

        Raises when a graph that still needs the old values is used afterwards.
        """
        if self.requires_grad and self._node is not None:
            raise RuntimeError("[assign_] only a leaf can be written; use .detach() first")
        _refuse_traced("assign_", self, values)
        array = _expect_writable("assign_", self)
        found = self._values("assign_", values, move=True)
        shape = tuple(getattr(found, "shape", ()))
        try:
            fitting = np.broadcast_shapes(shape, self.shape) == self.shape
        except ValueError:
            fitting = False
        if not fitting:
            raise ValueError(f"[assign_] expected values of shape {self.shape}, got {shape}")
        self._write(array, ..., found)
        return self

    def _values(self, name: str, value: Any, move: bool = False) -> Any:
        """A tensor, array, list or number as an array on self's device, or a Python number."""
        if isinstance(value, bool | int | float | np.generic):
            return value.item() if isinstance(value, np.generic) else value
        if isinstance(value, list | tuple):
            value = np.asarray(value)
            return to_device(
                value.astype(self.dtype) if value.dtype.kind in "iu" else value,
                device_of(self.data),
            )
        array = value.data if isinstance(value, TensorBase) else plain_array(value)
        here, there = device_of(self.data), device_of(array)
        if here == there:
            return array
        if not move and (isinstance(value, TensorBase | np.ndarray) or is_cuda(value)):
            raise ValueError(
                f"[{name}] expected values on {here}, where the tensor is, got {there}; move them "
                "with .to(device)"
            )
        return to_device(array, here)

    def _write(self, array: Array, key: Any, values: Any) -> None:
        with on_device_of(array):
            if is_cuda(array) and is_cuda(values) and may_share_memory(array, values):
                values = values.copy()  # CuPy copies element by element, in no order
            array[key] = values
        self.bump_version()

    def bump_version(self) -> None:
        """Say that ``.data`` was written in place, so that stale graphs are noticed."""
        self._version.count += 1
        if active.busy:
            if active.level is not None:
                active.level.writes(self)
            if active.run is not None:
                active.run.writes(self)
