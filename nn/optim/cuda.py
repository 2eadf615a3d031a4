"""The optimizers on a GPU: one launch steps all parameters of one dtype (kernels in update.cu).

Pointers travel in the launch, as a table. What changes from step to step stays in device memory for
the life of the optimizer, so that a captured step finds it there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend import Array, CudaSource, int32s
from tinygrad_cupy.backend.capture import active, keep
from tinygrad_cupy.backend.cuda_source import dtype_macros
from tinygrad_cupy.backend.dtypes import as_real_numbers
from tinygrad_cupy.kernels.common.headers import LAST_BLOCK, VECTOR

WIDTH = 4  # elements of a thread
NUMBERS = 8  # hyperparameters there is room for
CAPACITIES = (16, 80)  # rows of a table; a launch takes 4 kB of arguments
_WORDS = 6  # of 8 bytes in a row

# What a kernel reads of its optimizer: attributes, in the order in which they lie in device memory.
# update.cu is given the names, as members of a struct, and reads them by name too.
_SGD = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
_ADAM = ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled")
READ_BY = {"sgd_step": _SGD, "momentum_step": _SGD, "adam_step": _ADAM}

_TABLES = {rows: np.dtype([("words", np.uint64, rows * _WORDS)]) for rows in CAPACITIES}
_NUMBERS = np.dtype([("numbers", np.float64, NUMBERS)])
_kernels = CudaSource(
    *(__file__, VECTOR, LAST_BLOCK, "update.cu"),
    defines=(
        *(f"WIDTH={WIDTH}", f"HYPERPARAMETERS={NUMBERS}", f"ROW_BYTES={8 * _WORDS}"),
        *(f"SGD_NAMES={','.join(_SGD)}", f"ADAM_NAMES={','.join(_ADAM)}"),
    ),
)


class Row(NamedTuple):
    """Arrays of one parameter, all of one size and dtype and in C order, and its position."""

    arrays: tuple[Array, ...]
    position: int = 0


def _by_dtype(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    """Of complex numbers the kernels step both parts, as real ones."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        if row.arrays[0].dtype.kind == "c":
            row = row._replace(arrays=tuple([as_real_numbers(array) for array in row.arrays]))
        groups.setdefault(row.arrays[0].dtype, []).append(row)
    return groups


@functools.cache
def _defines(dtype: Any, capacity: int = CAPACITIES[0]) -> tuple[str, ...]:
    return (*dtype_macros(np.dtype(dtype)), f"TENSORS={capacity}")


