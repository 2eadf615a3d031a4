"""Resizing on a GPU: one launch for up to three axes, a thread for each element of the result."""

from __future__ import annotations

import math

import numpy as np

from ...backend import Array, CudaSource, import_cupy, null
from ...backend.cuda_source import dtype_macros
from ..common.layout import contiguous
from . import reference
from .plan import Line, is_long
from .tables import table

MOST = 64  # neighbours that a thread adds up; of more, axis after axis is resized

_kernels = CudaSource(__file__, "interpolate.cu")
_SIZES = np.dtype([("numbers", np.int32, 9)])
_STAYS: tuple[Line | None, ...] = (None, None, None)


def resize(x: Array, lines: tuple[Line | None, ...]) -> Array:
    """See the declaration."""
    if not dtype_macros(x.dtype):
        return reference.resize(x, lines)
    if math.prod([line.band.taps for line in lines if line is not None]) <= MOST:
        return _launch(x, lines)
    order = sorted(range(len(lines)), key=lambda i: _growth(lines[i]))
    for i in order:
        line = lines[i]
        if line is not None:
            only = tuple([line if j == i else None for j in range(len(lines))])
            x = _launch(x, only)
    return x


def _growth(line: Line | None) -> float:
    return 1.0 if line is None else line.ends[1] / max(line.ends[0], 1)


def _launch(x: Array, lines: tuple[Line | None, ...]) -> Array:
    count = len(lines)
    out = [
        n if line is None else line.ends[1] for n, line in zip(x.shape[-count:], lines, strict=True)
    ]
    y = import_cupy().empty((*x.shape[:-count], *out), x.dtype)
    if not y.size:
        return y
    three = (_STAYS + lines)[-3:]
    sizes = ((1, 1, 1, *x.shape[-count:])[-3:], (1, 1, 1, *out)[-3:])
    tables = [None if line is None else table(line, x) for line in three]
    taps = [0 if found is None else found[1].shape[1] for found in tables]
    arrays = [array for found in tables for array in (found or (null(), null()))]
    numbers = np.array((*sizes[0], *sizes[1], *taps), np.int32).view(_SIZES)
    index = "u32" if max(x.size, y.size) < 2**31 else "u64"
    total = np.uint32(y.size) if index == "u32" else np.uint64(y.size)
    macros = dtype_macros(x.dtype)
    if is_long(lines):
        macros = tuple(["ACC=double" if macro == "ACC=float" else macro for macro in macros])
    given = (contiguous(x, x.itemsize), y, *arrays, total, numbers)
    _kernels.launch("resize", _kernels.blocks(y.size), given, defines=(*macros, f"INDEX={index}"))
    return y
