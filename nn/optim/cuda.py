"""The optimizers on a GPU: one launch steps all parameters of one dtype (kernels in update.cu).

Pointers travel in the launch, as a table. What changes from step to step stays in device memory for
the life of the optimizer, so that a captured step finds it there. Each row of the table names its
parameter group, so parameters of several groups share a launch.
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
NUMBERS = 12  # hyperparameters there is room for; the last is whether to maximize
ARRAYS = 4  # of a row: parameter, gradient and up to two slots
CAPACITIES = {4: (16, 80), 5: (16, 70)}  # rows of a table; a launch takes 4 kB of arguments

# What a kernel reads of its optimizer: attributes, in the order in which they lie in device memory.
# update.cu is given the names, as members of a struct, and reads them by name too.
_SGD = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
_ADAM = ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled")
READ_BY = {"sgd_step": _SGD, "momentum_step": _SGD, "adam_step": _ADAM}

_NUMBERS = np.dtype([("numbers", np.float64, NUMBERS)])


def step_source(*names: str, arrays: int = ARRAYS, defines: tuple[str, ...] = ()) -> CudaSource:
    """Files of this folder behind step.cuh, for rows of so many arrays."""
    return CudaSource(
        *(__file__, VECTOR, LAST_BLOCK, "step.cuh", *names),
        defines=(
            *(f"WIDTH={WIDTH}", f"HYPERPARAMETERS={NUMBERS}", f"ARRAYS={arrays}"),
            *(f"ROW_BYTES={8 * _words(arrays)}", *defines),
        ),
    )


def _words(arrays: int) -> int:
    """Of 8 bytes in a row."""
    return arrays + 2


_NAMES = (f"SGD_NAMES={','.join(_SGD)}", f"ADAM_NAMES={','.join(_ADAM)}")
_kernels = step_source("update.cu", defines=_NAMES)
_narrowing_kernels = step_source("update.cu", arrays=ARRAYS + 1, defines=_NAMES)


class Row(NamedTuple):
    """Arrays of one parameter, all of one size and dtype and in C order, its position and group.

    ``narrow``: where the parameter is written in 16 bits as well.
    """

    arrays: tuple[Array, ...]
    position: int = 0
    group: int = 0
    narrow: Array | None = None


class Launch:
    """A kernel that steps and counts all rows of a table in one launch.

    `names` are the hyperparameters that it reads, in the order in which they lie in device memory.
    A subclass may take several launches. `narrowing` is the launch that steps rows of float32 and
    writes some of them in 16 bits as well, where there is one.
    """

    def __init__(
        self,
        source: CudaSource,
        name: str,
        names: tuple[str, ...],
        arrays: int = ARRAYS,
        narrowing: Launch | None = None,
    ) -> None:
        self.source, self.name, self.names, self.arrays = source, name, names, arrays
        self.narrowing = narrowing

    def step(self, memory: DeviceMemory, rows: Sequence[Row]) -> None:
        """Step and count rows, whose arrays are parameter, gradient and slots, on their GPU."""
        for dtype, group in _by_dtype(rows).items():
            for narrow, part in _by_copy(group).items():
                launch = self if narrow is None or self.narrowing is None else self.narrowing
                for capacity, table, count, blocks in _tables(part, launch.arrays):
                    defines = (*_defines(dtype, capacity), *_narrow_defines(narrow))
                    launch.run(memory, defines, table, count, blocks)

    def run(
        self, memory: DeviceMemory, defines: tuple[str, ...], table: Array, count: int, blocks: int
    ) -> None:
        """One table's rows of one dtype."""
        arguments = (table, *int32s(count), memory.numbers, memory.counts, memory.ticket)
        self.source.launch(self.name, max(blocks, 1), arguments, defines=defines)


_LAUNCHES = {
    name: Launch(
        *(_kernels, name, names),
        narrowing=Launch(_narrowing_kernels, name, names, ARRAYS + 1),
    )
    for name, names in READ_BY.items()
}


def launch_of(kernel: str | Launch) -> Launch:
    """The launch that an optimizer's `kernel` stands for."""
    return _LAUNCHES[kernel] if isinstance(kernel, str) else kernel


