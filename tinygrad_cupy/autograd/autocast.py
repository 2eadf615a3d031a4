"""`autocast`: which operations run in 16 bits, and which in float32.

An operation says it by its class, ``autocast``: "narrow" for products, whose inputs are cast down,
"wide" for what loses too much in 16 bits, whose inputs are cast up, "" for the rest, which run in
what they are given. The lists are those of PyTorch's for CUDA. The casts are operations like any
other: gradients go back through them, and those of parameters arrive in the parameters' float32.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from ..backend import Array
from ..backend.capture import active, narrowed
from ..backend.dtypes import is_float, is_narrow, resolve_dtype
from .op import Op
from .tensor_base import TensorBase

if TYPE_CHECKING:
    from .typing import Tensor

NAMES = {"bf16": "bfloat16", "fp16": "float16"}

P = ParamSpec("P")
R = TypeVar("R")


class Cast(Op):
    """x in 16 bits, which it was cast to before: a node of its own for each use."""

    linear = ("x",)

    def __init__(self, array: Array) -> None:
        self.array = array

    def forward(self, x: Array) -> Array:
        self.source = x.dtype
        return self.array

    def backward(self, grad: Tensor) -> Tensor:
        return grad.astype(self.source)


class Casts:
    """The dtype of products, and the arrays of leaves that were cast to it."""

    def __init__(self, precision: str) -> None:
        self.precision, self.dtype = precision, resolve_dtype(NAMES[precision])
        self.arrays: dict[int, tuple[Any, int, Any, Array]] = {}

    def inputs(self, kind: str, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """What an operation of this ``kind`` is given instead. float64 stays what it is."""
        floats = [isinstance(x, TensorBase) and is_float(x._facts.dtype) for x in inputs]
        pairs = list(zip(inputs, floats, strict=True))
        if any(is_one and x._facts.dtype == np.float64 for x, is_one in pairs):
            return inputs
        cast = self.narrow if kind == "narrow" else single
        return tuple([cast(x) if is_one else x for x, is_one in pairs])

    def narrow(self, x: Any) -> Any:
        """``x`` in the dtype of products; a leaf, a weight say, is cast once."""
        if x._facts.dtype == self.dtype:
            return x
        if active.level is not None or not x._requires_grad or x._node is not None:
            return x.astype(self.dtype)
        kept = narrowed(x, self.dtype)
        if kept is not None:
            y = Cast(kept.array)(x)
            kept.versions.append(y._version)
            return y
        count, inside = x._version.count, active.inside
        known = self.arrays.get(id(x))
        # What was cast outside of a captured run is not what its replays would cast.
        if known is None or known[1] != count or known[2] is not inside:
            known = x, count, inside, x.detach().astype(self.dtype).data
            self.arrays[id(x)] = known
        return Cast(known[3])(x)


def single(x: Tensor) -> Tensor:
    """``x``, in float32 where it has 16 bits: a rule of several steps is rounded at its end."""
    return x.astype(np.float32) if is_narrow(x._facts.dtype) else x


def _wide(x: Any) -> Any:
    is_tensor = isinstance(x, TensorBase)
    return single(x) if is_tensor else x


def in_wide(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate what is composed of several operations and runs in float32 under `autocast`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if active.cast is None:
            return function(*args, **kwargs)
        wide: Any = [_wide(x) for x in args]
        named: Any = {name: _wide(x) for name, x in kwargs.items()}
        return function(*wide, **named)

    return call


def in_widest(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate what is built on products, yet runs in the widest dtype of its inputs."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if active.cast is None:
            return function(*args, **kwargs)
        with autocast(enabled=False):
            return function(*args, **kwargs)

    return call


def as_of_products(*inputs: Any) -> tuple[Any, ...]:
    """The inputs, under `autocast` those of a product."""
    return inputs if active.cast is None else active.cast.inputs("narrow", inputs)


class autocast(ContextDecorator):
    """Context or decorator under which products run in 16 bits, per thread.

    ``precision`` is "bf16" (8 bits of exponent as float32 has, 8 of precision) or "fp16" (5 and 11:
    small gradients vanish, see `GradScaler`). Inside, matrix products, linear layers, convolutions
    and what is built on them are given their inputs in that dtype, and so return it; exponentials,
    logarithms, powers, sums, softmax, normalization by layers and groups, distances and losses are
    given float32. All else runs in the widest dtype of its inputs. float64 is left alone.

    Parameters stay float32, and so do their gradients: call ``backward()`` and ``step()`` outside.
    ``enabled=False`` ends it for a part inside. The lists are PyTorch's (``torch.autocast``, CUDA;
    Micikevicius et al. 2018, "Mixed precision training").
    Raises ``ValueError`` for another precision.

    >>> model, x = nn.Linear(4, 3), Tensor.rand(8, 4)
    >>> with tg.autocast("bf16"):
    ...     logits = model(x)
    ...     loss = logits.cross_entropy(Tensor([0, 1, 2, 0, 1, 2, 0, 1]))
    >>> loss.backward()
    >>> logits.dtype, loss.dtype, model.weight.grad.dtype
    (dtype(bfloat16), dtype('float32'), dtype('float32'))
    """

    def __init__(self, precision: str = "bf16", enabled: bool = True) -> None:
        if precision not in NAMES:
            raise ValueError(f"[autocast] expected one of {tuple(NAMES)}, got {precision!r}")
        self.precision, self.enabled = precision, enabled
        self._outer: list[Any] = []  # a stack: one instance may be entered again inside itself

    def _recreate_cm(self) -> autocast:
        return autocast(self.precision, self.enabled)

    def __call__(self, func: Any) -> Any:
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TypeError("[autocast] cannot decorate a generator: use `with` inside of it")
        if inspect.iscoroutinefunction(func):
            raise TypeError("[autocast] cannot decorate a coroutine: use `with` inside of it")
        return super().__call__(func)

    def __enter__(self) -> None:
        outer = active.cast
        self._outer.append(outer)
        if not self.enabled:
            active.cast = None
        elif outer is None or outer.precision != self.precision:
            active.cast = Casts(self.precision)

    def __exit__(self, *_: object) -> None:
        active.cast = self._outer.pop()


def of_product(dtype: Any) -> Any:
    """The dtype that a product of tensors of this one has."""
    cast = cast_to()
    return dtype if cast is None or not is_float(dtype) or dtype == np.float64 else cast


def again() -> autocast:
    """A context in which casts are made as they are now."""
    cast = active.cast
    return autocast(enabled=False) if cast is None else autocast(cast.precision)


def cast_to() -> np.dtype[Any] | None:
    """The dtype of products under `autocast`, or None outside of it."""
    return None if active.cast is None else active.cast.dtype
