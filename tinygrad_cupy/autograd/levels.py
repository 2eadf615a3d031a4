"""Levels of transforms, and the tensors that stand for others inside of them.

A transform in progress is a `Level`. What it computes with are `Tracer`s: tensors that hold tensors
of the level below. An operation on tracers is done by the innermost level among them, which calls
operations on what they hold; so transforms nest, and none sees another's. A level that only looks
on (a checkpoint's) has no tracers.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..backend import Array
from ..backend.capture import Inside, active
from .mode import mode
from .tensor_base import PACKAGE, Edge, TensorBase, Version
from .views import refresh_all

if TYPE_CHECKING:
    from .op import Op
    from .typing import Tensor


class Level:
    """One transform in progress; a context.

    ``depth`` counts from the outermost, 1.
    """

    name: ClassVar[str]

    inside: Inside | None = None  # of what is made in it

    def __init__(self) -> None:
        self.outer: Level | None = active.level
        self.depth = 1 if self.outer is None else self.outer.depth + 1
        self.ended = False

    @contextlib.contextmanager
    def entered(self) -> Iterator[Self]:
        """Inside of it the level is the innermost one; behind it, over."""
        around = active.inside
        self.inside = Inside(active.run, around)
        try:
            active.level, active.inside = self, self.inside
            yield self
        finally:
            active.level, active.inside, self.ended = self.outer, around, True

    def has_made(self, tensor: TensorBase) -> bool:
        """Whether the memory of a tensor was made inside."""
        made_in = tensor._version.inside
        return made_in is not None and self.inside is not None and made_in.within(self.inside)

    def alive(self) -> Self:
        """The level itself, or an error when it is over."""
        if self.ended:
            raise RuntimeError(
                f"[{self.name}] a tensor from inside is used after {self.name} has ended: return "
                "it from the function"
            )
        return self

    def uses(self, tensors: Sequence[TensorBase]) -> None:
        """An operation, of none of this level's tracers, reads these."""
        if self.outer is not None:
            self.outer.uses(tensors)

    def writes(self, tensor: TensorBase) -> None:
        """The memory of this tensor was written in place."""
        if self.outer is not None:
            self.outer.writes(tensor)

    def joins(self, tensor: TensorBase) -> None:
        """This tensor is about to be written with what wants a gradient: it joins the graph."""
        if self.outer is not None:
            self.outer.joins(tensor)

    def apply(self, op: Op, inputs: tuple[Any, ...]) -> Tensor:
        """What ``op`` gives on inputs of which this level's tracers are the innermost."""
        raise NotImplementedError

    def gradients(
        self,
        outputs: Sequence[TensorBase],
        inputs: Sequence[TensorBase],
        seeds: Sequence[Any],
        how: dict[str, Any],
    ) -> list[Any]:
        """`backward.grad_of` where this level's tracers are the innermost of outputs and inputs."""
        raise NotImplementedError


class Tracer(TensorBase):
    """A tensor inside of a transform."""

    __slots__ = ()

    _level: Any

    def _held(self) -> Any:
        """The tensor of the level below, less a tangent."""
        raise NotImplementedError

    def _over(self, tensor: TensorBase) -> Tensor:
        """A tracer like this one around another tensor."""
        raise NotImplementedError

    def _parts(self) -> Sequence[Any]:
        """All tensors of the level below."""
        return (self._held(),)

    def _through(self, change: Any, exchange: Any, first: bool = False) -> Any:
        """A tracer around what ``change`` makes of what this one holds.

        ``change`` adds or takes an axis of a batch in front; ``exchange`` swaps it with this one's
        own, where it has one, behind or ``first``.
        """
        raise NotImplementedError

    def _array(self) -> Array:
        raise NotImplementedError

    @property
    def _version(self) -> Version:  # type: ignore[override]
        version: Version = self._held()._version
        return version

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient of it is wanted outside of the transform."""
        wanted: bool = self._held().requires_grad
        return wanted

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self._refuse(".requires_grad is set")

    def _edge(self) -> Edge:
        return self if self.requires_grad else None

    @property
    def data(self) -> Array:
        """An array of this one's shape, dtype and device."""
        self._level.alive()
        reader = sys._getframe(1)
        if reader.f_globals.get("__name__", "").partition(".")[0] != PACKAGE:
            self._refuse(".data is read")
        return self._array()

    @data.setter
    def data(self, array: Array) -> None:
        self._refuse(".data is set")

    @property
    def _facts(self) -> Array:
        self._level.alive()
        return self._array()

    def _refuse(self, what: str) -> None:
        """Raise: only operations know what a tensor of this level is."""
        raise RuntimeError(
            f"[{self._level.name}] {what} of a tensor of shape {self.shape} inside of a "
            f"transformed function: compute with operations, or take what is constant with "
            ".detach()"
        )

    def detach(self) -> Tensor:
        """The values, outside of every graph."""
        return self._over(self._held().detach())

    def backward(self, *_: Any, **__: Any) -> None:
        """Refused: gradients inside of a transform are returned, not accumulated."""
        raise RuntimeError(
            f"[backward] inside of {self._level.name}: use tg.grad, which returns the gradient"
        )


def enclosing(kind: type[Level]) -> list[Any]:
    """The levels of a kind that are in progress, from the outermost."""
    found, level = [], active.level
    while level is not None:
        if isinstance(level, kind):
            found.append(level)
        level = level.outer
    return found[::-1]


def innermost(tensors: Sequence[Any]) -> Any:
    """The innermost level that the tracers among ``tensors`` are of, or None."""
    refresh_all(tensors)
    levels = [x._level for x in tensors if isinstance(x, Tracer)]
    return max(levels, key=lambda level: level.depth) if levels else None


def bottoms(tensor: Any) -> Iterator[Any]:
    """The plain tensors that a tensor stands for."""
    if isinstance(tensor, Tracer):
        for part in tensor._parts():
            yield from bottoms(part)
    else:
        yield tensor


def wants_graph(*tensors: Any) -> bool:
    """Whether operations on these are recorded outside of the transform at hand."""
    return mode.recording and any(
        part.requires_grad for x in tensors if x is not None for part in bottoms(x)
    )


def without_graph(tensor: Any) -> Any:
    """The same values, tangents included, outside of the graph."""
    if isinstance(tensor, Tracer):
        return tensor._through(without_graph, lambda value: value)
    return tensor.detach() if tensor is not None and tensor.requires_grad else tensor


def as_leaf(tensor: Any) -> Any:
    """The same values as a leaf that wants a gradient, in the same levels."""
    if isinstance(tensor, Tracer):
        return tensor._over(as_leaf(tensor._held()))
    leaf = tensor.detach()
    leaf.requires_grad = True
    return leaf
