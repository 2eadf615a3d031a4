"""Elementwise operations of a capture, launched together.

While a function is captured, an elementwise operation is not launched at once: it waits in a
`Chain` for the next one of the same shape and layout. One kernel then does all of them, and stores
what is still referred to; what only the chain itself read is never written.

Whoever reads memory launches what waits first: an operation that is none of these before its
forward, a write in place, an optimizer, a kernel of a user's, and any code that takes ``.data`` of
a tensor that waits (its class is `Waiting` meanwhile). Whoever asks for no more than its shape,
dtype or device takes ``._facts``. A chain holds the arrays that it reads, whose memory nobody is
given until then.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array
from ..backend.capture import active
from ..backend.generated import Compiled, empty, layout_of
from ..backend.symbols import Program
from .programs import is_array
from .tensor_base import TensorBase

if TYPE_CHECKING:
    from .typing import Tensor

MOST_LOADS = 8  # arrays that a chain reads
MOST_STORES = 4  # that it writes
MOST_STEPS = 48


class Chains:
    """What waits in one capture."""

    def __init__(self) -> None:
        self.by_form: dict[Any, Chain] = {}
        self.where: dict[int, Chain] = {}  # by id of an array that waits

    def add(self, program: Program, given: Sequence[Any]) -> list[Array] | None:
        """The arrays that an operation will have filled; None where it cannot wait.

        Only the first waits alone: one that is left in an attribute is read as it is.
        """
        arrays = [x for x in given if is_array(x)]
        shape = np.broadcast_shapes(*[x.shape for x in arrays])
        if 0 in shape:
            return None
        order = layout_of(shape, arrays)
        form = shape, order
        chain = self.by_form.get(form)
        for x in arrays:
            other = self.where.get(id(x))
            if other is not None and other is not chain:
                self.launch(other)
        if chain is not None and not chain.takes(program, arrays):
            self.launch(chain)
            chain = None
        if chain is None:
            chain = self.by_form[form] = Chain(form)
        made = [empty(shape, program.dtype_of(n), order) for n in program.results]
        chain.add(program, arrays, made)
        self.where.update(dict.fromkeys(map(id, made), chain))
        if len(made) > 1:
            self.launch(chain)
        return made

    def mark(self, tensor: Tensor) -> None:
        """Have a tensor's array launched when it is read, where it waits."""
        chain = self.where.get(id(tensor._facts))
        if chain is not None:
            tensor.__class__ = _waiting_kind(type(tensor))
            chain.tensors.append(weakref.ref(tensor))

    def read(self, array: Array) -> None:
        """Somebody takes this array."""
        chain = self.where.get(id(array))
        if chain is not None:
            self.launch(chain)

    def launch_all(self) -> None:
        """Somebody may read or write any memory."""
        for chain in list(self.by_form.values()):
            self.launch(chain)

    def launch(self, chain: Chain) -> None:
        if self.by_form.pop(chain.form, None) is None:
            return
        for array, _ in chain.made:
            self.where.pop(id(array), None)
        for reference in chain.tensors:
            tensor = reference()
            if tensor is not None and isinstance(tensor, Waiting):
                tensor.__class__ = type(tensor).__bases__[1]  # see `_waiting_kind`
        chain.launch()


class Chain:
    """Operations of one shape and layout, in the order of their calls.

    A value is called ("load", n) or ("step", n).
    """

    def __init__(self, form: tuple[tuple[int, ...], tuple[int, ...] | None]) -> None:
        self.form = form
        self.loads: list[Array] = []
        self.steps: list[tuple[Any, tuple[Any, ...]]] = []  # a Step, and what its arguments are
        self.constants: list[Any] = []
        self.constant_types: list[Any] = []
        self.made: list[tuple[Array, Any]] = []
        self.values: dict[int, Any] = {}  # by id of an array: loads and what is made
        self.tensors: list[Any] = []

    def takes(self, program: Program, arrays: Sequence[Array]) -> bool:
        """Whether another operation finds room."""
        new = {id(x) for x in arrays if id(x) not in self.values}
        return (
            len(self.loads) + len(new) <= MOST_LOADS
            and len(self.steps) + len(program.steps) <= MOST_STEPS
            and len(self._alive()) < MOST_STORES
        )

    def add(self, program: Program, arrays: Sequence[Array], made: Sequence[Array]) -> None:
        values = []
        for x in arrays:
            value = self.values.get(id(x))
            if value is None:
                value = self.values[id(x)] = ("load", len(self.loads))
                self.loads.append(x)
            values.append(value)
        before = len(self.constants)
        self.constants += program.constants
        self.constant_types += program.constant_types
        for step in program.steps:
            arguments = tuple(
                [values[n] if n >= 0 else ("constant", before - n - 1) for n in step.arguments]
            )
            self.steps.append((step, arguments))
            values.append(("step", len(self.steps) - 1))
        for array, n in zip(made, program.results, strict=True):
            self.made.append((array, values[n]))
            self.values[id(array)] = values[n]

    def _alive(self) -> list[tuple[Array, Any]]:
        """What is made and referred to by more than this chain."""
        return [pair for pair in self.made if sys.getrefcount(pair[0]) > _MINE]

    def launch(self) -> None:
        """Compute it, and let go of everything."""
        alive = self._alive()
        if not alive:
            return
        needed = [False] * len(self.steps)
        stack = [value for _, value in alive]
        loads: set[int] = set()
        while stack:
            kind, n = stack.pop()
            if kind == "load":
                loads.add(n)
            elif kind == "step" and not needed[n]:
                needed[n] = True
                stack += self.steps[n][1]
        numbers: dict[Any, int] = {("load", n): i for i, n in enumerate(sorted(loads))}
        arrays = [self.loads[n] for n in sorted(loads)]
        constants: list[int] = []
        steps: list[Any] = []
        for n, (step, arguments) in enumerate(self.steps):
            if not needed[n]:
                continue
            found = []
            for value in arguments:
                if value[0] == "constant" and value not in numbers:
                    constants.append(value[1])
                    numbers[value] = -len(constants)
                found.append(numbers[value])
            numbers["step", n] = len(arrays) + len(steps)
            steps.append(step._replace(arguments=tuple(found)))
        results = tuple([numbers[value] for _, value in alive])
        program = Program(
            tuple([x.dtype for x in arrays]),
            tuple(steps),
            tuple([self.constants[n] for n in constants]),
            tuple([self.constant_types[n] for n in constants]),
            results,
        )
        outs = [array for array, _ in alive]
        Compiled(program).launch(arrays, *self.form, outs)


def _references() -> int:
    """How many references a chain itself has to what it makes, while it counts them."""
    made = [(np.empty(1), None)]
    return max([sys.getrefcount(pair[0]) for pair in made])


_MINE = _references()


class Waiting(TensorBase):
    """A tensor whose array waits to be filled; it is an ordinary one again once that is done."""

    __slots__ = ()

    @property
    def data(self) -> Array:
        array = self._facts
        if active.chains is not None:
            active.chains.read(array)
        return array

    @data.setter
    def data(self, array: Array) -> None:
        self._facts = array


_kinds: dict[type, type] = {}


def _waiting_kind(kind: type) -> type:
    """The class of waiting tensors that are otherwise of some class."""
    found = _kinds.get(kind)
    if found is None:
        found = _kinds[kind] = type(kind.__name__, (Waiting, kind), {"__slots__": ()})
    return found
