"""Fully connected layers on arrays. Letters: N rows, I columns (inputs), O outputs.

Layers with few outputs (skinny products, at most 16) have kernels of their own on a GPU, in true
float32, in matmul.cu: a matrix product's tiles are 128 wide; where there are 10 outputs, reading x
is all that takes time.
"""

from __future__ import annotations

import functools

import numpy as np

from ..backend import Array, CudaSource, blas, import_cupy, int32s, int64s, is_cuda, kernel, null
from ..backend.block_counter import ticket_of
from .common import sums, sums_cuda
from .common.headers import LAST_BLOCK
from .common.layout import ALIGNED, contiguous
from .common.relu import relu_backward

Gradients = tuple[Array | None, ...]  # by x, weight and bias

MOST_OUTPUTS = 16  # more would not fit into a thread's registers
LONGEST = 1 << 20  # rows or columns; longer sums are put together from shorter ones, in `blas`

# What the plans aim at. No GPU is asked: sizes alone decide how sums are split.
FEW_BLOCKS = 96
BUSY = 1 << 14  # threads of the forward kernel
SATURATED = 1 << 15  # threads that each have several loads in flight
MANY_BLOCKS = 1100  # of the backward kernel; three of them share a multiprocessor

FORWARD_THREADS = 256  # of a block of the forward kernel, at most
THREADS = 128  # of a block of the backward kernel
CHUNK = 128  # rows of the gradient that it has in shared memory at a time

_kernels = CudaSource(
    *(__file__, LAST_BLOCK, "matmul.cu"),
    threads=THREADS,
    defines=(f"FORWARD_THREADS={FORWARD_THREADS}", f"CHUNK={CHUNK}"),
)


def suits(outputs: int, *matrices: Array | None) -> bool:
    """Whether the kernels are for a layer with these x and weight, as far as they are given."""
    return outputs <= MOST_OUTPUTS and all(m is None or _is_plain(m) for m in matrices)


def _is_plain(x: Array) -> bool:
    plain = is_cuda(x) and x.dtype == np.float32 and x.size and x.flags.c_contiguous
    return bool(plain and max(x.shape) <= LONGEST)


