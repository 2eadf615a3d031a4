"""A user's backward that works on arrays: right once, and an error where it is differentiated.

What a rule does to arrays leaves no graph, and a second derivative would lack a term in silence.
So where the gradients' own graph is wanted, a user's rule is handed tensors that notice when their
values are read. If any are, what the rule gives is put behind a node that raises.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .autograd import PACKAGE, Edge, Op, TensorBase
from .backend import Array, is_cuda
from .mode import mode

if TYPE_CHECKING:
    from .tensor import Tensor

# Methods of ours that take values out of the graph on the caller's behalf.
_LEAVING = {"numpy", "item", "tolist", "detach", "__array__", "__dlpack__", "_as_array"}


class _Watch(threading.local):
    reads: set[str] | None = None  # how the rule in progress read values; None: none is watched


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
        handed.requires_grad = tensor.requires_grad
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
        if _watch.reads is not None and array.dtype.kind not in "biu":  # those have no derivative
            self._note(sys._getframe(1))
        return array

    @data.setter
    def data(self, array: Array) -> None:
        _array.__set__(self, array)

    def _note(self, reader: Any) -> None:
        name = reader.f_code.co_name
        if reader.f_globals.get("__name__", "").partition(".")[0] != PACKAGE:
            note_read(".data")
        elif name in _LEAVING:
            note_read("Tensor(…)" if name == "_as_array" else f".{name}()")
        elif self.requires_grad and not mode.recording:
            note_read("no_grad")


def note_read(how: str) -> None:
    """Say that the rule in progress worked on arrays."""
    if _watch.reads is not None:
        _watch.reads.add(how)


def input_gradients(node: Op, grad: Tensor) -> list[Tensor | None]:
    """What the backward of ``node``, an operation of a user's, gives, with its graph."""
    node._kind = grad._handed
    outer, _watch.reads = _watch.reads, set()
    try:
        found = node._input_gradients(grad._handed.around(grad), True)
        reads = _watch.reads
    finally:
        _watch.reads = outer
    text = _verdict(node, reads)
    sources = (*node.edges, grad._edge())
    return [None if g is None else _outside(g, text, sources) for g in found]


def _verdict(node: Op, reads: set[str]) -> str | None:
    """Why the rule cannot be differentiated, and what to do; None where it can."""
    name = type(node).__name__
    if reads:
        return (
            f"[{name}] its backward works on arrays ({', '.join(sorted(reads))}), so what it gives "
            "cannot be differentiated again: write backward in tensor operations, or make it a "
            "FusedOp, with a reference in them"
        )
    kept = [key for key, value in vars(node).items() if _may_depend(node, key, value)]
    if node._reads_attributes and kept:
        return (
            f"[{name}] its backward may read self.{kept[0]}, floating-point values that forward "
            "computed, so what it gives cannot be differentiated again: name what backward reads "
            "in saves, or, where it does not depend on the inputs, in constants"
        )
    return None


def _may_depend(node: Op, key: str, value: Any) -> bool:
    """Whether an attribute is one that forward made of floating-point values."""
    if key in node._given or key in node.constants or key in _ENGINE:
        return False
    return any(_is_floating(x) for x in _flat(value))


_ENGINE = {"xp", "needs", "edges", "inputs", "gates", "gated", "_saved", "_watched", "_kind"}


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _is_floating(value: Any) -> bool:
    if isinstance(value, TensorBase | np.ndarray | np.generic) or is_cuda(value):
        return value.dtype.kind not in "biu"
    return isinstance(value, float)


class ArrayRule(Op):
    """Stands behind a gradient that was computed on arrays: its own backward raises."""

    def __init__(self, text: str, edges: tuple[Edge, ...]) -> None:
        self.text, self.edges = text, edges
        self._saved = []

    def _input_gradients(self, grad: Tensor, create_graph: bool) -> list[Tensor | None]:
        raise RuntimeError(self.text)


def _outside(found: Tensor, text: str | None, sources: tuple[Edge, ...]) -> Tensor:
    """A gradient as a plain tensor, in front of an `ArrayRule` where there is a ``text``."""
    tensor = found._wrap(found.data)
    tensor._version = found._version
    tensor._node, tensor.requires_grad = found._edge(), found.requires_grad
    if text is not None and any(edge is not None for edge in sources):
        tensor._node, tensor.requires_grad = ArrayRule(text, sources), True
    return tensor
