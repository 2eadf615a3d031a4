"""What an equation defines: x with A x = b or F(x) = 0, and derivatives that no iteration is in.

A solution's derivative is that of its equation, whatever found it: dx = A⁻¹ (db - dA x), and
dx = -(∂F/∂x)⁻¹ dF (Blondel et al. 2022, "Efficient and modular implicit differentiation"). What A
and F depend on need not be said: a tape sees which tensors they use.

Inside of `jvp` and `vmap` an equation is taken to the level below, where its function is the same
one with tangents, or batches, put on and taken off. So a solver sees plain tensors alone, of which
``lead`` first axes are batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..autograd import Op, TensorBase
from ..autograd.backward import transposed
from ..autograd.batching import BatchLevel
from ..autograd.forward import ForwardLevel
from ..autograd.fused import Alias
from ..autograd.levels import Level, as_leaf, innermost
from ..autograd.mode import mode, no_grad, set_grad_enabled
from ..backend import Array, array_module
from .forward import jvp

Function = Callable[[Any], Any]


class LinearSolver(Protocol):
    """How A x = b is solved, for A as a function; x has ``lead`` axes of batches in front."""

    symmetric: bool  # A is taken for its own transpose (or adjoint, where it is complex)

    def solve(self, fn: Function, b: Any, lead: int) -> Any:
        """x, of plain tensors; nothing is recorded."""

    def again(self) -> LinearSolver:
        """For a derivative, with the same matrix."""

    def transposed(self) -> LinearSolver:
        """For a derivative, with the transposed matrix."""


class Tape(Level):
    """Sees which tensors from outside a function uses that want a gradient."""

    name = "implicit differentiation"

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[int, TensorBase] = {}

    def uses(self, tensors: Sequence[TensorBase]) -> None:
        for x in tensors:
            if x.requires_grad and not self.has_made(x):
                self.used.setdefault(id(x._edge()), x)  # one for each place in the graph
        super().uses(tensors)


def used_by(fn: Function, x: Any) -> list[Any]:
    """The tensors that ``fn(x)`` uses from outside and that want a gradient."""
    tape = Tape()
    with tape.entered(), set_grad_enabled(True):  # what is made inside is told apart by its graph
        found = fn(x.detach())
    return list(tape.used.values()) if found.requires_grad else []


def _level_of(fn: Function, *others: Any) -> Level | None:
    """The innermost transform that what fn gives, or one of the others, is inside of."""
    with no_grad():
        found = fn(others[0])
    level: Level | None = innermost([found, *others])
    return level


# --- linear ---------------------------------------------------------------------------------------


def linear_solve(fn: Function, b: Any, solver: LinearSolver, lead: int = 0) -> Any:
    """x with fn(x) = b, of a linear ``fn``; differentiable in b and in what fn uses, to any order.

    The first ``lead`` axes of b are of equations that fn solves side by side.
    """
    level = _level_of(fn, b)
    if isinstance(level, ForwardLevel):
        return _pushed(level, fn, b, solver, lead)
    if isinstance(level, BatchLevel):

        def whole(v: Any) -> Any:
            return level.whole(fn(level.batched(v)))

        return level.batched(linear_solve(whole, level.whole(b), solver, lead + 1))
    with no_grad():
        x = solver.solve(fn, b.detach(), lead)
    if not mode.recording:
        return x
    outside = used_by(fn, x)
    if not outside and not b.requires_grad:
        return x
    return Solved(x, fn, outside, solver, lead)(b, *outside)


def _pushed(level: ForwardLevel, fn: Function, b: Any, solver: LinearSolver, lead: int) -> Any:
    """ẋ = A⁻¹ (ḃ - Ȧ x)."""

    def still(v: Any) -> Any:
        return level.split(fn(v))[0]

    value, moves = level.split(b)
    x = linear_solve(still, value, solver, lead)
    pushed = level.split(fn(x))[1]
    if pushed is not None:
        moves = -pushed if moves is None else moves - pushed
    if moves is None:
        return x
    tangent = linear_solve(still, moves, solver.again(), lead)
    return level.dual(Alias()(x) if x.requires_grad else x, tangent)


class Solved(Op):
    """The solution of a linear equation, as a function of b and of what A uses."""

    saves = ("y",)
    constants = ("x", "fn", "outside", "solver")

    def __init__(
        self, x: Any, fn: Function, outside: Sequence[Any], solver: LinearSolver, lead: int
    ) -> None:
        self.x: Any = x
        self.fn, self.outside, self.solver, self.lead = fn, outside, solver, lead
        self.watch(*outside)

    def forward(self, b: Array, *outside: Array) -> Array:
        found: Array = self.x.data
        self.x = None
        return found

    def backward(self, grad: Any, y: Any) -> tuple[Any, ...]:
        u = self._back(grad, y)
        return u, *by_what_is_used(self.fn, y, u, self.outside, self.needs[1:])

    def _back(self, grad: Any, y: Any) -> Any:
        """A⁻ᵀ grad."""
        if self.solver.symmetric:  # Aᵀ is the conjugate of A
            return linear_solve(self.fn, grad.conj(), self.solver.again(), self.lead).conj()
        back = Transposed(self.fn, y)
        return linear_solve(back, grad, self.solver.transposed(), self.lead)


class Transposed:
    """v ↦ Jᵀ v of a function at y. While nothing is recorded its graph is built once."""

    def __init__(self, fn: Function, y: Any) -> None:
        self.fn, self.y = fn, y
        self.kept: Any = None

    def __call__(self, v: Any) -> Any:
        create_graph = mode.recording
        kept = None if create_graph else self.kept
        if kept is None:
            with set_grad_enabled(True):
                graph = create_graph and self.y.requires_grad
                end = Alias()(self.y) if graph else as_leaf(self.y)
                kept = end, self.fn(end)
            if not create_graph:
                self.kept = kept
        end, found = kept
        if not found.requires_grad:
            return v._zeros()
        (back,) = transposed(
            [found], [end], [v], create_graph, True, allow_unused=True, through=False
        )
        return v._zeros() if back is None else back


def by_what_is_used(
    fn: Function, y: Any, u: Any, outside: Sequence[Any], needs: Sequence[bool]
) -> list[Any]:
    """The gradients by tensors that fn uses, where they are needed, of fn(y) by -u."""
    wanted = [x for x, need in zip(outside, needs, strict=True) if need]
    found: list[Any] = [None] * len(wanted)
    if wanted:
        create_graph = mode.recording
        with set_grad_enabled(True):
            end = Alias()(y) if create_graph and y.requires_grad else y.detach()
            made = fn(end)
        if made.requires_grad:  # y depends on what is wanted, too: the alias is where that way ends
            sought = [*wanted, end] if end.requires_grad else wanted
            found = transposed([made], sought, [-u], create_graph, allow_unused=True, through=False)
    each = iter(found)
    return [next(each) if need else None for need in needs]


# --- roots ----------------------------------------------------------------------------------------


def root_of(
    fn: Function,
    x0: Any,
    find: Callable[[Function, Any, int], Any],
    solver: Callable[[Any, int], LinearSolver],
    lead: int = 0,
) -> Any:
    """x with fn(x) = 0 that ``find(fn, x0, lead)`` finds; differentiable in what fn uses.

    The derivative is there where ∂fn/∂x at the solution is not singular; ``solver(x, lead)`` says
    how equations with it are solved. x0 has none.
    """
    level = _level_of(fn, x0.detach())
    if isinstance(level, ForwardLevel):

        def still(v: Any) -> Any:
            return level.split(fn(v))[0]

        x = root_of(still, level.split(x0)[0], find, solver, lead)
        moves = level.split(fn(x))[1]
        if moves is None:
            return x
        tangent = linear_solve(Pushed(still, x), -moves, solver(x, lead), lead)
        return level.dual(Alias()(x) if x.requires_grad else x, tangent)
    if isinstance(level, BatchLevel):

        def whole(v: Any) -> Any:
            return level.whole(fn(level.batched(v)))

        return level.batched(root_of(whole, level.whole(x0), find, solver, lead + 1))
    with no_grad():
        x = find(fn, x0.detach(), lead)
    if not mode.recording:
        return x
    outside = used_by(fn, x)
    return Rooted(x, fn, outside, solver, lead)(*outside) if outside else x


class Pushed:
    """v ↦ J v of a function at x."""

    def __init__(self, fn: Function, x: Any) -> None:
        self.fn, self.x = fn, x

    def __call__(self, v: Any) -> Any:
        return jvp(self.fn, (self.x,), (v,))[1]


class Rooted(Op):
    """The root of a function, as a function of what that uses."""

    saves = ("y",)
    constants = ("x", "fn", "outside", "solver")

    def __init__(
        self, x: Any, fn: Function, outside: Sequence[Any], solver: Any, lead: int
    ) -> None:
        self.x: Any = x
        self.fn, self.outside, self.solver, self.lead = fn, outside, solver, lead
        self.watch(*outside)

    def forward(self, *outside: Array) -> Array:
        found: Array = self.x.data
        self.x = None
        return found

    def backward(self, grad: Any, y: Any) -> tuple[Any, ...]:
        how = self.solver(y, self.lead).transposed()
        u = linear_solve(Transposed(self.fn, y), grad, how, self.lead)
        return tuple(by_what_is_used(self.fn, y, u, self.outside, self.needs))


# --- small equations ------------------------------------------------------------------------------


class Dense:
    """By the whole matrix, for few unknowns: `numpy.linalg.solve` or CuPy's."""

    symmetric = False

    def solve(self, fn: Function, b: Any, lead: int) -> Any:
        shape = b.shape[lead:]
        size = math.prod(shape)
        if not size:
            return b
        matrix = matrix_of(fn, b, lead)  # (…, N, N)
        xp = array_module(b.data)
        sides = b.data.reshape(*b.shape[:lead], size, 1)
        try:
            found = xp.linalg.solve(matrix, sides)
        except np.linalg.LinAlgError:
            raise np.linalg.LinAlgError(
                "[root] the Jacobian is singular: no step and no derivative is determined by it"
            ) from None
        return b._wrap(found.reshape(b.shape))

    def again(self) -> Dense:
        return self

    def transposed(self) -> Dense:
        return self


def matrix_of(fn: Function, like: Any, lead: int) -> Array:
    """A linear function as an array (…, N, N), by all its columns at once."""
    shape = like.shape[lead:]
    size, xp = math.prod(shape), array_module(like.data)
    unit = xp.eye(size, dtype=like.data.dtype)
    units = unit.reshape(size, *[1] * lead, *shape)
    whole = xp.ascontiguousarray(xp.broadcast_to(units, (size, *like.shape)))
    level = BatchLevel(size, "same", quiet=True)
    with level.entered():
        columns = level.whole(fn(level.batched(like._wrap(whole))))  # (N, …, *shape)
    found = columns.data.reshape(size, *like.shape[:lead], size)
    matrix: Array = xp.moveaxis(found, 0, -1)
    return matrix
