"""Programs of elementwise steps on a CPU, through ``block_machine.c``.

    Compiled(program).made([a, b])    # new arrays, as NumPy's functions would have made them

Every step is a loop that was compiled once, over a block of elements that stays in the first cache,
so a program of any length takes one pass over memory, on all threads. There must be a C compiler.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays import Array, strides_of
from .c_source import POINTER, CSource, Share, address_of, share_of
from .cpu_memory import aligned_empty
from .generated import Places, places
from .symbols import Program

MANY = 256  # launches that a program remembers
WORTH = 1 << 18  # additions of NumPy's: from there on a program saves more than its launch costs
APART = 1 << 17  # additions of a thread: below this, handing work to another costs more
# Bytes of a block, by how many places a program has in the scratch memory.
SIZES = (1 << 15, 1 << 13, 1 << 13, 1 << 12)
MOST_SLOTS = 256  # SLOTS in the C file

FILES = {
    np.dtype(np.float32): CSource(
        __file__, "block_machine.c", defines=("TYPE=float", "MASK=int32_t", "SINGLE=1")
    ),
    np.dtype(np.float64): CSource(
        __file__, "block_machine.c", defines=("TYPE=double", "MASK=int64_t")
    ),
}
BOOL = np.dtype(bool)
# What a step costs beside an addition, through NumPy and here, roughly.
COSTS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("exp", "log"), (6.0, 10.0)),
    **dict.fromkeys(("expm1", "log1p"), (20.0, 10.0)),
    **dict.fromkeys(("less", "greater", "less_equal", "greater_equal", "where"), (2.0, 1.0)),
    "tanh": (12.0, 10.0),
    "expit": (30.0, 10.0),
    "erf": (40.0, 10.0),
    "power": (40.0, 25.0),
    "logaddexp": (100.0, 40.0),
}


def is_there(dtype: Any) -> bool:
    """Whether programs of numbers of this dtype can be run."""
    file = FILES.get(dtype)
    return file is not None and file.library is not None


class Ready(NamedTuple):
    """A launch on arrays of some shapes and strides, but for the arrays themselves."""

    shape: tuple[int, ...]
    order: tuple[int, ...] | None  # of the results' axes, outermost first
    plan: np.ndarray
    address: int  # of the plan
    share: Share  # of blocks
    scratch: int  # floats


class Compiled:
    """A program with what was found out about its launches."""

    __slots__ = (
        *("address", "constants", "cost", "dtypes", "file", "last", "needed", "number"),
        *("program", "ready", "work"),
    )

    def __init__(self, program: Program) -> None:
        self.program = program
        (self.number,) = {d for d in program.inputs if d != BOOL}
        self.file = FILES[self.number]
        self.constants = np.array([float(x) for x in program.constants], self.number)
        self.address = self.constants.ctypes.data
        self.dtypes = [program.dtype_of(n) for n in program.results]
        self.needed, self.last = _uses(program)
        steps = [s for i, s in enumerate(program.steps, len(program.inputs)) if i in self.needed]
        costs = [COSTS.get(step.code, (1.0, 1.0)) for step in steps]
        self.cost, self.work = (sum(column) for column in zip(*costs, strict=True))
        self.ready: dict[Any, Ready] = {}

    def made(self, arrays: Sequence[Array]) -> list[Array]:
        """The results of arrays that broadcast, new arrays."""
        key = tuple([(x.shape, strides_of(x)) for x in arrays])
        ready = self.ready.get(key)
        if ready is None:
            ready = self._prepared(key, arrays)
        outs = [empty(ready.shape, dtype, ready.order) for dtype in self.dtypes]
        self._run(ready, arrays, outs)
        return outs

    def launch(
        self,
        arrays: Sequence[Array],
        shape: tuple[int, ...],
        order: tuple[int, ...] | None,
        outs: Sequence[Array],
    ) -> None:
        """Put the results into ``outs``, of this shape, which lie in ``order`` without gaps."""
        self._run(self._planned(arrays, shape, order), arrays, outs)

    def _run(self, ready: Ready, arrays: Sequence[Array], outs: Sequence[Array]) -> None:
        addresses = [ready.address, self.address, *map(address_of, (*arrays, *outs))]
        self.file.start("block_program", addresses, ready.share, ready.scratch)

    def _prepared(self, key: Any, arrays: Sequence[Array]) -> Ready:
        shape, order = layout_of(arrays)
        if len(self.ready) >= MANY:
            self.ready.clear()
        found = self.ready[key] = self._planned(arrays, shape, order)
        return found

    def _planned(
        self, arrays: Sequence[Array], shape: tuple[int, ...], order: tuple[int, ...] | None
    ) -> Ready:
        return Plan(self, arrays, places(shape, order, arrays)).ready(shape, order)


class Plan:
    """A program as the C file takes it: slots, loads, steps and stores, all in whole numbers.

    A slot is where a block's operand lies: in an array itself, where that runs along with the
    result; a number that serves all elements; or a place in the scratch memory.
    """

    def __init__(self, compiled: Compiled, arrays: Sequence[Array], lying: Places) -> None:
        self.compiled = compiled
        self.sizes, self.along = lying  # of joined axes, and how each array goes along them
        self.item = compiled.number.itemsize
        self.slots: list[tuple[int, int, int]] = []
        self.loads: list[list[int]] = []
        self.steps: list[tuple[int, ...]] = []
        self.stores: list[tuple[int, int]] = []
        self.free: list[int] = []  # slots of scratch memory that nobody reads any more
        self.taken = 0
        self.is_scalar: dict[int, bool] = {}  # by slot
        self.where: dict[int, int] = {}  # slot by number of a value
        self.counts = len(arrays)
        self._build()

    def ready(self, shape: tuple[int, ...], order: tuple[int, ...] | None) -> Ready:
        count = math.prod(shape)
        size = SIZES[min(self.taken, len(SIZES) - 1)]  # bytes of a block
        block = size // self.item
        slots = [(x, at * size if x < 0 else at, step) for x, at, step in self.slots]
        sizes = self.sizes
        heads = (slots, self.loads, self.steps, self.stores)
        numbers = [count, *[len(x) for x in heads], len(sizes), block, *sizes]
        for rows in heads:
            for row in rows:
                numbers += row
        plan = np.array(numbers, np.int64)
        blocks = -(-count // block)
        least = math.ceil(APART / self.compiled.work / block)
        scratch = self.taken * size // 4
        return Ready(shape, order, plan, plan.ctypes.data, share_of(blocks, least), scratch)

    def _build(self) -> None:
        program = self.compiled.program
        given = len(program.inputs)
        needed, last = self.compiled.needed, self.compiled.last
        targets: dict[int, int] = {}  # by number of a value: the result that it is stored as
        for i, n in enumerate(program.results):
            if program.dtype_of(n) != BOOL and n >= given:
                targets.setdefault(n, i)
        for n in sorted(needed):
            if n < given:
                self.where[n] = self._input(n)
        for i, step in enumerate(program.steps):
            n = given + i
            if n not in needed:
                continue
            if n in targets:
                out = self._slot(2 + self.counts + targets[n], 0, self.item)
            else:
                out = self._scratch()
            self.where[n] = out
            self._step(step.code, out, [self._operand(x) for x in step.arguments])
            for x in set(step.arguments):
                if x >= 0 and last.get(x) == n:
                    self._release(self.where[x])
        for i, n in enumerate(program.results):
            if program.dtype_of(n) == BOOL:
                self.stores.append((self.where[n], 2 + self.counts + i))
            elif targets.get(n) != i:
                out = self._slot(2 + self.counts + i, 0, self.item)
                self._step("positive", out, [self.where[n]])

    def _slot(self, argument: int, offset: int, step: int) -> int:
        self.slots.append((argument, offset, step))
        return len(self.slots) - 1

    def _scratch(self) -> int:
        if self.free:
            return self.free.pop()
        self.taken += 1
        return self._slot(-1, self.taken - 1, 0)

    def _release(self, slot: int) -> None:
        if self.slots[slot][0] < 0:
            self.free.append(slot)

    def _input(self, n: int) -> int:
        strides = self.along[n]
        kind = "bool" if self.compiled.program.inputs[n] == BOOL else "number"
        if kind == "number" and not any(strides):
            slot = self._slot(2 + n, 0, 0)
            self.is_scalar[slot] = True
            return slot
        if kind == "number" and strides == (1,):
            return self._slot(2 + n, 0, self.item)
        slot = self._scratch()
        self.loads.append([self._function(f"gather_{kind}"), 2 + n, slot, *strides])
        return slot

    def _operand(self, x: int) -> int:
        if x >= 0:
            return self.where[x]
        slot = self._slot(1, (-1 - x) * self.item, 0)
        self.is_scalar[slot] = True
        return slot

    def _step(self, name: str, out: int, operands: list[int]) -> None:
        modes = ["s" if self.is_scalar.get(slot) else "v" for slot in operands]
        filled = None
        if modes[0] == "s" and "v" not in modes:  # one of them as a block
            filled = self._scratch()
            self._add("fill_s", filled, [operands[0]])
            operands, modes = [filled, *operands[1:]], ["v", *modes[1:]]
        self._add(f"{name}_{''.join(modes)}", out, operands)
        if filled is not None:
            self._release(filled)

    def _add(self, name: str, out: int, operands: list[int]) -> None:
        padded = (operands * 3)[:3] if len(operands) == 1 else [*operands, operands[0]][:3]
        self.steps.append((self._function(name), out, *padded))

    def _function(self, name: str) -> int:
        return _address(self.compiled.number, name)


@functools.cache
def _address(number: Any, name: str) -> int:
    function = getattr(FILES[number].library, name)
    return ctypes.cast(function, POINTER).value or 0


def fits(program: Program) -> bool:
    """Whether a program has room in the machine, whatever it is given."""
    slots = len(program.inputs) + len(program.constants) + len(program.results)
    return slots + 2 * len(program.steps) <= MOST_SLOTS


def has(number: Any, name: str, arity: int) -> bool:
    """Whether the C file has a step of that name."""
    library = FILES[number].library
    return library is not None and hasattr(library, f"{name}_{'v' * arity}")


def _uses(program: Program) -> tuple[set[int], dict[int, int]]:
    """The values that results need, and for each the last step that reads it."""
    given = len(program.inputs)
    needed = set(program.results)
    last: dict[int, int] = dict.fromkeys(program.results, given + len(program.steps))
    for i in range(len(program.steps) - 1, -1, -1):
        n = given + i
        if n in needed:
            for x in program.steps[i].arguments:
                if x >= 0:
                    needed.add(x)
                    last.setdefault(x, n)
    return needed, last


# --- how results lie ------------------------------------------------------------------------------


def layout_of(arrays: Sequence[Array]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The shape of a result and the order of its axes as NumPy chooses it; None for C order."""
    if all(x.flags.c_contiguous and x.shape == arrays[0].shape for x in arrays):
        return arrays[0].shape, None
    flags: Any = [*[["readonly"]] * len(arrays), ["writeonly", "allocate"]]
    with np.nditer([*arrays, None], ["zerosize_ok"], flags, [*[None] * len(arrays), BOOL]) as found:
        out = found.operands[-1]
    if out.flags.c_contiguous:
        return out.shape, None
    lying = strides_of(out)
    return out.shape, tuple(sorted(range(out.ndim), key=lambda axis: -lying[axis]))


def empty(shape: tuple[int, ...], dtype: Any, order: tuple[int, ...] | None) -> np.ndarray:
    """An array whose axes lie in this order."""
    if order is None:
        return aligned_empty(shape, dtype)
    back = sorted(range(len(order)), key=order.__getitem__)
    return aligned_empty([shape[axis] for axis in order], dtype).transpose(back)
