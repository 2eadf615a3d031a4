"""Rows normalized on the CPU through ``layer_norm.c``, where there is a C compiler; for float32.

`reference` says what is computed.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import parts_of, workspace
from .reference import Gradients

LEAST = 1 << 14  # elements for a thread: below this, handing work over costs more
MOST_COLUMNS = 1 << 16  # of which every part of the rows has a line of sums

_file = CSource(__file__, "../common/row_sums.h", "layer_norm.c")


class _Rows(ctypes.Structure):
    """As ``Rows`` in layer_norm.c."""

    _fields_ = [
        ("columns", ctypes.c_int64),
        ("centred", ctypes.c_int64),
        ("eps", ctypes.c_double),
    ]


def suits(x: Array, weight: Array | None, bias: Array | None) -> bool:
    """Whether rows x (R, C) can be normalized here."""
    given = [each for each in (x, weight, bias) if each is not None]
    if not x.size or x.shape[1] > MOST_COLUMNS or any(a.dtype != np.float32 for a in given):
        return False
    return _file.library is not None


def forward(
    x: Array, weight: Array | None, bias: Array | None, centred: bool, eps: float
) -> tuple[Array, Array]:
    """As `kernels.layer_norm.forward`."""
    y, stats = aligned_empty(x.shape, np.float32), aligned_empty((len(x), 2))
    given = (plain(x), _or_none(weight), _or_none(bias), y, stats)
    sizes = _Rows(x.shape[1], centred, eps)
    _file.run("layer_norm_forward", sizes, len(x), given, least=_least(x))
    return y, stats


def backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: Array,
    centred: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    """As `kernels.layer_norm.backward`."""
    sizes, columns = _Rows(x.shape[1], centred), x.shape[1]
    dx = aligned_empty(x.shape, np.float32) if needs[0] else None
    sums = None
    if needs[1] or needs[2]:
        parts = len(parts_of(len(x), _least(x)))
        sums = workspace("layer_norm", (parts, 2, columns), np.float64)
    given = (plain(grad), plain(x), _or_none(weight), stats, dx, sums)
    scratch = _file.size("layer_norm_scratch", sizes)
    _file.run("layer_norm_backward", sizes, len(x), given, scratch, _least(x))
    if sums is None:
        return dx, None, None
    by_weight, by_bias = sums.sum(0).astype(np.float32)
    return dx, by_weight if needs[1] else None, by_bias if needs[2] else None


def _or_none(x: Array | None) -> Array | None:
    return None if x is None else plain(x)


def _least(x: Array) -> int:
    """Rows for a thread."""
    return int(-(-LEAST // x.shape[1]))