def skinny_forward(x: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """x (N, I) @ weight (O, I).T + bias (O,), then max(·, 0) if ``relu``: (N, O)."""
    rows, columns = x.shape
    outputs = len(weight)
    lanes, together, block = _forward_plan(rows, columns)
    y = import_cupy().empty((rows, outputs), x.dtype)
    vector = null() if bias is None else contiguous(bias)
    _kernels.launch(
        "skinny_linear",
        -(-rows // (block // lanes * together)),
        (x, weight, vector, y, *int64s(rows, columns), *int32s(relu)),
        block,
        defines=_defines(outputs, _aligned(x, weight), f"LANES={lanes}", f"ROWS={together}"),
    )
    return y


@functools.lru_cache(4096)
def _forward_plan(rows: int, columns: int) -> tuple[int, int, int]:
    """How many threads share rows, how many rows they share, and how many threads a block has."""
    quads = -(-columns // 4)
    lanes = 4
    while lanes < 32 and 8 * lanes <= quads:  # four quads each make up for adding up the lanes
        lanes *= 2
    while lanes < FORWARD_THREADS and lanes < quads and rows * lanes < BUSY:
        lanes *= 2
    together = 1
    while together < 4 and rows * lanes >= 2 * together * SATURATED:
        together *= 2
    block = FORWARD_THREADS
    while block > max(lanes, 32) and rows * lanes < FEW_BLOCKS * block * together:
        block //= 2
    return lanes, together, block


def skinny_backward(
    grad: Array,
    y: Array | None,
    x: Array | None,
    weight: Array | None,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """Gradients by x, weight and bias, as far as ``needs`` asks, from that by the output (N, O).

    y is ReLU's output, or None where there was none. weight is read for the gradient by x, and x
    for that by weight: one of these two must be needed.
    """
    cupy, (rows, outputs) = import_cupy(), grad.shape
    columns = next(m.shape[1] for m in (x, weight) if m is not None)
    quads, across, each = _backward_plan(rows, columns)
    parts = -(-rows // each)
    shapes = (rows, columns), (outputs, columns), (outputs,)
    found = [
        cupy.empty(s, grad.dtype) if need else None for s, need in zip(shapes, needs, strict=True)
    ]
    partials = tickets = null()
    if parts > 1 and (needs[1] or needs[2]):
        partials = cupy.empty(parts * across * outputs * quads * 4, grad.dtype)
        tickets = ticket_of(partials)
    given = (contiguous(grad), None if y is None else contiguous(y), x, weight, *found)
    aligned = _aligned(*(m for m in (x, weight, found[0]) if m is not None))
    flags = [f"{name}={need:d}" for name, need in zip(("DX", "DW", "DB"), needs, strict=True)]
    _kernels.launch(
        "skinny_linear_backward",
        (across, parts),
        (
            *(null() if array is None else array for array in given),
            *(partials, tickets, *int64s(rows, columns, each)),
        ),
        defines=_defines(outputs, aligned, f"QUADS={quads}", *flags),
    )
    return tuple(found)


@functools.lru_cache(4096)
def _backward_plan(rows: int, columns: int) -> tuple[int, int, int]:
    """Quads that blocks are wide, how many blocks stand side by side, and how many rows are each's.

    Wide blocks read whole lines of memory; narrow ones are more where there are few rows to split.
    """
    chunks = -(-rows // CHUNK)
    for quads in (8, 4, 2):
        across = (-(-columns // 4) + quads) // quads  # with one more quad, for the bias
        if across * chunks >= FEW_BLOCKS:
            break
    parts = min(chunks, max(1, MANY_BLOCKS // across))
    return quads, across, -(-chunks // parts) * CHUNK


def _aligned(*matrices: Array) -> bool:
    """Whether quads of these matrices (…, I) lie at multiples of 16 bytes."""
    return all(m.shape[1] % 4 == 0 and m.data.ptr % ALIGNED == 0 for m in matrices)


def _defines(outputs: int, aligned: bool, *others: str) -> tuple[str, ...]:
    return (f"OUTPUTS={outputs}", f"ALIGNED={aligned:d}", *others)


# --- what rules call ----------------------------------------------------------------------------


def _linear_cpu(x: Array, weight: Array, bias: Array | None, with_relu: bool) -> Array:
    return blas.linear(x, weight, bias, with_relu)


def _linear_cuda(x: Array, weight: Array, bias: Array | None, with_relu: bool) -> Array:
    if suits(len(weight), x, weight):
        return skinny_forward(x, weight, bias, with_relu)
    return blas.linear(x, weight, bias, with_relu)


@kernel(cpu=_linear_cpu, cuda=_linear_cuda)
def linear(x: Array, weight: Array, bias: Array | None, with_relu: bool) -> Array:
    """y (N, O) = x (N, I) @ weight (O, I).T + bias (O,), then max(·, 0) where asked for."""


def _backward_cpu(
    grad: Array, x: Array | None, weight: Array | None, y: Array | None, needs: tuple[bool, ...]
) -> Gradients:
    grad = grad if y is None else relu_backward(grad, y)
    return _products(grad, x, weight, sums.total(grad, (0,)) if needs[2] else None, needs)


def _backward_cuda(
    grad: Array, x: Array | None, weight: Array | None, y: Array | None, needs: tuple[bool, ...]
) -> Gradients:
    x, weight = x if needs[1] else None, weight if needs[0] else None
    if grad.size and (needs[0] or needs[1]) and suits(grad.shape[1], x, weight):
        return skinny_backward(grad, y, x, weight, needs)
    if needs[2] and sums_cuda.suits(grad):
        grad, total = sums_cuda.relu_backward_and_sum(grad, y)
    else:
        grad = grad if y is None else relu_backward(grad, y)
        total = sums.total(grad, (0,)) if needs[2] else None
    return _products(grad, x, weight, total, needs)


def _products(
    grad: Array, x: Array | None, weight: Array | None, total: Array | None, needs: tuple[bool, ...]
) -> Gradients:
    return (
        blas.matmul(grad, weight) if needs[0] else None,  # (N, I)
        blas.matmul(grad.transpose(1, 0), x) if needs[1] else None,  # (O, I)
        total,  # (O,)
    )


@kernel(cpu=_backward_cpu, cuda=_backward_cuda)
def linear_backward(
    grad: Array, x: Array | None, weight: Array | None, y: Array | None, needs: tuple[bool, ...]
) -> Gradients:
    """Gradients by x, weight and bias of `linear`, None where not needed.

    x is read for the weight's, weight for x's; y, with ReLU, is the output.
    """
