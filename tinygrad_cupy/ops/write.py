"""A write in place, as an operation: what the memory held, with values put in at a place.

It is not computed so while a program runs: the values are written, and the operation becomes the
base's node (`autograd.views`). On the way back it gives the values what arrives at their place, and
the old base the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase, Version
from ..autograd.fused import Alias
from ..autograd.levels import Tracer
from ..autograd.mode import mode
from ..autograd.views import base_of, path_to, rebase
from ..backend import (
    Array,
    array_module,
    device_of,
    is_same_view,
    may_share_memory,
    on_device_of,
    to_device,
)
from ..backend.capture import active
from .complex_numbers import Imag
from .indexing import Index, leads, refuse_booleans

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor

Key = tuple[Any, ...]


class Write(Op):
    """x, but at a place ``values``: where the operations of ``path`` lead, views all, and ``key``.

    ``into`` is the memory of that view, of an x that is written itself; what changes there is at
    ``touched``. Of several values for one element the last, in C order of the index arrays, is
    written and gets the gradient.
    """

    linear = ("x", "values")
    jointly = True
    owner: Any = None  # of a write of x itself, which of several values for an element was last

    def __init__(self, key: Key, path: tuple[Op, ...] = (), into: Array | None = None) -> None:
        self.key, self.path, self.into = key, path, into
        self.touched = key

    def at(self, key: Key, path: tuple[Op, ...] = (), into: Array | None = None) -> Write:
        """The same kind of write, of the same watched keys, at another place."""
        return type(self)(key, path, into).watch_with(self)

    def forward(self, x: Array, values: Any) -> Array:
        if self.into is not None:
            into, self.into = self.into, None
            self.owner = self.store(into, self.key, values)
            return x
        out = x.copy()
        place = self._led(out)
        if may_share_memory(place, out) or not out.size:
            self.store(place, self.key, values)
        else:  # the path leads to a view of memory that lies otherwise: by numbers of elements
            self.store(out.reshape(-1), (self._numbers(out),), values)
        return out

    @staticmethod
    def store(out: Array, key: Key, values: Any) -> Any:
        """The write itself; gives what its gradient need not find out again."""
        return kernels.indexing.put(out, key, values)

    def _led(self, array: Array) -> Array:
        """Where the path leads from ``array``."""
        for op in self.path:
            op.xp = array_module(array)
            array = op.forward(array)
        return array

    def _numbers(self, x: Array) -> Array:
        """Of each value, the number of its element in C order of x."""
        xp = array_module(x)
        return xp.asarray(self._led(xp.arange(x.size).reshape(x.shape))[self.key])

    def backward(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if not (mode.recording or self.path or isinstance(grad, Tracer)):
            return self._backward_now(grad)
        by_values = self._of_values(grad) if self.needs[1] else None
        if not self.needs[0]:
            return None, by_values
        if not self.absorbed:
            return self.at(self.key, self.path)(grad, 0), by_values
        if by_values is not None and may_share_memory(by_values.data, grad.data):
            by_values = by_values.clone()  # that memory is ours, and written again
        with on_device_of(grad.data):
            place = self._led(grad.data)
            if not may_share_memory(place, grad.data):
                return self.at(self.key, self.path)(grad, 0), by_values
            kernels.indexing.put(place, self.key, 0)
        return grad, by_values

    def _backward_now(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The same on arrays, where nobody differentiates it and the place is of x itself."""
        array, by_x, by_values = grad.data, None, None
        with on_device_of(array):
            if self.needs[1]:
                found = kernels.indexing.get_last(array, self.key, self.owner)
                if self.needs[0] and self.absorbed and may_share_memory(found, array):
                    found = found.copy()  # that memory is ours, and written now
                by_values = grad._wrap(found)
            if self.needs[0]:
                if self.absorbed:
                    kernels.indexing.put(array, self.key, 0)
                    by_x = grad
                else:
                    by_x = grad._wrap(kernels.indexing.without(array, self.key, self.owner))
        return by_x, by_values

    def _of_values(self, grad: Any) -> Any:
        """What arrives at the place, less what arrived for values that were written over."""
        for op in self.path:
            grad = op.again()(grad)
            grad = -grad if isinstance(op, Imag) else grad  # dz = i dv: dL = Re(ic) dv
        kind = IndexLast if kernels.indexing.may_repeat(self.key) else Index
        return kind(self.key).watch_with(self)(grad)

    def absorbs(self, producer: Any) -> bool:
        """The step of another write: to copy the gradient, of which each takes its part."""
        return isinstance(producer, Write)

    def batch(self, b: BatchLevel, x: Tensor, values: Any) -> Tensor:
        whole: Tensor = b.whole(x).clone()
        place: Any = b.batched(whole)
        for op in self.path:
            place = op.again()(place)
        if place._version is whole._version:
            place._put(self.at(self.key), values)
        else:  # as in forward
            flat: Any = b.batched(whole.reshape(b.size, -1))
            flat._put(self.at((self._numbers(x.data),)), values)
        return whole


class AddAt(Write):
    """x with values added at a place, as often as its key says."""

    @staticmethod
    def store(out: Array, key: Key, values: Any) -> None:
        kernels.indexing.add_at(out, key, values)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        by_values = grad
        for op in self.path:
            by_values = op.again()(by_values)
        by_values = Index(self.key).watch_with(self)(by_values)
        return grad, by_values.clone() if self.absorbed else by_values

    def absorbs(self, producer: Any) -> bool:
        return self.absorbed and isinstance(producer, Write)


