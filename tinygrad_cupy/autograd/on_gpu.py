"""Elementwise operations on a GPU: an operation's forward is traced once, and then launched.

What is traced is kept by the operation's class, its attributes, the dtypes of its inputs and the
numbers among them. An operation that cannot be traced, because it does more than CuPy's kernels
for elements, runs its forward on arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array
from ..backend.generated import Compiled
from ..backend.symbols import Symbol, trace

if TYPE_CHECKING:
    from .op import Op

MANY = 4096  # programs that are kept
_NUMBERS = (bool, int, float, complex)
_PYTHONS = frozenset((*_NUMBERS, type(None)))


class Traced:
    """What an operation computes, and what its forward leaves in its attributes.

    ``left`` are those that do not depend on values, ``arrays`` names those that do: they are the
    program's further results.
    """

    __slots__ = ("arrays", "compiled", "left")

    def __init__(self, compiled: Compiled, left: dict[str, Any], arrays: list[str]) -> None:
        self.compiled, self.left, self.arrays = compiled, left, arrays

    def leave(self, op: Op, made: Sequence[Array]) -> None:
        """Set the attributes, of arrays after the result itself."""
        if self.left:
            op.__dict__.update(self.left)
        for name, array in zip(self.arrays, made, strict=True):
            setattr(op, name, array)


_traced: dict[Any, Traced | None] = {}


def is_array(x: Any) -> bool:
    """Whether an operation's input is an array, not a number."""
    return type(x) not in _PYTHONS and not isinstance(x, np.generic)


def traced(op: Op, given: Sequence[Any]) -> Traced | None:
    """What an operation computes of these arrays and numbers; None where it is to do it itself."""
    try:
        key = (
            type(op),
            tuple([x.dtype if is_array(x) else _key_of_number(x) for x in given]),
            tuple([pair for pair in op.__dict__.items() if pair[0] != "xp"])
            if len(op.__dict__) > 1
            else None,
        )
        return _traced[key]
    except KeyError:
        pass
    except TypeError:  # an attribute that has no hash
        return None
    if len(_traced) >= MANY:
        _traced.clear()
    found = _traced[key] = _trace(op, given)
    return found


def launched(op: Op, found: Traced, given: Sequence[Any]) -> Array:
    """The result of an operation on arrays of the current device."""
    out, *others = found.compiled.made([x for x in given if is_array(x)])
    found.leave(op, others)
    return out


def _key_of_number(x: Any) -> Any:
    """Of which equal ones are alike: 1, 1.0 and True are not, nor are 0.0 and -0.0."""
    return (type(x), x if x else repr(x))


def _trace(op: Op, given: Sequence[Any]) -> Traced | None:
    probe = copy.copy(op)
    probe.xp = op.xp
    before = dict(probe.__dict__)
    arguments = [x.dtype if is_array(x) else x for x in given]
    left: dict[str, Any] = {}
    arrays: list[str] = []

    def attributes() -> list[Any]:
        for name, x in probe.__dict__.items():
            if before.get(name, probe) is not x:
                if type(x) is Symbol:
                    arrays.append(name)
                else:
                    left[name] = x
        return [probe.__dict__[name] for name in arrays]

    try:
        program = trace(probe.forward, arguments, attributes)
    except Exception:  # the forward itself says what is wrong, if anything is
        return None
    if not all(isinstance(x, (*_NUMBERS, str, np.dtype, type(None))) for x in left.values()):
        return None  # what depends on values, or may
    return Traced(Compiled(program), left, arrays)
