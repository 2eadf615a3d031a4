"""The optimizers on the CPU through ``update.c``, where the machine has a C compiler; for float32.

What does not `suit` goes through NumPy, in `update`, which says what is computed.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tinygrad_cupy.backend.c_source import CSource, plain

_file = CSource(__file__, "update.c")
LEAST = 1 << 15  # elements for a thread: fewer do not pay


class _Sgd(ctypes.Structure):
    """As ``Sgd`` in update.c."""

    _fields_ = [(name, ctypes.c_float) for name in ("lr", "weight_decay")]


class _Momentum(ctypes.Structure):
    """As ``Momentum`` in update.c."""

    _fields_ = [
        (name, ctypes.c_float) for name in ("lr", "gain", "momentum", "weight_decay", "nesterov")
    ]


class _Adam(ctypes.Structure):
    """As ``Adam`` in update.c."""

    _fields_ = [
        (name, ctypes.c_float)
        for name in (
            *("step_size", "epsilon", "keep", "beta1", "rest1", "beta2", "rest2"),
            "weight_decay",
        )
    ]


def suits(*arrays: Any) -> bool:
    """Whether parameters and states, arrays of one shape, can be updated here.

    What may not be written to is NumPy's to refuse.
    """
    if not all(array.dtype == np.float32 and array.flags.carray for array in arrays):
        return False
    return _file.library is not None


def sgd(grad: Any, lr: float, weight_decay: float, param: Any) -> None:
    """``param`` a step down the gradient."""
    _run("sgd", _Sgd(lr, weight_decay), grad, param)


def momentum(grad: Any, numbers: tuple[float, ...], param: Any, buffer: Any) -> None:
    """``numbers``: lr, gain, momentum, weight decay, and whether it is Nesterov's."""
    _run("momentum", _Momentum(*numbers), grad, param, buffer)


def adam(
    grad: Any,
    step_size: float,
    epsilon: float,
    keep: float,
    betas: tuple[float, float],
    weight_decay: float,
    *written: Any,
) -> None:
    """``written``: the parameter, its first and its second moment."""
    one, two = betas
    sizes = _Adam(step_size, epsilon, keep, one, 1 - one, two, 1 - two, weight_decay)
    _run("adam", sizes, grad, *written)


def _run(name: str, sizes: ctypes.Structure, grad: Any, *written: Any) -> None:
    grad = plain(np.asarray(grad, np.float32))
    if any(array.size != grad.size for array in written):  # it is the kernel's number of elements
        others = ", ".join(str(array.size) for array in written)
        raise ValueError(f"[{name}] expected arrays of {grad.size} elements, as grad, got {others}")
    _file.run(name, sizes, grad.size, (grad, *written), least=LEAST)
