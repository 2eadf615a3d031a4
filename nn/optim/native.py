"""The optimizers on the CPU through ``update.c``, where the machine has a C compiler; for float32.

What does not `suit` goes through NumPy, in `update`, which says what is computed.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tinygrad_cupy.backend.c_source import CSource, plain

LEAST = 1 << 15  # elements for a thread: fewer do not pay

# Structs of update.c, which is given the names of their members; each goes with the function of its
# name.


class Sgd(ctypes.Structure):
    """Numbers of one update."""

    _fields_ = [(name, ctypes.c_float) for name in ("lr", "weight_decay")]


class Momentum(ctypes.Structure):
    """Numbers of one update; nesterov is 0 or 1."""

    _fields_ = [
        (name, ctypes.c_float) for name in ("lr", "gain", "momentum", "weight_decay", "nesterov")
    ]


class Adam(ctypes.Structure):
    """Numbers of one update; rest is 1 - beta."""

    _fields_ = [
        (name, ctypes.c_float)
        for name in (
            *("step_size", "epsilon", "keep", "beta1", "rest1", "beta2", "rest2"),
            "weight_decay",
        )
    ]


Numbers = Sgd | Momentum | Adam


def _names(struct: type[ctypes.Structure]) -> str:
    members = ",".join(field[0] for field in struct._fields_)
    return f"{struct.__name__.upper()}_NAMES={members}"


_file = CSource(__file__, "update.c", defines=(_names(Sgd), _names(Momentum), _names(Adam)))


def suits(*arrays: Any) -> bool:
    """Whether parameters and states, arrays of one size, can be updated here.

    What may not be written to is NumPy's to refuse.
    """
    for array in arrays:
        on_cpu = isinstance(array, np.ndarray)
        if not (on_cpu and array.dtype == np.float32 and array.flags.carray):
            return False
    return _file.library is not None


def update(numbers: Numbers, grad: Any, *written: Any) -> None:
    """Write the parameter, and what it has of moments, by the function that goes with ``numbers``.

    All arrays are of one size.
    """
    run(_file, type(numbers).__name__.lower(), numbers, grad, *written)


def run(file: CSource, name: str, numbers: ctypes.Structure, grad: Any, *written: Any) -> None:
    """Write arrays along a gradient, all of one size, by a function of a file."""
    given = (plain(np.asarray(grad, np.float32)), *written)
    file.run(name, numbers, grad.size, given, least=LEAST)
