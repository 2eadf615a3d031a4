"""Batch norm on a GPU (kernels in norm.cu): two launches forward, two backward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, CudaFile, import_cupy
from .norm_kernels import Result, Running, move, rows_of, shaped
from .tickets import ticket_of

_kernels = CudaFile(__file__, "norm.cu")

THREADS = 256
MOST_PARTIALS = 264  # blocks that sum: two on each multiprocessor of the largest GPUs
ROWS_EACH = 4  # that a thread takes at least
NULL = np.uint64(0)  # a pointer to nothing


class _Layout(NamedTuple):
    """How threads lie on rows of channels: `lanes` across, `tiles` blocks across."""

    width: int
    lanes: int
    tiles: int

    @classmethod
    def of(cls, channels: int, *arrays: Array) -> _Layout:
        """Four channels a thread where they and the arrays' addresses allow it."""
        whole = channels % 4 == 0 and all(array.data.ptr % 16 == 0 for array in arrays)
        width = 4 if whole else 1
        pieces = channels // width
        lanes = min(32, 1 << (pieces - 1).bit_length())
        return cls(width, lanes, -(-pieces // lanes))

    def defines(self, dtype: Any, relu: bool, pool: bool) -> tuple[str, ...]:
        name = "float" if dtype == np.float32 else "double"
        return (f"TYPE={name}", f"WIDTH={self.width}", f"RELU={relu:d}", f"POOL={pool:d}")

    def blocks(self, rows: int, most: int = 2**31 - 1) -> tuple[int, int]:
        each = ROWS_EACH * THREADS // self.lanes
        return max(1, min(most // self.tiles, -(-rows // each))), self.tiles


def forward(
    x: Array, weight: Array, bias: Array, eps: float, running: Running, relu: bool, pool: bool
) -> Result:
    """(x - mean) / √(var + eps) · weight + bias, then ReLU, then the pool; moves ``running``."""
    xp = import_cupy()
    rows, weight, bias = (xp.ascontiguousarray(array) for array in (rows_of(x), weight, bias))
    count, channels = rows.shape
    layout = _Layout.of(channels, rows, weight, bias)
    defines = layout.defines(x.dtype, relu, pool)
    found = xp.empty((3, channels), x.dtype)
    grid = layout.blocks(count, MOST_PARTIALS)
    partials = xp.empty((grid[0], channels, 2), np.float64)
    in_kernel = _moves_in_kernel(running, x.dtype)
    moved = (running.mean, running.var) if in_kernel else (NULL, NULL)
    counted = running.batches if in_kernel and running.batches is not None else NULL
    sizes = (np.int64(count), np.int32(channels), np.int32(layout.lanes))
    numbers = (np.float64(eps), np.float64(running.momentum))
    arguments = (rows, *sizes, partials, ticket_of(partials), found, *numbers, *moved, counted)
    _kernels.launch("statistics", grid, arguments, THREADS, defines=defines)
    if not in_kernel:
        move(running, found, count)
    y, code = _normalize(x, rows, found, weight, bias, layout, relu, pool)
    return Result(y, y if relu and not pool else None, code, found)


def _moves_in_kernel(running: Running, dtype: Any) -> bool:
    """Whether running statistics are laid out as the kernel writes them."""
    kept = (running.mean, running.var)
    simple = all(array.dtype == dtype and array.flags.c_contiguous for array in kept)
    return simple and (running.batches is None or running.batches.dtype == np.int64)


def _normalize(
    x: Array,
    rows: Array,
    found: Array,
    weight: Array,
    bias: Array,
    layout: _Layout,
    relu: bool,
    pool: bool,
) -> tuple[Array, Array | None]:
    xp = import_cupy()
    n, channels, *size = x.shape
    defines = layout.defines(x.dtype, relu, pool)
    across = (np.int32(channels), np.int32(layout.lanes), found, weight, bias)
    if not pool:
        y = xp.empty(rows.shape, x.dtype)
        arguments: tuple[Any, ...] = (rows, np.int64(len(rows)), *across, y)
        _kernels.launch("normalize", layout.blocks(len(rows)), arguments, THREADS, defines=defines)
        return shaped(y, x.shape), None
    out = (n, size[0] // 2, size[1] // 2, channels)
    y, code = xp.empty(out, x.dtype), xp.empty(out, np.uint8)
    windows = n * out[1] * out[2]
    image = (np.int32(size[0]), np.int32(size[1]))
    arguments = (rows, np.int64(windows), *across, y, code, *image)
    _kernels.launch("normalize", layout.blocks(windows), arguments, THREADS, defines=defines)
    return y.transpose(0, 3, 1, 2), code.transpose(0, 3, 1, 2)


def backward(
    grad: Array,
    x: Array,
    weight: Array,
    found: Array,
    gate: Array | None,
    code: Array | None,
    relu: bool,
    needs_x: bool,
) -> tuple[Array | None, Array, Array]:
    """Gradients by x (None where not needed), weight and bias."""
    xp = import_cupy()
    g, rows, weight = (xp.ascontiguousarray(a) for a in (rows_of(grad), rows_of(x), weight))
    count, channels = rows.shape
    pool = code is not None
    layout = _Layout.of(channels, g, rows, weight)
    defines = layout.defines(x.dtype, relu, pool)
    decision: Any = NULL
    if code is not None:
        decision = rows_of(code)
    elif gate is not None:
        decision = rows_of(gate)
    across = (np.int32(channels), np.int32(layout.lanes), found)
    size = x.shape[2:] if pool else (0, 0)
    image = (np.int32(size[0]), np.int32(size[1]))

    by = (xp.empty(channels, x.dtype), xp.empty(channels, x.dtype))  # weight and bias
    grid = layout.blocks(len(g), MOST_PARTIALS)
    partials = xp.empty((grid[0], channels, 2), np.float64)
    sums = (partials, ticket_of(partials), *by)
    arguments: tuple[Any, ...] = (g, rows, decision, np.int64(len(g)), *across, *sums, *image)
    _kernels.launch("sums", grid, arguments, THREADS, defines=defines)
    if not needs_x:
        return None, *by

    dx = xp.empty(rows.shape, x.dtype)
    steps = len(x) * -(-size[0] // 2) * -(-size[1] // 2) if pool else count
    arguments = (g, rows, decision, np.int64(steps), *across, weight, *by, dx, np.int64(count))
    arguments += image if pool else ()
    _kernels.launch("slope", layout.blocks(steps), arguments, THREADS, defines=defines)
    return shaped(dx, x.shape), *by
