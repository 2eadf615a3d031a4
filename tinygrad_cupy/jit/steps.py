"""`jit(steps=K)`: K slices of the arguments per launch."""

from __future__ import annotations

import copy as copying
import functools
import types
from collections.abc import Callable
from typing import Any

from ..autograd import TensorBase
from ..autograd.mode import is_grad_enabled
from ..backend import Array, array_module, on_device_of
from ..backend.capture import active
from ..backend.devices import copy
from ..pytree import TreeDef, flatten, rebuild
from ..tensor import Tensor
from .function import Jitted
from .signature import name_of, name_to_pickle, place_of_call


class Stepped:
    """`jit(steps=K)`: K slices per launch; what remains runs one slice per launch."""

    def __init__(self, function: Callable[..., Any], steps: int) -> None:
        self.function, self.steps, self.name = function, steps, name_of(function)
        self._many = Jitted(
            functools.update_wrapper(functools.partial(_slice_by_slice, function), function)
        )
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __copy__(self) -> Stepped:
        return Stepped(self.function, self.steps)

    def __deepcopy__(self, memo: Any) -> Stepped:
        return Stepped(copying.deepcopy(self.function, memo), self.steps)

    def __reduce__(self) -> Any:
        return name_to_pickle(self) or (Stepped, (self.function, self.steps))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves: list[Any] = []
        structure = self._many._structure((args, kwargs), leaves, "arguments")
        length = _length(leaves, self.name)
        _refuse_grads(leaves, self.name)
        if active.inside is not None or place_of_call(leaves, self.name) != "cuda":
            return self._many(*args, **kwargs)
        stacked: list[Array] = []
        start = 0
        while start < length:
            count = self.steps if length - start >= self.steps else 1
            rows = slice(start, start + count)
            block_args, block_kwargs = rebuild(structure, [x[rows] for x in leaves])
            results: list[Any] = []
            shape = flatten(self._many(*block_args, **block_kwargs), results)
            if not stacked:
                stacked = [_stack_for(x.data[0], length) for x in results]
            for x, stack in zip(results, stacked, strict=True):
                with on_device_of(stack):
                    copy(x.data, stack[rows])
            start += count
        return rebuild(shape, [Tensor._wrap(stack) for stack in stacked])

    @property
    def memory_bytes(self) -> int:
        """Device memory that the captures hold."""
        return self._many.memory_bytes

    def forget(self) -> None:
        """Drop all captures, and their memory as far as no result uses it."""
        self._many.forget()


def _slice_by_slice(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The function on every slice, its results stacked."""
    name = name_of(function)
    leaves: list[Any] = []
    structure = flatten((args, kwargs), leaves)
    stacked: list[Array] = []
    expected: TreeDef | None = None
    length = _length(leaves, name)
    for i in range(length):
        slice_args, slice_kwargs = rebuild(structure, [x[i] for x in leaves])
        results: list[Any] = []
        shape = flatten(function(*slice_args, **slice_kwargs), results)
        if not all(isinstance(x, TensorBase) for x in results) or shape != (expected or shape):
            raise TypeError(
                f"[jit] {name} runs in steps: expected it to return tensors, of every slice alike"
            )
        if expected is None:
            expected, stacked = shape, [_stack_for(x.data, length) for x in results]
        for x, stack in zip(results, stacked, strict=True):
            with on_device_of(stack):
                stack[i] = x.data
    assert expected is not None
    return rebuild(expected, [Tensor._wrap(stack) for stack in stacked])


def _stack_for(array: Array, length: int) -> Array:
    """Memory for ``length`` arrays like this one, on its device."""
    with on_device_of(array):
        return array_module(array).empty((length, *array.shape), array.dtype)


def _length(leaves: list[Any], name: str) -> int:
    lengths = {x.shape[0] if x.shape else 0 for x in leaves}
    length = int(lengths.pop()) if len(lengths) == 1 else 0
    if length == 0:
        raise ValueError(
            f"[jit] {name} runs in steps: expected tensors with the same leading axis, got shapes "
            f"{[tuple(x.shape) for x in leaves]}"
        )
    return length


def _refuse_grads(leaves: list[Any], name: str) -> None:
    for x in leaves:
        if isinstance(x, TensorBase) and x.requires_grad and is_grad_enabled():
            raise RuntimeError(
                f"[jit] {name} runs in steps: expected arguments without requires_grad, got one of "
                f"shape {x.shape}, of which each step has a slice that sends no gradient on: pass "
                "its .detach(), or let the function use it from outside"
            )
