"""Forward mode: what a small step of its inputs does to an operation's output.

Inside of `jvp` a tensor may be a `Dual`: a value and its *tangent*, the derivative along the
direction at hand. An operation on duals gives another; how, its class says in a word:

* ``linear`` in each of some inputs by itself: the tangent is the operation on one tangent at a
  time, summed (``jointly``: on all of them at once, as of a sum);
* ``elementwise``: the Jacobian is diagonal, so that what `backward` does to a gradient it does to a
  tangent;
* a `jvp` of its own;
* none: by two passes back. Jᵀv is linear in v, and the gradient by v of (Jᵀv) · t is J t. (So does
  PyTorch's ``autograd.functional.jvp``.)

A gradient that is asked for inside, of a dual, is that of the value and, for its tangent, that of
the tangent: forward over reverse is reverse over forward.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array
from ..backend.dtypes import common_dtype, is_inexact
from .backward import grad_of, gradients_of, transposed
from .batching import BatchLevel, lifted
from .fused import Alias
from .levels import Level, Tracer, as_leaf, innermost, wants_graph, without_graph
from .mode import set_grad_enabled
from .op import Op
from .tensor_base import TensorBase

if TYPE_CHECKING:
    from .typing import Tensor


class DualMixin(Tracer):
    """A value and its tangent, both tensors of the level below."""

    __slots__ = ()

    _primal: Any
    _tangent: Any

    def _held(self) -> Any:
        return self._primal

    def _array(self) -> Array:
        array: Array = self._primal.data
        return array

    def _parts(self) -> tuple[Any, Any]:
        return self._primal, self._tangent

    def _over(self, tensor: TensorBase) -> Tensor:
        dual: Tensor = self._level.dual(tensor, self._tangent)
        return dual

    def _through(self, change: Any, exchange: Any, first: bool = False) -> Any:
        return self._level.dual(change(self._primal), change(self._tangent))

    def detach(self) -> Tensor:
        """The value alone: a constant."""
        found: Tensor = self._primal.detach()
        return found

    def numpy(self) -> Any:
        """The value as a NumPy array."""
        return self._primal.numpy()

    def item(self, *index: Any) -> Any:
        """The value as a Python number."""
        return self._primal.item(*index)

    def tolist(self) -> Any:
        """The value as (nested lists of) Python numbers."""
        return self._primal.tolist()

    def __repr__(self) -> str:
        return f"Dual({self._primal!r}, tangent {self._tangent!r})"


class ForwardLevel(Level):
    """One `jvp` in progress."""

    name = "jvp"

    def dual(self, primal: Any, tangent: Any) -> Any:
        """A tensor with a tangent; without one where there is none."""
        if tangent is None:
            return primal
        dual: Any = object.__new__(primal._dual)
        dual._level, dual._primal, dual._tangent = self, primal, tangent
        dual._grad = dual._node = dual._view = None
        return dual

    def split(self, x: Any) -> tuple[Any, Any]:
        """Value and tangent of anything, None where it has none."""
        if isinstance(x, DualMixin) and x._level is self:
            return x._primal, x._tangent
        if isinstance(x, Tracer) and x._level.depth > self.depth:  # a gradient: look below it
            inner = [self.split(part) for part in x._parts()]
            values, tangents = zip(*inner, strict=True)
            moves = any(t is not None for t in tangents)
            return _held_by(x, values), _held_by(x, tangents, values) if moves else None
        return x, None

    def below(self, value: Any, tangent: Any) -> Any:
        """`dual` of both, below the levels inside of this one."""
        level = innermost([value, tangent])
        if level is None or level.depth < self.depth or tangent is None:
            return self.dual(value, tangent)
        if isinstance(level, BatchLevel):
            return level.batched(self.below(level.whole(value), level.whole(tangent)))
        (v, v_moves), (t, t_moves) = level.split(value), level.split(tangent)
        if v_moves is None and t_moves is None:
            return self.below(v, t)
        v_moves = v._zeros() if v_moves is None else v_moves
        return level.dual(self.below(v, t), self.below(v_moves, t_moves))

    def apply(self, op: Op, inputs: tuple[Any, ...]) -> Tensor:
        primals, tangents = zip(*map(self.split, inputs), strict=True)
        y, tangent = push(op, primals, tangents)
        if tangent is not None and y.requires_grad:
            # A node of its own: a gradient by y must not run back through the tangent, too.
            y = Alias()(y)
        found: Tensor = self.dual(y, tangent)
        return found

    def rule(self, node: Op, grad: Any, create_graph: bool) -> list[Any]:
        """The backward of an operation that works on arrays, which is linear in the gradient."""
        values, tangents = (gradients_of(node, g, create_graph) for g in grad._parts())
        return [
            None if g is None else self.dual(g, t) for g, t in zip(values, tangents, strict=True)
        ]

    def gradients(
        self,
        outputs: Sequence[TensorBase],
        inputs: Sequence[TensorBase],
        seeds: Sequence[Any],
        how: dict[str, Any],
    ) -> list[Any]:
        ys, by_y = zip(*map(self.split, outputs), strict=True)
        us, by_u = zip(*map(self.split, seeds), strict=True)
        us = tuple([_ones(y) if u is None else u for y, u in zip(ys, us, strict=True)])
        xs = [self.split(x)[0] for x in inputs]
        # y · u moves by ẏ · u + y · u̇.
        still = _pairs(zip(ys, us, strict=True))
        moving = _pairs((*zip(by_y, us, strict=True), *zip(ys, by_u, strict=True)))
        kept = how | {"retain_graph": bool(moving) or how["retain_graph"]}
        values = _gradients(still, xs, kept)
        tangents = _gradients(moving, xs, how)
        return [
            None if g is None and t is None else self.below(x._zeros() if g is None else g, t)
            for g, t, x in zip(values, tangents, xs, strict=True)
        ]


def _held_by(x: Any, parts: Sequence[Any], like: Sequence[Any] = ()) -> Any:
    """A tracer like x around other parts; where one is None, zeros ``like`` that are there."""
    made = [
        part if part is not None else other._zeros()
        for part, other in zip(parts, like or parts, strict=True)
    ]
    return x._level.dual(*made) if isinstance(x, DualMixin) else x._level.batched(*made)


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Those outputs and gradients of them that there is something to pass back from."""
    return [(y, u) for y, u in pairs if y is not None and u is not None and y.requires_grad]


