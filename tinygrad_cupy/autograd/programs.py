"""Elementwise operations as programs: an operation's forward is traced once, and then launched.

What is traced is kept by the operation's class, its attributes, the dtypes of its inputs and the
numbers among them. A program is a generated kernel on a GPU (`backend.generated`), and on a CPU
steps of precompiled C (`backend.block_machine`), where arrays are large enough to be worth it. An
operation that cannot be traced, because it does more than compute elements, runs its forward on
arrays. On a CPU a whole rule of a backward is one program, too, as long as no graph of it is asked
for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..backend import Array, block_machine, generated
from ..backend.capture import active
from ..backend.host_symbols import HostSymbol
from ..backend.symbols import Symbol, trace
from .levels import Tracer
from .mode import set_grad_enabled

if TYPE_CHECKING:
    from .op import Op
    from .typing import Tensor

MANY = 4096  # programs that are kept
LEAST = 1 << 12  # elements on a CPU: below this, no program is worth its launch
_NUMBERS = (bool, int, float, complex)
_PYTHONS = frozenset((*_NUMBERS, type(None)))


class Machine(NamedTuple):
    """What programs run on."""

    symbol: Any
    compiled: Any


GPU = Machine(Symbol, generated.Compiled)
CPU = Machine(HostSymbol, block_machine.Compiled)


class Traced:
    """What an operation computes, and what its forward leaves in its attributes.

    ``left`` are those that do not depend on values, ``arrays`` names those that do: they are the
    program's further results.
    """

    __slots__ = ("arrays", "compiled", "left")

    def __init__(self, compiled: Any, left: dict[str, Any], arrays: list[str]) -> None:
        self.compiled, self.left, self.arrays = compiled, left, arrays

    def leave(self, op: Op, made: Sequence[Array]) -> None:
        """Set the attributes, of arrays after the result itself."""
        if self.left:
            op.__dict__.update(self.left)
        for name, array in zip(self.arrays, made, strict=True):
            setattr(op, name, array)


_traced: dict[Any, Any] = {}


def is_array(x: Any) -> bool:
    """Whether an operation's input is an array, not a number."""
    return type(x) not in _PYTHONS and not isinstance(x, np.generic)


def traced(op: Op, given: Sequence[Any]) -> Traced | None:
    """What an operation computes of arrays of a GPU and numbers; None if it is to do it itself."""
    try:
        key = (
            type(op),
            _keys_of(given),
            tuple([pair for pair in op.__dict__.items() if pair[0] != "xp"])
            if len(op.__dict__) > 1
            else None,
        )
        return _traced[key]  # type: ignore[no-any-return]
    except KeyError:
        pass
    except TypeError:  # an attribute that has no hash
        return None
    return _keep(key, _trace(op, given, GPU))  # type: ignore[no-any-return]


def launched(op: Op, found: Traced, given: Sequence[Any]) -> Array:
    """The result of an operation on arrays of the current device."""
    out, *others = found.compiled.made([x for x in given if is_array(x)])
    found.leave(op, others)
    return out


def _keep(key: Any, found: Any) -> Any:
    if len(_traced) >= MANY:
        _traced.clear()
    _traced[key] = found
    return found


