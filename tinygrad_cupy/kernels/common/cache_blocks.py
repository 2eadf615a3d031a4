"""A few images at a time on the CPU: what is done to a chunk of a batch while it is in the cache.

Chunks are laid out (n, …, C), channels last; ``top``, ``argmax`` and ``out`` are written in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...backend import Array, blas
from ...backend.cpu_threads import workspace
from .layout import scratch_last, seen_last
from .pool2x2 import MASKED, POOL
from .select import keep_where
from .sums import FEW

CHUNK_BYTES = 256 << 10  # of an array, where several are read and written side by side


def chunks(part: slice, step: int) -> Iterator[slice]:
    """``part`` cut into slices of ``step``."""
    for start in range(part.start, part.stop, step):
        yield slice(start, min(start + step, part.stop))


def images_at_once(x: Array) -> int:
    """How many images of x (N, …) make a chunk."""
    return max(1, int(CHUNK_BYTES // max(x.nbytes // max(len(x), 1), 1)))


def at(array: Array | None, chunk: slice) -> Array | None:
    """The chunk of an array, if there is one."""
    return None if array is None else array[chunk]


def column_sums(rows: Array) -> Any:
    """Sums of rows (…, C), as (C,) in float64: runs of FEW rows by BLAS, as that takes least."""
    flat = rows.reshape(-1, rows.shape[-1])
    runs = len(flat) // FEW
    ones = np.ones((1, FEW), rows.dtype)
    sums = blas.matmul(ones, flat[: runs * FEW].reshape(runs, FEW, flat.shape[1]))
    rest = np.add.reduce(flat[runs * FEW :], 0, np.float64)
    return np.add.reduce(sums, (0, 1), np.float64) + rest


def pool_chunk(z: Array, top: Array, argmax: Array) -> None:
    """The largest of each window of z (n, H, W, C), and the place of the first such element."""
    out = (top.shape[1], top.shape[2])
    a, b, c, d = (z[:, *tap] for _, tap in POOL.each_tap(out))
    bottom = workspace("bottom", top.shape, top.dtype)
    np.maximum(a, b, out=top)
    np.maximum(c, d, out=bottom)
    right, lower_right, lower = b > a, d > c, bottom > top
    np.maximum(top, bottom, out=top)
    # right where the upper row has it, else 2 + lower_right: in bytes, which wrap around
    np.subtract(lower_right.view(np.uint8), right.view(np.uint8), out=argmax)
    argmax += np.uint8(2)
    argmax *= lower.view(np.uint8)
    argmax += right.view(np.uint8)


def relu_chunk(y: Array, argmax: Array | None) -> None:
    """max(y, 0) in place; where that masks the gradient, the argmax says so."""
    np.maximum(y, y.dtype.type(0), out=y)
    if argmax is not None:
        masked = (y <= 0).view(np.uint8)
        masked *= np.uint8(MASKED)
        np.maximum(argmax, masked, out=argmax)


def open_chunk(
    grad: Array,
    relu_y: Array | None,
    argmax: Array | None,
    out: Array,
    cap: float | None = None,
) -> None:
    """out (n, …, C) = the gradient in front of ReLU or pool, from that behind it, (n, C, …).

    ``cap`` is the most that ReLU alone gave, where there was a most.
    """
    given = scratch_last(grad, "grad")
    if argmax is not None:
        height, width = argmax.shape[2:]
        places = seen_last(argmax)
        for k, tap in POOL.each_tap((height, width)):
            keep_where(given, places == k, out[:, *tap])
        out[:, 2 * height :] = 0
        out[:, :, 2 * width :] = 0
    elif relu_y is not None:
        y = seen_last(relu_y)
        stopped = y <= 0 if cap is None else (y <= 0) | (y >= cap)
        keep_where(given, ~stopped, out)
    else:
        out[...] = given