def _gradients(pairs: list[tuple[Any, Any]], xs: Sequence[Any], how: dict[str, Any]) -> list[Any]:
    if not pairs:
        return [None] * len(xs)
    found: list[Any] = grad_of([y for y, _ in pairs], xs, [u for _, u in pairs], **how)
    return found


def _ones(y: Any) -> Any:
    if y.data.size != 1:
        raise RuntimeError(
            "[grad] only a tensor with one element has a gradient of its own; for shape "
            f"{y.shape} pass the gradient of what is computed from it"
        )
    return y._zeros() + 1


# --- one operation ------------------------------------------------------------------------------


def push(op: Op, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """``op`` of the primals, and its tangent for those of some of them; None where that is 0."""
    if not op.differentiable or all(t is None for t in tangents):
        return op(*primals), None
    kind = type(op)
    if kind.jvp is not Op.jvp:
        y = op(*primals)
        return y, op.jvp(y, primals, tangents)
    if op.linear and (op.view or not any(isinstance(x, Tracer) for x in primals)):
        y = op(*primals)
        return y, _push_linear(op, y, primals, tangents)
    return _push_back(op, primals, tangents)


def _push_linear(op: Op, y: Any, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """By the operation itself, which ``forward`` may have told what it drew."""
    if op.jointly:
        given = [
            x if _name(op, i) not in op.linear else _zero(x) if t is None else t
            for i, (x, t) in enumerate(zip(primals, tangents, strict=True))
        ]
        return copy.copy(op)(*given)
    total: Any = None
    for i, t in enumerate(tangents):
        if t is None:
            continue
        name = _name(op, i)
        if name in op.added:
            part = t.reshape(1, -1, *[1] * (len(y.shape) - 2)).broadcast_to(y.shape)
        elif name in op.linear:
            kept = [j for j in range(len(primals)) if _name(op, j) not in op.added]
            given = [t if j == i else primals[j] for j in kept]
            part = copy.copy(op)(*given)
        else:
            raise TypeError(f"[{type(op).__name__}] {name} is neither linear nor added")
        total = part if total is None else total + part
    return total


def _name(op: Op, position: int) -> str:
    """What an input is called; all behind the last name are so, too."""
    return op._names[min(position, len(op._names) - 1)]


def _zero(x: Any) -> Any:
    return x._zeros() if isinstance(x, TensorBase) else 0


def _push_back(op: Op, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """By the backward of the operation: once where it is elementwise, else twice."""
    outside = wants_graph(*[x for x in primals if isinstance(x, TensorBase)])
    recorded = outside or wants_graph(*tangents)
    with set_grad_enabled(True):
        ends = [
            None if t is None else _end(lifted(x, among=primals), outside)
            for x, t in zip(primals, tangents, strict=True)
        ]
        given = [x if end is None else end for x, end in zip(primals, ends, strict=True)]
        if op.elementwise and op.broadcasts:
            given, ends = _stretched(op, given, ends)
        y = op(*given)
        if not is_inexact(y.dtype):
            return y, None
        wanted = [(end, t) for end, t in zip(ends, tangents, strict=True) if end is not None]
        diagonal = op.elementwise and (op.holomorphic or not _any_complex(ends))
        tangent = (_by_diagonal if diagonal else _by_two_passes)(y, wanted, recorded)
    if tangent is not None and not recorded:
        tangent = without_graph(tangent)
    return (y if outside else without_graph(y)), tangent


def _end(x: Any, outside: bool) -> Any:
    """A node of its own for an input, which a gradient may be asked by."""
    return Alias()(x) if outside and x.requires_grad else as_leaf(x)


def _stretched(op: Op, given: list[Any], ends: list[Any]) -> tuple[list[Any], list[Any]]:
    """Inputs with tangents in the shape and dtype of the output, so that each counts by itself."""
    tensors = [x for x in given if isinstance(x, TensorBase)]
    shape = np.broadcast_shapes(*[x.shape for x in tensors])
    dtype = common_dtype(*[x.dtype for x in tensors])
    wide = [
        x if end is None else _in_shape(x.astype(dtype), shape)
        for x, end in zip(given, ends, strict=True)
    ]
    return wide, [None if end is None else x for x, end in zip(wide, ends, strict=True)]


def _in_shape(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else x.broadcast_to(shape)


def _any_complex(ends: Sequence[Any]) -> bool:
    return any(x is not None and x.data.dtype.kind == "c" for x in ends)


def _by_diagonal(y: Any, wanted: Sequence[tuple[Any, Any]], recorded: bool) -> Any:
    """J t = Jᵀ t for each input, one pass each."""
    total: Any = None
    for end, t in wanted:
        seed = _in_shape(t.astype(y.dtype), y.shape)
        (part,) = transposed([y], [end], [seed], recorded, True, allow_unused=True)
        if part is not None:
            total = part if total is None else total + part
    return total


def _by_two_passes(y: Any, wanted: Sequence[tuple[Any, Any]], recorded: bool) -> Any:
    """J t as the gradient by v of (Jᵀ v) · t."""
    v = as_leaf(lifted(y._zeros(), among=[y]))
    ends = [end for end, _ in wanted]
    back = grad_of([y], ends, [v], create_graph=True, allow_unused=True)
    pairs = [
        (g, t) for g, (_, t) in zip(back, wanted, strict=True) if g is not None and g.requires_grad
    ]
    if not pairs:
        return None
    (tangent,) = grad_of(
        [g for g, _ in pairs], [v], [t for _, t in pairs], recorded, recorded, allow_unused=True
    )
    return tangent


def tangents_of(level: ForwardLevel, results: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Value and tangent of each result, zeros where it does not depend on the inputs."""
    for y in results:
        primal, tangent = level.split(y)
        yield primal, primal._zeros() if tangent is None else tangent