def _keys_of(given: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([x.dtype if is_array(x) else _key_of_number(x) for x in given])


def _state(op: Op) -> tuple[Any, ...]:
    """The attributes that an operation was made with, as a key."""
    state = op.__getstate__().items()
    return tuple([(name, _key_of_number(x) if type(x) is float else x) for name, x in state])


def _key_of_number(x: Any) -> Any:
    """Of which equal ones are alike: 1, 1.0 and True are not, nor are 0.0 and -0.0."""
    return (type(x), x if x else repr(x))


def _trace(op: Op, given: Sequence[Any], machine: Machine) -> Traced | None:
    probe = copy.copy(op)
    probe.xp = op.xp
    before = dict(probe.__dict__)
    arguments = [x.dtype if is_array(x) else x for x in given]
    left: dict[str, Any] = {}
    arrays: list[str] = []

    def attributes() -> list[Any]:
        for name, x in probe.__dict__.items():
            if before.get(name, probe) is not x:
                if type(x) is machine.symbol:
                    arrays.append(name)
                else:
                    left[name] = x
        return [probe.__dict__[name] for name in arrays]

    try:
        program = trace(probe.forward, arguments, attributes, machine.symbol)
    except Exception:  # the forward itself says what is wrong, if anything is
        return None
    if not all(isinstance(x, (*_NUMBERS, str, np.dtype, type(None))) for x in left.values()):
        return None  # what depends on values, or may
    if machine is CPU and (
        min(program.results) < len(program.inputs)  # an array that it was given
        or not block_machine.fits(program)
    ):
        return None
    return Traced(machine.compiled(program), left, arrays)


# --- on a CPU -------------------------------------------------------------------------------------


def on_cpu(op: Op, given: Sequence[Any]) -> Array:
    """The result of an elementwise operation on arrays of the host, large or small."""
    for x in given:
        if type(x) is np.ndarray and x.size >= LEAST:
            break
    else:
        return op.forward(*given)
    arrays = [x for x in given if is_array(x)]
    kind, size = _kind(op, given), max([x.size for x in arrays])
    if op._foreign or op.view or not _may_pay(kind, size) or not _are_known(arrays):
        return op.forward(*given)
    found = _traced_on_cpu(op, given)
    if found is None or not _pays(kind, found, size):
        return op.forward(*given)
    return launched(op, found, given)


def _traced_on_cpu(op: Op, given: Sequence[Any]) -> Traced | None:
    try:
        state = _state(op) if len(op.__dict__) > 1 else None
        key = type(op), "forward", _keys_of(given), state
        return _traced[key]  # type: ignore[no-any-return]
    except KeyError:
        return _keep(key, _trace(op, given, CPU))  # type: ignore[no-any-return]
    except TypeError:  # an attribute that has no hash
        return None


def rule_on_cpu(op: Op, grad: Tensor) -> Sequence[Tensor | None] | None:
    """The gradients of an elementwise operation by one program; None where it is done by steps.

    ``grad`` is of the operation's output. No graph of the gradients is made. What the rule would
    leave in ``op.chosen`` is left there.
    """
    if grad._facts.size < LEAST or op._foreign or isinstance(grad, Tracer):
        return None
    if active.level is not None or active.cast is not None:
        return None
    saved = [value for value, *_ in op._saved or ()]
    kind, size = ("backward", op.needs, _kind(op, saved)), grad._facts.size
    if op.absorbing or op.absorbed or not _may_pay(kind, size):
        return None
    arrays = [grad._facts, *[x for x in saved if is_array(x)]]
    if not _are_known(arrays):
        return None
    try:
        key = (
            "backward",
            type(op),
            type(grad),
            _keys_of([grad._facts, *saved]),
            op.needs,
            _state(op),
        )
        found = _traced[key]
    except KeyError:
        found = _keep(key, _trace_rule(op, grad, saved))
    except TypeError:  # an attribute that has no hash
        return None
    if found is None or not _pays(kind, found, size):
        return None
    op._check_saved()
    values = (*arrays, *found.compiled.made(arrays))
    made = [grad if n == 0 else None if n is None else grad._wrap(values[n]) for n in found.made]
    if len(made) > len(op.inputs):
        op.chosen = made[len(op.inputs) :]
    return made[: len(op.inputs)]


class _Rule(NamedTuple):
    """A rule's program. ``made``: what the rule gives by each input, then what it calls chosen.

    The number of an array among those given, then those that the program makes; None for nothing.
    """

    compiled: Any
    made: tuple[int | None, ...]


def _trace_rule(op: Op, grad: Tensor, saved: Sequence[Any]) -> _Rule | None:
    probe = copy.copy(op)
    probe.xp, probe.needs = np, op.needs
    given: Any = []
    wanted: list[Any] = []  # symbols and None

    def rule(*values: Any) -> Any:
        wrap = type(grad)._wrap
        given.extend(x for x in values if type(x) is HostSymbol)
        with set_grad_enabled(False):
            found: Any = probe.backward(*[wrap(x) if type(x) is HostSymbol else x for x in values])
        found = found if isinstance(found, (tuple, list)) else [found]
        wanted.extend(x if x is None else x.data for x in (*found, *probe.chosen))
        return next(made())

    def made() -> Any:
        return (x for x in wanted if x is not None and not any(x is y for y in given))

    arguments = [x.dtype if is_array(x) else x for x in (grad._facts, *saved)]
    run, active.run = active.run, None  # symbols are none of its tensors
    try:
        program = trace(rule, arguments, lambda: list(made())[1:], HostSymbol)
    except Exception:  # the rule itself says what is wrong, if anything is
        return None
    finally:
        active.run = run
    if not block_machine.fits(program):
        return None
    if op.broadcasts and not _have_the_shape_of_grad(program, wanted):
        return None
    numbers = {n: len(given) + i for i, n in enumerate(program.results)}
    places = [None if x is None else numbers.get(x.number, x.number) for x in wanted]
    return _Rule(CPU.compiled(program), tuple(places))


def _have_the_shape_of_grad(program: Any, wanted: Sequence[Any]) -> bool:
    """Whether everything is computed from the first input, or is that."""
    reached = {0}
    for i, step in enumerate(program.steps):
        if not reached.isdisjoint(step.arguments):
            reached.add(len(program.inputs) + i)
    return all(x is None or x.number in reached for x in wanted)


def _are_known(arrays: Sequence[Any]) -> bool:
    """Whether C takes arrays as they lie; their dtypes are looked at when they are traced."""
    return all(type(x) is np.ndarray and x.flags.aligned for x in arrays) and any(
        block_machine.is_there(x.dtype) for x in arrays
    )


_costs: dict[Any, float] = {}  # of the costliest program of a kind of operation


def _kind(op: Op, given: Sequence[Any]) -> Any:
    """Operations whose programs err alike, though they may cost a little more or less."""
    if op.by_number:
        return (type(op), *[_key_of_number(x) for x in given if not is_array(x)])
    return type(op)


def _may_pay(kind: Any, size: int) -> bool:
    """Whether the costliest program known of a kind is worth its launch."""
    cost = _costs.get(kind)
    return cost is None or size * cost >= block_machine.WORTH


def _pays(kind: Any, found: Any, size: int) -> bool:
    cost = found.compiled.cost
    if cost > _costs.get(kind, 0.0):
        if len(_costs) >= MANY:
            _costs.clear()
        _costs[kind] = cost
    return bool(size * cost >= block_machine.WORTH)
