"""Resizing on a GPU: one launch for up to three axes, a thread for neighbours of a few rows."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ...backend import Array, CudaSource, device_of, import_cupy, int64s, null
from ...backend.capture import keep
from ...backend.cuda_source import dtype_macros, struct, uint32s
from ..common.headers import VECTOR
from ..common.layout import ALIGNED, contiguous, empty_last, is_stored_last
from . import reference
from .plan import Line, is_long
from .tables import device_table, device_windows

MOST = 64  # neighbours that a thread adds up; of more, axis after axis is resized
KNOWN = 8  # taps of an axis that a kernel is compiled for
ROWS = 4  # of a thread, at most
BUSY = 1 << 18  # threads that keep a GPU busy

_kernels = CudaSource(__file__, VECTOR, "interpolate.cu")
_SIZES = np.dtype([("numbers", np.int32, 10)])
_STAYS: tuple[Line | None, ...] = (None, None, None)

Shape = tuple[int, ...]
Lines = tuple[Line | None, ...]


def resize(x: Array, lines: Lines) -> Array:
    """See the declaration."""
    if not dtype_macros(x.dtype):
        return reference.resize(x, lines)
    for step in _steps(lines):
        x = _resized(x, step)
    return x


@functools.lru_cache(1024)
def _steps(lines: Lines) -> list[Lines]:
    """All axes at once, or one after the other, the one that shrinks most first."""
    if math.prod([line.band.taps for line in lines if line is not None]) <= MOST:
        return [lines]
    order = sorted(range(len(lines)), key=lambda i: _growth(lines[i]))
    alone = [tuple([line if j == i else None for j, line in enumerate(lines)]) for i in order]
    return [step for step in alone if any(step)]


def _growth(line: Line | None) -> float:
    return 1.0 if line is None else line.ends[1] / max(line.ends[0], 1)


def _resized(x: Array, lines: Lines) -> Array:
    channels_last = len(lines) == 2 and _lies_last(x)
    ready = _launch(x.shape, x.dtype, lines, channels_last, device_of(x))
    keep(*ready.tables)
    if channels_last:
        y = empty_last(ready.shape, x.dtype)
    else:
        y = import_cupy().empty(ready.shape, x.dtype)
        x = contiguous(x, ready.aligned)
    if y.size:
        given = (x, y, *ready.arguments)
        _kernels.launch("resize", ready.blocks, given, defines=ready.defines)
    return y


def _lies_last(x: Array) -> bool:
    """Whether x is images (N, C, H, W) that are resized as they lie: (N, H, W, C), aligned."""
    if x.ndim != 4 or x.flags.c_contiguous:
        return False
    return bool(is_stored_last(x) and x.data.ptr % ALIGNED == 0)


class _Launch(NamedTuple):
    """What follows from shapes and lines alone."""

    shape: Shape
    blocks: int
    arguments: tuple[Any, ...]
    tables: tuple[Array, ...]
    defines: tuple[str, ...]
    aligned: int  # bytes at whose multiple x begins


@functools.lru_cache(1024)
def _launch(shape: Shape, dtype: Any, lines: Lines, channels_last: bool, device: str) -> _Launch:
    count = len(lines)
    resized = zip(shape[-count:], lines, strict=True)
    out = tuple([n if line is None else line.ends[1] for n, line in resized])
    made = (*shape[:-count], *out)
    if channels_last:
        before, after, three = (*shape[2:], shape[1]), (*out, shape[1]), (*lines, None)
    else:
        before, after = (1, 1, 1, *shape[-count:])[-3:], (1, 1, 1, *out)[-3:]
        three = (_STAYS + lines)[-3:]
    each = _each(three[2], after[2], dtype)
    tables = [None if line is None else device_table(line, dtype, device) for line in three[:2]]
    tables.append(None if three[2] is None else device_windows(three[2], each, dtype, device))
    taps = [0 if found is None else found[1].shape[1] for found in tables]
    lines_made = math.prod(made) // max(after[2], 1)
    windows = -(-after[2] // each)
    rows = max(1, min(ROWS, windows * lines_made // BUSY))
    threads = windows * -(-lines_made // rows)
    large = max(math.prod(shape), math.prod(made) + ROWS * after[2]) >= 1 << 31
    macros = dtype_macros(dtype)
    if is_long(lines):
        macros = tuple(["ACC=double" if macro == "ACC=float" else macro for macro in macros])
    known = [f"TAPS{i}={n if n <= KNOWN else -1}" for i, n in enumerate(taps)]
    index = "u64" if large else "u32"
    arrays = [array for found in tables for array in (found or (null(), null()))]
    numbers = (int64s if large else uint32s)(threads, lines_made)
    return _Launch(
        made,
        _kernels.blocks(threads),
        (*arrays, *numbers, struct((*before, *after, *taps, rows), _SIZES)),
        tuple([array for found in tables if found is not None for array in found]),
        (*macros, f"INDEX={index}", f"WIDTH={each}", *known),
        each * dtype.itemsize if three[2] is None else dtype.itemsize,
    )


def _each(line: Line | None, out: int, dtype: Any) -> int:
    """Neighbours that a thread makes: 16 bytes, if they take few others together."""
    for each in (4, 2):
        if each * dtype.itemsize > 16 or each > out:
            continue
        if line is None or line.windows(each).weights.shape[1] <= KNOWN:
            return each
    return 1
