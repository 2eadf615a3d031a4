"""A user's backward that works on arrays: right once, and an error where it is differentiated.

What a rule does to arrays leaves no graph, and a second derivative would lack a term in silence.
So where the gradients' own graph is wanted, a user's rule is handed tensors that notice when their
values are read; so does the operation when the rule reads an attribute that `forward` left. If any
are, what the rule gives is put behind a node that raises.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..backend import Array, is_cuda
from .mode import mode
from .op import ENGINE, Op
from .tensor_base import PACKAGE, Edge, TensorBase
from .views import FIXED

if TYPE_CHECKING:
    from .typing import Tensor

# Methods of ours that take values out of the graph on the caller's behalf.
_LEAVING = {"numpy", "item", "tolist", "detach", "__array__", "__dlpack__", "_as_array"}


class _Watch(threading.local):
    reads: set[str] | None = None  # how the rule in progress read values; None: none is watched
    node: Op | None = None  # whose rule it is


_watch = _Watch()
_array: Any = vars(TensorBase)["data"]  # the slot itself


class HandedMixin(TensorBase):
    """A tensor in a rule of a user's: notices when its values are read but by operations.

    So do the results of operations on it. When the rule is over it is any other tensor.
    """

    __slots__ = ()

    @classmethod
    def around(cls, tensor: TensorBase) -> Self:
        """The same tensor, handed to a rule."""
        handed = object.__new__(cls)
        handed._grad, handed._node, handed._version = None, tensor._edge(), tensor._version
        handed._requires_grad = tensor.requires_grad
        handed._view = FIXED if tensor._version.recorded else None
        _array.__set__(handed, tensor.data)
        return handed

    @classmethod
    def _wrap(cls, array: Array) -> Tensor:
        tensor = super()._wrap(array)
        return tensor if _watch.reads is None else cls.around(tensor)  # type: ignore[return-value]

    @property
    def data(self) -> Array:
        """The array itself."""
        array = _array.__get__(self)
        # Integers have no derivative, and what is in no graph is a constant.
        if _watch.reads is not None and self._requires_grad and array.dtype.kind not in "biu":
            self._note(sys._getframe(1))
        return array

    @data.setter
    def data(self, array: Array) -> None:
        _array.__set__(self, array)

    _facts = data

    def _note(self, reader: Any) -> None:
        name = reader.f_code.co_name
        if reader.f_globals.get("__name__", "").partition(".")[0] != PACKAGE:
            note_read(".data")
        elif name in _LEAVING:
            note_read("Tensor(…)" if name == "_as_array" else f".{name}()")
        elif not mode.recording:
            note_read("no_grad")


def note_read(how: str) -> None:
    """Say that the rule in progress worked on arrays."""
    if _watch.reads is not None:
        _watch.reads.add(how)


def input_gradients(node: Op, grad: Tensor) -> list[Tensor | None]:
    """What the backward of ``node``, an operation of a user's, gives, with its graph."""
    node._kind = grad._handed
    kept = node._reads_attributes and {key for key in vars(node) if _may_depend(node, key)}
    outer = _watch.reads, _watch.node
    _watch.reads, _watch.node = set(), node
    plain: Any = type(node)
    if kept and (noting := _noting(plain, frozenset(kept))):
        node.__class__ = noting
    elif kept:
        _watch.reads.update(f"self.{key}" for key in kept)
    try:
        found = node._input_gradients(grad._handed.around(grad), True)
        text = _verdict(plain.__name__, _watch.reads)
    finally:
        _watch.reads, _watch.node = outer
        node.__class__ = plain
    sources = (*node.edges, grad._edge())
    return [None if g is None else outside(g, text, sources) for g in found]


def _verdict(name: str, reads: set[str]) -> str | None:
    """Why the rule cannot be differentiated, and what to do; None where it can."""
    attributes = sorted(how for how in reads if how.startswith("self."))
    arrays = sorted(reads.difference(attributes))
    if arrays:
        return (
            f"[{name}] its backward works on arrays ({', '.join(arrays)}), so what it gives "
            "cannot be differentiated again: write backward in tensor operations, or make it a "
            "FusedOp, with a reference in them"
        )
    if attributes:
        return (
            f"[{name}] its backward reads {', '.join(attributes)}, floating-point values that "
            "forward computed, so what it gives cannot be differentiated again: name what backward "
            "reads in saves, or, where it does not depend on the inputs, in constants"
        )
    return None


@functools.cache
def _noting(plain: Any, kept: frozenset[str]) -> type[Op] | None:
    """The class of an operation while its rule runs: notes when one of ``kept`` is read.

    None where the operation's class does not let itself be derived from just so.
    """

    def getattribute(self: Op, name: str) -> Any:
        if _watch.node is self:
            for one in (name,) if name in kept else kept if name == "__dict__" else ():
                note_read(f"self.{one}")
        return super(noting, self).__getattribute__(name)

    body = {"__slots__": (), "__module__": plain.__module__, "__getattribute__": getattribute}
    try:
        noting: type[Op] = type(plain.__name__, (plain,), body)
    except TypeError:  # its __init_subclass__ asks for arguments
        return None
    return noting


# --- attributes that forward left -----------------------------------------------------------------


_HOLD_NONE = {int, bool, str, type(None), slice, np.dtype, FunctionType}  # at every call: quickly


def _floats_of(node: Op) -> list[Any]:
    """All floating-point values that the attributes of an operation are or hold."""
    found: list[Any] = []
    seen: set[int] = set()
    for key, value in node.__dict__.items():
        if type(value) not in _HOLD_NONE and key not in ENGINE:
            found += _floats(value, seen)
    return found


Op._floats_of = _floats_of


def _may_depend(node: Op, key: str) -> bool:
    """Whether an attribute is or holds floating-point values that were not there before forward."""
    if key in node.constants or key in ENGINE:
        return False
    given = {id(value) for value in node._given}
    return any(id(value) not in given for value in _floats(vars(node)[key], set()))


def _floats(value: Any, seen: set[int]) -> Iterator[Any]:
    """Floating-point arrays, tensors and numbers in a value: itself, its items, its attributes."""
    if isinstance(value, TensorBase | np.ndarray | np.generic) or is_cuda(value):
        if value.dtype.kind not in "biu":
            yield value
    elif isinstance(value, float):
        yield value
    elif id(value) not in seen:
        seen.add(id(value))
        for one in _inside(value):
            yield from _floats(one, seen)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return list(value)
    if callable(value) or isinstance(value, ModuleType | Op):  # a class, a function, a layer
        return ()
    return list(getattr(value, "__dict__", {}).values())


class ArrayRule(Op):
    """Stands behind a gradient that was computed on arrays: its own backward raises."""

    def __init__(self, text: str, edges: tuple[Edge, ...]) -> None:
        self.text, self.edges = text, edges
        self._saved = []

    def _input_gradients(
        self, grad: Tensor, create_graph: bool, only: Any = None
    ) -> list[Tensor | None]:
        raise RuntimeError(self.text)


def outside(found: Tensor, text: str | None, sources: tuple[Edge, ...]) -> Tensor:
    """A gradient as a plain tensor, in front of an `ArrayRule` where there is a ``text``."""
    tensor = found._wrap(found.data)
    tensor._version = found._version
    tensor._node, tensor._requires_grad = found._edge(), found.requires_grad
    if tensor._version.recorded:
        tensor._view = FIXED
    if text is not None and any(edge is not None for edge in sources):
        tensor._node, tensor._requires_grad = ArrayRule(text, sources), True
    return tensor
