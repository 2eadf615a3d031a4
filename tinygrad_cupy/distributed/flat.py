"""One buffer for the gradients of many parameters, so that they are reduced in one exchange."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import Array, CudaSource, array_module, int32s, is_cuda, on_device_of
from ..backend.capture import active, keep
from ..backend.cuda_source import dtype_macros
from ..backend.dtypes import as_real_numbers, is_narrow

ALIGNED = 256  # bytes at which each gradient begins, for kernels that load 16 at once
ROWS = 80  # of a table: a launch takes 4 kB of arguments
EACH = 4096  # elements of a block
WORDS = 6  # of a row of a table

_kernels = CudaSource(__file__, "pack.cu", defines=(f"ROWS={ROWS}", f"EACH={EACH}"))
_TABLE = np.dtype([("words", np.uint64, WORDS * ROWS)])


class Flat:
    """The layout of a buffer: gradients like `arrays`, a flag for each, and a few more values.

    A flag is 1 where a rank has a gradient: their sum says whether any has.
    """

    def __init__(self, dtype: Any, arrays: list[Array]) -> None:
        self.dtype = np.dtype(dtype)
        self.kinds = [(array.shape, array.dtype) for array in arrays]
        self.sizes = [array.size * (2 if array.dtype.kind == "c" else 1) for array in arrays]
        each = max(ALIGNED // self.dtype.itemsize, 1)
        self.starts: list[int] = []
        self.end = 0
        for size in self.sizes:
            self.starts.append(self.end)
            self.end += -(-size // each) * each

    def reduce(
        self, world: Any, like: Array, grads: list[Array | None], extra: list[Array]
    ) -> tuple[list[Array], list[Array], Array]:
        """Means over the ranks of the gradients, sums of `extra`, and the sums of the flags.

        like: an array of the device
        """
        xp, count = array_module(like), len(grads)
        places = [self.end + count]
        for one in extra:
            places.append(places[-1] + one.size)
        with on_device_of(like):
            flat_grads = [None if g is None else _row(xp, g, self.dtype) for g in grads]
            flat_extra = [_row(xp, one, self.dtype) for one in extra]
            factors = [1 / world.size] * count + [1.0] * len(extra)
            rows = list(
                zip(
                    [*flat_grads, *flat_extra], [*self.starts, *places],
                    [*self.sizes, *(one.size for one in extra)], factors,
                    [*range(self.end, self.end + count), *(-1 for _ in extra)], strict=False,
                )
            )  # fmt: skip
            if is_cuda(like):
                buffer = xp.empty(places[-1], self.dtype)
                _pack_on_gpu(buffer, rows)
            else:
                buffer = np.zeros(places[-1], self.dtype)
                _pack(buffer, rows)
            if world.size > 1 or is_cuda(buffer):
                transport = world.begin_collective("reduction of gradients", buffer)
                transport.all_reduce_into(buffer, buffer)
            views = [self._view(buffer, i) for i in range(count)]
            found = [
                buffer[at : at + one.size].reshape(one.shape).astype(one.dtype)
                for at, one in zip(places, extra, strict=False)
            ]
        if active.run is not None:
            keep(buffer)
        return views, found, buffer[self.end : self.end + count]

    def _view(self, buffer: Array, i: int) -> Array:
        """The gradient of parameter i, in its shape and dtype, in the buffer's memory if it can."""
        shape, dtype = self.kinds[i]
        part = buffer[self.starts[i] : self.starts[i] + self.sizes[i]]
        if dtype.kind == "c":
            return part.view(dtype).reshape(shape)
        return (part.astype(dtype) if is_narrow(dtype) else part).reshape(shape)


Packed = tuple[Array | None, int, int, float, int]  # array, start, size, factor, place of its flag


def _row(xp: Any, array: Array, dtype: Any) -> Array:
    """An array as the buffer takes it: real numbers in C order."""
    array = xp.ascontiguousarray(array)
    array = as_real_numbers(array) if array.dtype.kind == "c" else array
    return array.reshape(-1).astype(dtype, copy=False)


def _pack(buffer: Array, rows: list[Packed]) -> None:
    for array, start, size, factor, flag in rows:
        if array is not None:
            np.multiply(array, buffer.dtype.type(factor), out=buffer[start : start + size])
            if flag >= 0:
                buffer[flag] = 1


def _pack_on_gpu(buffer: Array, rows: list[Packed]) -> None:
    defines = dtype_macros(buffer.dtype)
    for begin in range(0, len(rows), ROWS):
        part = rows[begin : begin + ROWS]
        words, blocks = np.zeros((ROWS, WORDS), np.uint64), 0
        for i, (array, start, size, factor, flag) in enumerate(part):
            pointer = 0 if array is None else array.data.ptr
            bits = int(np.array(factor).view(np.uint64))
            words[i] = pointer, start, size, bits, flag + 1, blocks
            blocks += max(1, math.ceil(size / EACH))
        arguments = (words.reshape(-1).view(_TABLE), buffer, *int32s(len(part)))
        _kernels.launch("pack", blocks, arguments, defines=defines)
    if active.run is not None:
        keep(buffer, *(array for array, *_ in rows if array is not None))
