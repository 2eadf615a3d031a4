"""Softmax cross-entropy on the CPU through ``loss.c``, where there is a C compiler; for float32.

`reference` says what is computed. Letters: R rows, C classes.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from . import reference
from .reference import IGNORED, ILLEGAL, Target

LEAST = 1 << 13  # elements for a thread: below this, handing work over costs more

_file = CSource(
    *(__file__, "../../backend/c_math.h", "../common/row_sums.h", "loss.c"),
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
    return bool(logits.dtype == np.float32 and logits.size and _file.library is not None)


def forward(
    logits: Array, labels: Array, smoothing: float, ignore_index: int, reduction: str
) -> tuple[Array, Target]:
    """The loss of logits (R, C) for labels (R,), and what it made of these."""
    how = (smoothing, ignore_index, reduction)
    if suits(logits):
        return reference.forward(logits, labels, *how, row_losses=_losses)
    return reference.forward(logits, labels, *how)


def backward(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    """The gradient by the logits, (R, C)."""
    if not suits(logits):
        return reference.backward(logits, grad, target, smoothing)
    scale = grad / target.divisor
    dx = aligned_empty(logits.shape, np.float32)
    factors = plain(np.asarray(scale, np.float32))
    _run("loss_backward", logits, scale.ndim, smoothing, (target.place, factors, dx))
    return dx


def _losses(logits: Array, target: Target, smoothing: float) -> Array:
    found = aligned_empty(len(logits), np.float32)
    _run("loss_forward", logits, 0, smoothing, (target.place, found), scratch=logits.shape[1])
    return found


def _run(
    name: str,
    logits: Array,
    by_row: int,
    smoothing: float,
    arrays: tuple[Array, ...],
    scratch: int = 0,
) -> None:
    rows, classes = logits.shape
    sizes = _Loss(classes, by_row, smoothing)
    _file.run(name, sizes, rows, (plain(logits), *arrays), scratch, -(-LEAST // classes))