def _by_dtype(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    """Of complex numbers the kernels step both parts, as real ones."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        if row.arrays[0].dtype.kind == "c":
            row = row._replace(arrays=tuple([as_real_numbers(array) for array in row.arrays]))
        groups.setdefault(row.arrays[0].dtype, []).append(row)
    return groups


def _by_copy(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    """Rows by the dtype of what they write in 16 bits; those that write none go with others."""
    kinds = [row.narrow.dtype for row in rows if row.narrow is not None]
    first = kinds[0] if kinds else None
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(first if row.narrow is None else row.narrow.dtype, []).append(row)
    return groups


@functools.cache
def _narrow_defines(dtype: Any) -> tuple[str, ...]:
    """What a kernel is compiled with that writes a second time, in a dtype of 16 bits."""
    if dtype is None:
        return ()
    kind, _, header = dtype_macros(dtype)
    return (kind.replace("TYPE=", "NARROW="), header)


@functools.cache
def _defines(dtype: Any, capacity: int = CAPACITIES[ARRAYS][0]) -> tuple[str, ...]:
    return (*dtype_macros(np.dtype(dtype)), f"TENSORS={capacity}")


def prepare(arrays: Sequence[Array], kernel: str | Launch = "adam_step") -> None:
    """Have the kernels compiled that will step these parameters, while others of a first step are.

    Arrays on the CPU are passed over.
    """
    launch = launch_of(kernel)
    on_gpu = [array for array in arrays if backend.is_cuda(array)]
    for group in _by_dtype([Row((array,)) for array in on_gpu]).values():
        first = group[0].arrays[0]
        with first.device:
            for part in _parts(group, launch.arrays):
                capacity = _capacity(part, launch.arrays)
                launch.source.prepare(_defines(first.dtype, capacity))


def _parts(rows: Sequence[Row], arrays: int) -> Iterator[Sequence[Row]]:
    """Those of each launch that it takes to cover ``rows``."""
    most = CAPACITIES[arrays][-1]
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def _capacity(rows: Sequence[Row], arrays: int) -> int:
    few, most = CAPACITIES[arrays]
    return few if len(rows) <= few else most


@functools.cache
def _table_dtype(arrays: int, capacity: int) -> np.dtype:
    return np.dtype([("words", np.uint64, capacity * _words(arrays))])


def _tables(rows: Sequence[Row], arrays: int = ARRAYS) -> Iterator[tuple[int, Array, int, int]]:
    """(capacity, table, rows in it, blocks) of each launch that it takes to cover ``rows``."""
    for part in _parts(rows, arrays):
        capacity = _capacity(part, arrays)
        words: list[int] = []
        blocks = 0
        for given, position, group, narrow in part:
            pointers = [array.data.ptr for array in given]
            size = given[0].size
            pointers += (0,) * (arrays - len(pointers))
            if narrow is not None:
                pointers[-1] = narrow.data.ptr
            words += pointers
            words += (size | group << 48, position | blocks << 32)
            blocks += -(-size // (WIDTH * _kernels.threads))
        words += (0,) * (capacity * _words(arrays) - len(words))
        table = np.array(words, np.uint64).view(_table_dtype(arrays, capacity))
        yield capacity, table, len(part), blocks


class DeviceMemory:
    """What an optimizer keeps in one GPU's memory: hyperparameters, step counts, a ticket."""

    def __init__(self, device: str, parameters: int, groups: int, launch: Launch) -> None:
        cupy = backend.import_cupy()
        self.device = cupy.cuda.Device(int(device.removeprefix("cuda:")))
        self.source = launch.source  # of step.cuh, whichever
        with self.device:
            self.numbers = cupy.zeros((groups, NUMBERS), np.float64)
            self.flag_and_counts = cupy.zeros(1 + parameters, np.int64)
            self.counts = self.flag_and_counts[1:]  # before them: whether steps are left out
            self.ticket = cupy.zeros(1, np.uint32)
        self.written: list[tuple[float, ...] | None] = [None] * groups

    def write(self, group: int, numbers: Sequence[float], maximize: bool) -> None:
        """Put a group's hyperparameters there, in stream order, if they are not there already.

        They are those that the optimizer's `Launch` names, in its order.
        """
        if len(numbers) >= NUMBERS:
            raise ValueError(
                f"[optim] expected at most {NUMBERS - 1} hyperparameters, got {len(numbers)}"
            )
        values = (*numbers, *(0.0,) * (NUMBERS - 1 - len(numbers)), float(maximize))
        if values == self.written[group]:
            return
        with self.device:
            given = np.array(values, np.float64).view(_NUMBERS)
            arguments = (self.numbers[group], given)
            defines = _defines(np.dtype(np.float32))
            self.source.launch("write_numbers", 1, arguments, block=32, defines=defines)
            # A capture only notes the write down: whether it was done, is not known here.
            stream = backend.import_cupy().cuda.get_current_stream()
            self.written[group] = None if stream.is_capturing() else values

    def set_count(self, position: int, count: int) -> None:
        """Say how often the parameter at ``position`` was stepped."""
        with self.device:
            self.counts[position] = count

    def step(self, launch: Launch, rows: Sequence[Row], skip: Array | None = None) -> None:
        """Step and count each of ``rows``, whose arrays are parameter, gradient and slots.

        Unless ``skip``, an integer on the GPU, is not 0.
        """
        if active.run is not None:
            kept = (self.numbers, self.flag_and_counts, self.ticket)
            keep(*kept, *(x for row in rows for x in row.arrays))
            keep(*(row.narrow for row in rows if row.narrow is not None))
        with self.device:
            if skip is not None:
                self.flag_and_counts[0] = skip
            launch.step(self, rows)
            if skip is not None:
                self.flag_and_counts[0] = 0


def alike(arrays: Sequence[Array]) -> bool:
    """Whether all arrays are on one GPU and of one dtype."""
    places = {(backend.device_of(array), array.dtype) for array in arrays}
    return len(places) == 1 and backend.is_cuda(arrays[0])


def clip(grads: Sequence[Array], limit: float, norm_type: float = 2.0) -> tuple[Array, list[Array]]:
    """The joint norm of the gradients, and the gradients times min(1, limit / (norm + 1e-6)).

    Summed in float64 and in a fixed order; the norm of 16-bit floats is float32.
    """
    xp = backend.import_cupy()
    with backend.on_device_of(grads[0]):
        given = [as_real_numbers(xp.ascontiguousarray(grad)) for grad in grads]
        rows = [Row((grad,)) for grad in given]
        if norm_type == 2:
            norm, factor = _clip_factor(rows, limit)
        else:
            norm, factor = _clip_factor_of(rows, limit, norm_type)
        scaled = _mapped("scale_all", grads, given, factor)
    return norm, scaled


def clamp(grads: Sequence[Array], limit: float) -> list[Array]:
    """The gradients with every element, or part of a complex one, in [-limit, limit]."""
    xp = backend.import_cupy()
    with backend.on_device_of(grads[0]):
        given = [as_real_numbers(xp.ascontiguousarray(grad)) for grad in grads]
        return _mapped("clamp_all", grads, given, np.float64(limit))


def unscale(grads: Sequence[Array], factor: Array) -> tuple[Array, list[Array]]:
    """Whether a gradient is not finite, on the GPU, and all times ``factor``, a number there."""
    xp = backend.import_cupy()
    bad, scaled = xp.zeros((), bool), list(grads)
    for dtype in dict.fromkeys([grad.dtype for grad in grads]):
        places = [i for i, grad in enumerate(grads) if grad.dtype == dtype]
        those = [grads[i] for i in places]
        given = [as_real_numbers(xp.ascontiguousarray(grad)) for grad in those]
        partials, count, *_ = _reduced("sum_squares", [Row((grad,)) for grad in given])
        bad = bad | ~xp.isfinite(partials[: int(count)].sum())
        for i, result in zip(places, _mapped("scale_all", those, given, factor), strict=True):
            scaled[i] = result
    return bad, scaled


def _mapped(kernel: str, grads: Sequence[Array], given: Sequence[Array], by: Any) -> list[Array]:
    """What a kernel of `grads`, which lie in `given` as it reads them, writes."""
    xp = backend.import_cupy()
    results = [xp.empty(grad.shape, grad.dtype) for grad in grads]
    rows = [Row((g, as_real_numbers(r))) for g, r in zip(given, results, strict=True)]
    for capacity, table, count, blocks in _tables(rows):
        if blocks:
            defines = _defines(given[0].dtype, capacity)
            _kernels.launch(kernel, blocks, (table, np.int32(count), by), defines=defines)
    return results


def _clip_factor(rows: Sequence[Row], limit: float) -> tuple[Array, Array]:
    dtype = rows[0].arrays[0].dtype
    partials, count, norm, factor = _reduced("sum_squares", rows)
    arguments = (partials, count, np.float64(limit), norm, factor)
    _kernels.launch("clip_factor", 1, arguments, defines=_defines(dtype))
    return norm, factor


def _clip_factor_of(rows: Sequence[Row], limit: float, norm_type: float) -> tuple[Array, Array]:
    dtype = rows[0].arrays[0].dtype
    order = np.float64(norm_type)
    partials, count, norm, factor = _reduced("sum_powers", rows, order)
    arguments = (partials, count, np.float64(limit), order, norm, factor)
    _kernels.launch("norm_factor", 1, arguments, defines=_defines(dtype))
    return norm, factor


def _reduced(kernel: str, rows: Sequence[Row], *more: Any) -> tuple[Array, Any, Array, Array]:
    """A number of each block of gradients, their count, memory for the norm and for its factor."""
    xp = backend.import_cupy()
    dtype = rows[0].arrays[0].dtype
    tables = list(_tables(rows))
    partials = xp.empty(max(sum(blocks for *_, blocks in tables), 1), np.float64)
    wide = np.float64 if dtype == np.float64 else np.float32  # ACC of update.cu
    norm, factor = xp.empty((), wide), xp.empty((), np.float64)
    first = 0
    for capacity, table, count, blocks in tables:
        if blocks:
            arguments: tuple[Any, ...] = (table, np.int32(count), partials[first:], *more)
            _kernels.launch(kernel, blocks, arguments, defines=_defines(dtype, capacity))
        first += blocks
    return partials, np.int64(first), norm, factor
