"""Softmax on the CPU through ``softmax.c``, where there is a C compiler; for float32.

`reference` says what is computed.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty

LEAST = 1 << 13  # elements for a thread: below this, handing work over costs more

_file = CSource(__file__, "../../backend/c_math.h", "../common/row_sums.h", "softmax.c")


class _Rows(ctypes.Structure):
    """As ``Rows`` in softmax.c."""

    _fields_ = [("columns", ctypes.c_int64), ("log", ctypes.c_int64)]


def suits(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether x can be dealt with here: the last axes of it."""
    return bool(
        x.dtype == np.float32
        and x.size
        and axes == tuple(range(x.ndim - len(axes), x.ndim))
        and _file.library is not None
    )


def forward(x: Array, axes: tuple[int, ...], log: bool) -> Array:
    """As `kernels.softmax.forward`."""
    y = aligned_empty(x.shape, np.float32)
    _run("softmax_forward", x, axes, log, plain(x), y)
    return y


def backward(grad: Array, y: Array, axes: tuple[int, ...], log: bool) -> Array:
    """As `kernels.softmax.backward`."""
    dx = aligned_empty(y.shape, np.float32)
    _run("softmax_backward", y, axes, log, plain(grad), plain(y), dx)
    return dx


def _run(name: str, x: Array, axes: tuple[int, ...], log: bool, *arrays: Array) -> None:
    rows = int(np.prod(x.shape[: x.ndim - len(axes)]))
    columns = x.size // rows
    _file.run(name, _Rows(columns, log), rows, arrays, least=-(-LEAST // columns))
