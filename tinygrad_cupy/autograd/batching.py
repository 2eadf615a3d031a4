"""Batching: one call of a function for a whole batch of inputs.

Inside of `vmap` a tensor may be `Batched`: it looks like one element and holds all, along the first
axis of a tensor of the level below. An operation on such tensors is

* for an ``elementwise`` one, itself on the whole batch;
* what its class says by a ``batch`` method;
* else done element by element, which is said once.

It is recorded below: the elements do not see each other, so that the gradient of all of them, taken
at once, is each one's own. What a gradient is asked by must be batched, too, or it would be summed:
`lifted` makes it so.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..backend import Array, strides_of
from .aside import stand_aside
from .backward import grad_of, gradients_of
from .levels import Level, Tracer, enclosing
from .op import Op
from .tensor_base import TensorBase

if TYPE_CHECKING:
    from .typing import Tensor

Randomness = Literal["different", "same"]
_told: set[str] = set()  # operations that were done one by one


class BatchedMixin(Tracer):
    """One element, as far as shapes go, of a batch along the first axis of ``_value``."""

    __slots__ = ()

    _value: Any

    def _held(self) -> Any:
        return self._value

    def _array(self) -> Array:
        array: Array = self._value.data[0, ...]  # asked for its shape, dtype and device alone
        return array

    def _over(self, tensor: TensorBase) -> Tensor:
        batched: Tensor = self._level.batched(tensor)
        return batched

    def _through(self, change: Any, exchange: Any, first: bool = False) -> Any:
        value = change(exchange(self._value)) if first else exchange(change(self._value))
        return self._level.batched(value)

    def numpy(self) -> Any:
        """Refused: there is one array for each element of the batch."""
        self._refuse(".numpy()")

    def item(self, *index: Any) -> Any:
        """Refused: there is one number for each element of the batch."""
        self._refuse("the number")

    def tolist(self) -> Any:
        """Refused: there is a list for each element of the batch."""
        self._refuse(".tolist()")

    def __bool__(self) -> bool:
        self._refuse("the truth value")
        return False

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if (aside := stand_aside()) is not None:
            return aside
        self._refuse("the array")

    def __dlpack__(self, **_: Any) -> Any:
        self._refuse("the memory")

    def __repr__(self) -> str:
        return f"Batched(one of {self._level.size}, of {self._value!r})"


class BatchLevel(Level):
    """One `vmap` in progress, over ``size`` elements; what `Op.batch` is handed."""

    name = "vmap"

    def __init__(self, size: int, randomness: Randomness, quiet: bool = False) -> None:
        super().__init__()
        self.size, self.randomness, self.quiet = size, randomness, quiet

    def batched(self, value: Any) -> Any:
        """The batch (B, …) as the tensor (…) that stands for each of its elements."""
        batched: Any = object.__new__(value._batched)
        batched._level, batched._value = self, value
        batched._grad = batched._node = batched._view = None
        return batched

    # --- for rules ------------------------------------------------------------------------------

    def has(self, *tensors: Any) -> bool:
        """Whether one of these is batched in this level."""
        return any(isinstance(x, BatchedMixin) and x._level is self for x in tensors)

    def whole(self, x: Any) -> Any:
        """x of all elements, (B, …): where it is one for all, that, repeated as a view."""
        if self.has(x):
            return x._value
        if isinstance(x, Tracer) and x._level.depth > self.depth:  # of a gradient: below it
            return x._through(self.whole, _exchanged)
        tensor: Any = x
        return tensor.broadcast_to(self.size, *x.shape) if isinstance(x, TensorBase) else x

    def below(self, g: Any) -> Any:
        """The batch (B, …) as one of its elements, below the levels inside of this one."""
        if isinstance(g, Tracer) and g._level.depth > self.depth:
            return g._through(self.below, _exchanged, first=True)
        return self.batched(g)

    def join(self, x: Any, axis: int) -> Any:
        """x of all elements, the batch in one with ``axis``; None stays None. See `joined_axis`."""
        return None if x is None else joined_axis(self.whole(x), axis)

    def split(self, y: Any, axis: int) -> Any:
        """The reverse of `join`: (B, …, n, …) of y (…, B · n, …)."""
        return split_axis(y, self.size, axis)

    def repeats(self, *tensors: Any) -> bool:
        """Whether each of these is a batch that repeats one in memory: see `lifted`."""
        return all(
            self.has(x) and not isinstance(x._value, Tracer) and strides_of(x._value.data)[0] == 0
            for x in tensors
        )

    # --- operations -----------------------------------------------------------------------------

    def apply(self, op: Op, inputs: tuple[Any, ...]) -> Tensor:
        if op.elementwise:
            value = op(*self._aligned(inputs))
        elif type(op).batch is not Op.batch:
            value = op.batch(self, *inputs)
        else:
            if not self.quiet:
                _tell(type(op))
            value = self.one_by_one(lambda *given: copy.copy(op)(*given), inputs)
        found: Tensor = self.batched(value)
        return found

    def _aligned(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs of an elementwise operation, batches in front of what they broadcast to."""
        most = max(len(x.shape) for x in inputs if isinstance(x, TensorBase))
        aligned = []
        for x in inputs:
            if self.has(x):
                missing = [1] * (most - len(x.shape))
                value = x._value
                x = value.reshape(self.size, *missing, *value.shape[1:]) if missing else value
            aligned.append(x)
        return aligned

    def rule(self, node: Op, grad: Any, create_graph: bool) -> list[Any]:
        """The backward of an operation that works on arrays, for each element of the gradient."""
        found = [gradients_of(node, grad._value[i], create_graph) for i in range(self.size)]
        return [
            None if parts[0] is None else self.batched(parts[0]._stacked(parts))
            for parts in map(list, zip(*found, strict=True))
        ]

    def one_by_one(self, compute: Any, inputs: Sequence[Any]) -> Any:
        """``compute`` of each element's inputs, the results, which must be alike, stacked."""
        found = [
            compute(*[x._value[i] if self.has(x) else x for x in inputs]) for i in range(self.size)
        ]
        shapes = {(y.shape, y.dtype) for y in found}
        if len(shapes) > 1:
            raise ValueError(
                f"[vmap] expected results of one shape and dtype for all elements, got {shapes}"
            )
        return found[0]._stacked(found)

    # --- gradients ------------------------------------------------------------------------------

    def gradients(
        self,
        outputs: Sequence[TensorBase],
        inputs: Sequence[TensorBase],
        seeds: Sequence[Any],
        how: dict[str, Any],
    ) -> list[Any]:
        if not self.has(*outputs):  # on a tensor of one element they cannot depend
            others = [x for x in inputs if not self.has(x)]
            by_other = iter(grad_of(outputs, others, seeds, **how) if others else ())
            return [None if self.has(x) else next(by_other) for x in inputs]
        for i, x in enumerate(inputs):
            if not self.has(x):
                raise RuntimeError(
                    f"[grad] input {i} (shape {x.shape}) is one for all elements of a vmap, where "
                    "each has a gradient of its own: let tg.grad(fn) differentiate, or pass it "
                    "through in_axes"
                )
        ys = [self.whole(y) for y in outputs]
        us = [self._seed(y, u) for y, u in zip(outputs, seeds, strict=True)]
        found = grad_of(ys, [self.whole(x) for x in inputs], us, **how)
        return [None if g is None else self.below(g) for g in found]

    def _seed(self, y: Any, u: Any) -> Any:
        if u is not None:
            return self.whole(u if isinstance(u, TensorBase) else y._zeros() + u)
        if y.data.size != 1:
            raise RuntimeError(
                "[grad] only a tensor with one element has a gradient of its own; for shape "
                f"{y.shape} pass the gradient of what is computed from it"
            )
        return self.whole(y._zeros() + 1)


