"""Softmax cross-entropy on the CPU through ``loss.c``, where there is a C compiler; for float32.

`loss` says what is computed. Letters: R rows, C classes.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ..backend import Array
from ..backend.c_source import CSource, plain

IGNORED, ILLEGAL = -1, -2  # in the place of a class
LEAST = 1 << 13  # elements for a thread: below this, handing work over costs more

_file = CSource(
    *(__file__, "../backend/c_math.h", "common/row_sums.h", "loss.c"),
    defines=(f"IGNORED=({IGNORED})", f"ILLEGAL=({ILLEGAL})"),
)


class _Loss(ctypes.Structure):
    """As ``Loss`` in loss.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("classes", "by_row")),
        ("smoothing", ctypes.c_double),
    ]


def suits(logits: Array) -> bool:
    """Whether the loss of logits (R, C) is computed here."""
    on_cpu = isinstance(logits, np.ndarray) and logits.dtype == np.float32
    return bool(on_cpu and logits.size and _file.library is not None)


def losses(logits: Array, place: Array, smoothing: float) -> Array:
    """The loss (R,) of each row of logits, whose class is ``place`` (R,), or IGNORED or ILLEGAL."""
    found = np.empty(len(logits), np.float32)
    _run("loss_forward", logits, 0, smoothing, place, found)
    return found


def gradient(logits: Array, place: Array, scale: Array, smoothing: float) -> Array:
    """The gradient (R, C) by logits of each loss times ``scale``, () or (R,)."""
    dx = np.empty(logits.shape, np.float32)
    factors = plain(np.asarray(scale, np.float32))
    _run("loss_backward", logits, scale.ndim, smoothing, place, factors, dx)
    return dx


def _run(name: str, logits: Array, by_row: int, smoothing: float, *arrays: Array) -> None:
    rows, classes = logits.shape
    sizes = _Loss(classes, by_row, smoothing)
    least = -(-LEAST // classes)
    _file.run(name, sizes, rows, (plain(logits), *arrays), _file.size("loss_scratch", sizes), least)