class IndexLast(Op):
    """x[key], but 0 where a later place of the key names the same element: adjoint of a `Write`."""

    linear = ("x",)

    def __init__(self, key: Key) -> None:
        self.key = key

    def forward(self, x: Array) -> Array:
        self.source = tuple(x.shape)
        return kernels.indexing.get_last(x, self.key, None)

    def backward(self, grad: Tensor) -> Tensor:
        with on_device_of(grad.data):
            zeros = grad._wrap(array_module(grad.data).zeros(self.source, grad.dtype))
        return Write(self.key).watch_with(self)(zeros, grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        if leads(self.key):
            one = lambda x: IndexLast(self.key).watch_with(self)(x)  # noqa: E731
            return b.one_by_one(one, (x,))  # type: ignore[no-any-return]
        return IndexLast((slice(None), *self.key)).watch_with(self)(b.whole(x))


# --- a write of a program ------------------------------------------------------------------------


def record(tensor: Any, write: Write, values: Any, fresh: bool = False) -> None:
    """Write into the memory of ``tensor``, and make that part of the graph of its base.

    Of ``fresh`` values, which nobody else has, the base may take the place in the graph.
    """
    base = base_of(tensor)
    if base is not tensor and not may_share_memory(base.data, tensor.data):
        base = tensor  # .data was given another array
    for one in (active.level, active.run):
        if one is not None:
            one.joins(base)
    array, key = tensor.data, write.key
    if writes_all(base, tensor, write):
        with on_device_of(array):
            write.store(array, key, values.data if isinstance(values, TensorBase) else values)
        node = values._node if fresh else _own_node(values)
    else:
        basic = not any(hasattr(k, "ndim") for k in key)
        covers = basic and array[key].nbytes == base.data.nbytes and not isinstance(write, AddAt)
        path = path_to(tensor) if base is not tensor else ()
        op = write.at(key, path, into=array)
        node = op(base._alias(base.data) if covers else base, values)._node
    tensor._written(array, write.touched, recorded=True)
    rebase(base, node)


def _own_node(values: Any) -> Any:
    """A node for a tensor that was given these values, whole."""
    return Alias()(values)._node if isinstance(values, TensorBase) else None


def writes_all(base: Any, tensor: Any, write: Write) -> bool:
    """Whether nothing of what ``base`` was is left, and its place is that of the values."""
    everything = len(write.key) == 1 and write.key[0] is Ellipsis
    return base is tensor and everything and not isinstance(write, AddAt)


def keep_old(values: TensorBase, *operands: Any) -> None:
    """Have the graph between operands and values keep what it saved of the first one's memory.

    That is about to be written: ``x *= w`` needs the old x.
    """
    version = operands[0]._version
    known = {id(x._edge()) for x in operands if isinstance(x, TensorBase)}
    copies: dict[int, Array] = {}
    nodes = [values._node]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, Op) or id(node) in known:
            continue
        known.add(id(node))
        nodes += node.edges
        for i, (value, edge, owner, _) in enumerate(node._saved or ()):
            if owner is version:
                if id(value) not in copies:
                    copies[id(value)] = value.copy()
                node._saved[i] = (copies[id(value)], edge, Version(), 0)  # type: ignore[index]


# --- where it goes -------------------------------------------------------------------------------


def region(array: Array, key: Key) -> tuple[int, ...]:
    """The shape of ``array[key]``."""
    if len(key) == 1 and hasattr(key[0], "ndim") and key[0].dtype != bool and array.ndim:
        return (*key[0].shape, *array.shape[1:])
    if any(hasattr(k, "ndim") for k in key):
        refuse_booleans(array, key)
        try:
            return kernels.indexing.region_of(key, array.shape).whole
        except (IndexError, ValueError):
            pass  # NumPy says what does not fit
    return tuple(array[key].shape)


def fitted(values: Any, shape: tuple[int, ...]) -> Any:
    """The tensor ``values`` broadcast to a place of this shape, as NumPy does when it assigns."""
    extra = len(values.shape) - len(shape)
    if extra > 0 and set(values.shape[:extra]) == {1}:
        values = values.reshape(values.shape[extra:])
    return values if values.shape == shape else values.broadcast_to(shape)


def is_there(values: Any, tensor: Any, keys: Key) -> bool:
    """Whether ``values`` are the view ``tensor[keys]`` itself: nothing is to be done."""
    if not isinstance(values, TensorBase) or values._version is not tensor._version:
        return False
    basic = all(k is None or k is ... or isinstance(k, int | np.integer | slice) for k in keys)
    if not basic or base_of(values) is not base_of(tensor):
        return False
    return is_same_view(tensor.data[(*keys, ...) if ... not in keys else keys], values.data)


def mask_of_fixed_size(tensor: Any, keys: Key, values: Any) -> Any:
    """The one mask that ``keys`` is, to broadcast against the tensor, where values fit any count.

    Such a write is a choice, whose size does not depend on how many are chosen. None for others.
    """
    mask: Any = keys[0] if len(keys) == 1 else None
    if not hasattr(mask, "ndim") or mask.dtype != bool or not 0 < mask.ndim <= tensor.ndim:
        return None
    rest = tensor.shape[mask.ndim :]
    if isinstance(values, TensorBase):
        shape = values.shape
        wide = len(shape) > len(rest) and set(shape[: len(shape) - len(rest)]) != {1}
        if wide or np.broadcast_shapes(shape[len(shape) - len(rest) :], rest) != rest:
            return None
    if tuple(mask.shape) != tensor.shape[: mask.ndim]:
        return None
    if not isinstance(mask, TensorBase):
        mask = to_device(mask, device_of(tensor.data))
    return mask.reshape(*mask.shape, *[1] * len(rest))
