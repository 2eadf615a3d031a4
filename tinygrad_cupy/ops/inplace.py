"""Writing in place: ``x += y`` and the like, ``x[key] = y``, `add_at` and `assign_`.

Values go into the left side's own memory, which its views see. Where a gradient is wanted of the
tensor or of the values, the write is part of the graph (`autograd.views`, `ops.write`); a leaf that
wants a gradient is then not written at all. Inside of a transform the tangents and the whole batch
are written as well (`ops.write_inside`). `assign_` writes values alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from ..autograd import TensorBase
from ..autograd.levels import Tracer, innermost
from ..autograd.memory import wrote
from ..autograd.mode import mode
from ..autograd.views import base_of
from ..backend import (
    Array,
    constant,
    device_of,
    elements_overlap,
    is_cuda,
    on_device_of,
    on_one_device,
    plain_array,
    to_device,
)
from ..backend.capture import active, launch_all, use
from ..backend.dtypes import is_float
from .comparison import where
from .indexing import array_key, index_error, key_part
from .write import AddAt, Write, fitted, is_there, keep_old, mask_of_fixed_size, record, region
from .write_inside import write_inside


def _expect_writable(name: str, tensor: TensorBase) -> Array:
    """The array of ``tensor``, which may be written; an error by ``name`` where it may not."""
    launch_all()  # what waits may read this memory as it is
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
    if not array.flags.c_contiguous and elements_overlap(array):
        raise ValueError(
            f"[{name}] elements of this tensor of shape {tensor.shape} share their memory, as it "
            "was broadcast or is one of windows; write into a .clone()"
        )
    return array


def _refuse_leaf(name: str, tensor: TensorBase, instead: str) -> None:
    """Raise where a recorded write would go into a leaf that wants a gradient."""
    base = base_of(tensor)
    if base.requires_grad and base.is_leaf and not isinstance(base, Tracer):
        view = "" if base is tensor else f"a view (shape {tensor.shape}) of "
        raise RuntimeError(
            f"[{name}] {view}a leaf that wants a gradient (shape {base.shape}) is not written in "
            f"place while operations are recorded: do it under no_grad(), or {instead}"
        )


def _expect_kind(name: str, dtype: Any, target: Any) -> None:
    if dtype == target:
        return
    if not (np.can_cast(dtype, target, "same_kind") or (is_float(dtype) and is_float(target))):
        raise TypeError(
            f"[{name}] expected values of a kind that {target} holds, got {dtype}: cast them with "
            ".astype()"
        )


def _wants_gradient(value: Any) -> bool:
    return isinstance(value, TensorBase) and value.requires_grad


def _is_traced(*values: Any) -> bool:
    """Whether one of these is a tensor of a transform in progress."""
    return innermost(values) is not None


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
        """``self`` with ``compute(self, other)`` written into it."""
        if self._plain._copies_elements and self._is_a_number():
            return compute(self, other)  # type: ignore[no-any-return]
        name, own = f"{sign}=", self
        traced = active.level is not None and _is_traced(self, other)
        array = _expect_writable(name, self)
        recorded = mode.recording and (self.requires_grad or _wants_gradient(other))
        if recorded:
            _refuse_leaf(name, self, f"say x = x {sign} y")
        if traced:  # what operations keep of it is about to be written
            own = self.clone()  # type: ignore[attr-defined]
            if isinstance(other, TensorBase) and other._version is self._version:
                other = other.clone()  # type: ignore[attr-defined]
        values = compute(own, other)
        if values.shape != self.shape:
            raise ValueError(
                f"[{name}] expected a result of shape {self.shape}, the left side's, got "
                f"{tuple(values.shape)}; say x = x {sign} y"
            )
        _expect_kind(name, values.dtype, array.dtype)
        if not (recorded or traced):
            if type(array) is np.ndarray:  # the same, sooner
                array[...] = values.data
                self._written(array)
            else:
                self._write(array, (...,), values.data)
            return self
        if values.dtype != array.dtype:
            values = values.astype(array.dtype)
        if traced:
            self._put(Write((...,)), values)
        else:
            keep_old(values, self, other)
            record(self, Write((...,)), values, fresh=values is not other)
        return self

    def _is_a_number(self) -> bool:
        """Whether it is what NumPy has a number for: ``m += 1`` makes another one.

        A view is written, and so is a leaf that wants a gradient, as of an optimizer.
        """
        if self.shape or self._view is not None:
            return False
        return isinstance(self, Tracer) or not (self.requires_grad and self.is_leaf)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write ``value``, which broadcasts, where NumPy's indexing by ``key`` says."""
        self._set("index", key if isinstance(key, tuple) else (key,), value, Write)

    def _set(self, name: str, keys: tuple[Any, ...], value: Any, kind: type[Write]) -> None:
        """``self[keys] = value``, or what else ``kind`` does there."""
        traced = active.level is not None and _is_traced(self, value, *keys)
        array = _expect_writable(name, self)
        recorded = mode.recording and (self.requires_grad or _wants_gradient(value))
        if recorded:
            _refuse_leaf(name, self, "write into a .clone()")
        values = self._values(name, value)
        if isinstance(values, float) or hasattr(values, "dtype"):
            found = np.dtype(np.float32) if isinstance(values, float) else values.dtype
            _expect_kind(name, found, array.dtype)
        try:
            if kind is Write and is_there(value, self, keys):
                return  # as ``x[1:] += y`` ends with
            if recorded or traced:
                values = value if isinstance(value, TensorBase) else values
                self._assign(kind, keys, values, traced)
            else:
                use(*[k for k in (*keys, value) if isinstance(k, TensorBase)])
                self._write(array, array_key(self, keys), values, kind)
        except IndexError as error:
            raise index_error(self, error) from error
        except ValueError as error:
            shape = tuple(getattr(values, "shape", ()))
            raise ValueError(
                f"[{name}] values of shape {shape} do not broadcast to the place, of shape "
                f"{tuple(array[array_key(self, keys)].shape)}"
            ) from error

    def _assign(self, kind: type[Write], keys: tuple[Any, ...], values: Any, traced: bool) -> None:
        """A write that is recorded, or of what a transform holds."""
        if not isinstance(values, TensorBase) and hasattr(values, "dtype"):
            values = self._wrap(values.copy())
        if isinstance(values, TensorBase) and values.dtype != self.dtype:
            values = values.astype(self.dtype)  # type: ignore[attr-defined]
        place = tuple([k if isinstance(k, Tracer) else key_part(self, k, kept=True) for k in keys])
        if kind is Write and (mask := mask_of_fixed_size(self, keys, values)) is not None:
            chosen = where(mask, values, self)
            keep_old(chosen, self, values)
            values = chosen
            write = Write((...,))
            write.touched = place
        else:
            write = kind(place).watch(*keys)
            if isinstance(values, TensorBase) and not (traced and innermost(keys)):
                values = fitted(values, region(self.data, place))
        if traced:
            self._put(write, values)
        else:
            record(self, write, values)

    def _put(self, write: Write, values: Any) -> None:
        """Do ``write``, of values of this dtype that fit its place, here."""
        if active.level is not None:
            level = innermost((self, values, *write.key))
            if level is not None:
                return write_inside(level, self, write, values)
        array = _expect_writable("index", self)
        if mode.recording and (self.requires_grad or _wants_gradient(values)):
            _refuse_leaf("index", self, "write into a .clone()")
            record(self, write, values)
        else:
            plain = values.data if isinstance(values, TensorBase) else values
            self._write(array, write.key, plain, type(write))

    def assign_(self, values: Any) -> Self:
        """Write ``values`` (a tensor, array or number that broadcasts) into self's own memory.

        Raises when a graph that still needs the old values is used afterwards.
        """
        if self.requires_grad and not self.is_leaf:
            raise RuntimeError("[assign_] only a leaf can be written; use .detach() first")
        if active.level is not None and _is_traced(self, values):
            raise RuntimeError(
                f"[assign_] no values are written inside of {innermost((self, values)).name} but "
                "by what it sees: write x[...] = values"
            )
        array = _expect_writable("assign_", self)
        found = self._values("assign_", values, move=True)
        shape = tuple(getattr(found, "shape", ()))
        try:
            fitting = np.broadcast_shapes(shape, self.shape) == self.shape
        except ValueError:
            fitting = False
        if not fitting:
            raise ValueError(f"[assign_] expected values of shape {self.shape}, got {shape}")
        self._write(array, (...,), found)
        return self

    def _values(self, name: str, value: Any, move: bool = False) -> Any:
        """A tensor, array, list or number as an array on self's device, or a Python number."""
        if isinstance(value, bool | int | float | np.generic):
            return value.item() if isinstance(value, np.generic) else value
        if isinstance(value, list | tuple):
            value = np.asarray(value)
            return constant(
                value.astype(self.dtype) if value.dtype.kind in "iu" else value,
                device_of(self.data),
            )
        array = value.data if isinstance(value, TensorBase) else plain_array(value)
        if on_one_device(self.data, array):
            return array
        here, there = device_of(self.data), device_of(array)
        if not move and (isinstance(value, TensorBase | np.ndarray) or is_cuda(value)):
            raise ValueError(
                f"[{name}] expected values on {here}, where the tensor is, got {there}; move them "
                "with .to(device)"
            )
        return to_device(array, here)

    def _write(
        self, array: Array, key: tuple[Any, ...], values: Any, kind: type[Write] = Write
    ) -> None:
        launch_all()
        with on_device_of(array):
            kind.store(array, key, values)
        self._written(array, key)

    def bump_version(self) -> None:
        """Say that ``.data`` was written in place, so that stale graphs are noticed."""
        self._written()

    def _written(self, array: Any = None, key: Any = (...,), recorded: bool = False) -> None:
        """Say that a part of ``.data``, or any, was written in place."""
        wrote(self, array, key, recorded)
        if active.busy:
            if active.level is not None:
                active.level.writes(self)
            if active.run is not None:
                active.run.writes(self)


def add_at(x: Any, indices: Any, values: Any) -> None:
    """``x[indices] += values``, added up where an index is there several times (`numpy.add.at`)."""
    x._set("add.at", indices if isinstance(indices, tuple) else (indices,), values, AddAt)