def prepare(arrays: Sequence[Array]) -> None:
    """Have the kernels compiled that will step these parameters, while others of a first step are.

    Arrays on the CPU are passed over.
    """
    on_gpu = [array for array in arrays if backend.is_cuda(array)]
    for group in _by_dtype([Row((array,)) for array in on_gpu]).values():
        first = group[0].arrays[0]
        with first.device:
            for part in _parts(group):
                _kernels.prepare(_defines(first.dtype, _capacity(part)))


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Those of each launch that it takes to cover ``rows``."""
    for start in range(0, len(rows), CAPACITIES[-1]):
        yield rows[start : start + CAPACITIES[-1]]


def _capacity(rows: Sequence[Row]) -> int:
    return CAPACITIES[0] if len(rows) <= CAPACITIES[0] else CAPACITIES[-1]


def _tables(rows: Sequence[Row]) -> Iterator[tuple[int, Array, int, int]]:
    """(capacity, table, rows in it, blocks) of each launch that it takes to cover ``rows``."""
    for part in _parts(rows):
        capacity = _capacity(part)
        words: list[int] = []
        blocks = 0
        for arrays, position in part:
            pointers = [array.data.ptr for array in arrays]
            size = arrays[0].size
            words += (*pointers, *(0,) * (4 - len(pointers)), size, position | blocks << 32)
            blocks += -(-size // (WIDTH * _kernels.threads))
        words += (0,) * (capacity * _WORDS - len(words))
        yield capacity, np.array(words, np.uint64).view(_TABLES[capacity]), len(part), blocks


class DeviceMemory:
    """What an optimizer keeps in one GPU's memory: hyperparameters, step counts, a ticket."""

    def __init__(self, device: str, parameters: int, numbers: Sequence[float]) -> None:
        cupy = backend.import_cupy()
        self.device = cupy.cuda.Device(int(device.removeprefix("cuda:")))
        with self.device:
            self.numbers = cupy.zeros(NUMBERS, np.float64)
            self.counts = cupy.zeros(parameters, np.int64)
            self.ticket = cupy.zeros(1, np.uint32)
        self.written: tuple[float, ...] | None = None
        self.write(numbers)

    def write(self, numbers: Sequence[float]) -> None:
        """Put the hyperparameters there, in stream order, if they are not there already.

        They are those that `READ_BY` names, in its order.
        """
        values = (*numbers, *(0.0,) * (NUMBERS - len(numbers)))
        if values == self.written:
            return
        with self.device:
            given = np.array(values, np.float64).view(_NUMBERS)
            defines = _defines(np.dtype(np.float32))
            _kernels.launch("write_numbers", 1, (self.numbers, given), block=32, defines=defines)
            # A capture only notes the write down: whether it was done, is not known here.
            stream = backend.import_cupy().cuda.get_current_stream()
            self.written = None if stream.is_capturing() else values

    def set_count(self, position: int, count: int) -> None:
        """Say how often the parameter at ``position`` was stepped."""
        with self.device:
            self.counts[position] = count

    def step(self, kernel: str, rows: Sequence[Row]) -> None:
        """Step and count each of ``rows``, whose arrays are parameter, gradient and slots."""
        if active.run is not None:
            keep(self.numbers, self.counts, self.ticket, *(x for row in rows for x in row.arrays))
        with self.device:
            for dtype, group in _by_dtype(rows).items():
                for capacity, table, count, blocks in _tables(group):
                    arguments = (table, *int32s(count), self.numbers, self.counts, self.ticket)
                    defines = _defines(dtype, capacity)
                    _kernels.launch(kernel, max(blocks, 1), arguments, defines=defines)


def alike(arrays: Sequence[Array]) -> bool:
    """Whether all arrays are on one GPU and of one dtype."""
    places = {(backend.device_of(array), array.dtype) for array in arrays}
    return len(places) == 1 and backend.is_cuda(arrays[0])


def clip(grads: Sequence[Array], limit: float) -> tuple[Array, list[Array]]:
    """The joint 2-norm of the gradients, and the gradients times min(1, limit / (norm + 1e-6)).

    Summed in float64 and in a fixed order; the norm of 16-bit floats is float32.
    """
    xp = backend.import_cupy()
    with backend.on_device_of(grads[0]):
        given = [as_real_numbers(xp.ascontiguousarray(grad)) for grad in grads]
        norm, factor = _clip_factor([Row((grad,)) for grad in given], limit)
        scaled = [xp.empty(grad.shape, grad.dtype) for grad in grads]
        rows = [Row((g, as_real_numbers(s))) for g, s in zip(given, scaled, strict=True)]
        for capacity, table, count, blocks in _tables(rows):
            if blocks:
                defines = _defines(given[0].dtype, capacity)
                arguments = (table, np.int32(count), factor)
                _kernels.launch("scale_all", blocks, arguments, defines=defines)
    return norm, scaled


def _clip_factor(rows: Sequence[Row], limit: float) -> tuple[Array, Array]:
    xp = backend.import_cupy()
    dtype = rows[0].arrays[0].dtype
    tables = list(_tables(rows))
    partials = xp.empty(max(sum(blocks for *_, blocks in tables), 1), np.float64)
    wide = np.float64 if dtype == np.float64 else np.float32  # ACC of update.cu
    norm, factor = xp.empty((), wide), xp.empty((), np.float64)
    first = 0
    for capacity, table, count, blocks in tables:
        if blocks:
            arguments: tuple[Any, ...] = (table, np.int32(count), partials[first:])
            defines = _defines(dtype, capacity)
            _kernels.launch("sum_squares", blocks, arguments, defines=defines)
        first += blocks
    arguments = (partials, np.int64(first), np.float64(limit), norm, factor)
    _kernels.launch("clip_factor", 1, arguments, defines=_defines(dtype))
    return norm, factor