def _exchanged(x: Any) -> Any:
    """x (A, B, …) as (B, A, …)."""
    return x.permute(1, 0, *range(2, len(x.shape)))


def joined_axis(whole: Any, axis: int) -> Any:
    """A batch (B, …, n, …) as (…, B · n, …), the elements one after the other along ``axis``."""
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(whole.shape))]
    moved = whole.permute(order) if axis else whole
    shape = moved.shape
    return moved.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


def split_axis(y: Any, count: int, axis: int) -> Any:
    """The reverse of `joined_axis` for ``count`` elements."""
    shape = y.shape
    apart = y.reshape(*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
    if axis == 0:
        return apart
    return apart.permute([axis, *range(axis), *range(axis + 1, len(apart.shape))])


def _tell(kind: type[Op]) -> None:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name not in _told:
        _told.add(name)
        warnings.warn(
            f"[vmap] {kind.__name__} has no batch method: it is done for one element of the batch "
            "after the other",
            stacklevel=4,
        )


def lifted(x: Any, among: Sequence[Any] | None = None) -> Any:
    """x, batched in every `vmap` in progress: a gradient by it is then each element's own.

    Or in those alone in which one of the tensors ``among`` is batched.
    """
    levels = enclosing(BatchLevel)
    if among is not None and levels:
        there = {level for tensor in among for level in _levels_of(tensor)}
        levels = [level for level in levels if level in there]
    for level in levels:
        x = _lifted_to(x, level)
    return x


def _levels_of(x: Any) -> Iterator[Level]:
    if isinstance(x, Tracer):
        yield x._level
        for part in x._parts():
            yield from _levels_of(part)


def _lifted_to(x: Any, level: BatchLevel) -> Any:
    if isinstance(x, Tracer) and x._level.depth > level.depth:
        return x._over(_lifted_to(x._held(), level))
    return x if level.has(x) else level.batched(level.whole(x))


def as_batched(draw: Any, shape: tuple[int, ...]) -> Any:
    """``draw(shape)``, for each element of the levels in progress as a loop would draw it."""
    levels = [level for level in enclosing(BatchLevel) if level.randomness == "different"]
    count = int(np.prod([level.size for level in levels]))
    drawn = [draw(shape) for _ in range(count)]
    if not levels:
        return drawn[0]
    found = drawn[0]._stacked(drawn).reshape(*[level.size for level in levels], *shape)
    for level in levels:
        found = level.batched(found)
    return found
