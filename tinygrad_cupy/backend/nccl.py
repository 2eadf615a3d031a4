"""NCCL through CuPy: what GPUs do together, on the current stream, so that it can be captured.

CuPy's wheels bring no NCCL; `nvidia-nccl-cu12` and `-cu13`, of the extras cuda12 and cuda13, do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Array, import_cupy

# NCCL's own numbers, by NumPy's dtypes: of complex numbers both parts count.
TYPES = {
    "int8": 0,
    "uint8": 1,
    "bool": 1,
    "int32": 2,
    "uint32": 3,
    "int64": 4,
    "uint64": 5,
    "float16": 6,
    "float32": 7,
    "float64": 8,
    "bfloat16": 9,
    "complex64": 7,
    "complex128": 8,
}
OPERATIONS = {"sum": 0, "max": 2, "min": 3}


def _module() -> Any:
    """CuPy's module; ImportError says what is missing."""
    import_cupy()
    try:
        from cupy.cuda import nccl
    except ImportError as error:
        raise ImportError(
            f"[distributed] expected NCCL, got none ({error}): pip install nvidia-nccl-cu13, or "
            "-cu12 for CUDA 12"
        ) from error
    if not getattr(nccl, "available", True):
        raise ImportError(
            "[distributed] expected NCCL, got none: pip install nvidia-nccl-cu13, or -cu12 for "
            "CUDA 12"
        )
    return nccl


def unique_id() -> tuple[int, ...]:
    """What rank 0 makes and all ranks begin a communicator with: bytes, from 0 to 255."""
    return tuple(int(one) & 255 for one in _module().get_unique_id())


class Nccl:
    """The communicator of the current GPU with those of the other ranks."""

    def __init__(self, size: int, rank: int, key: tuple[int, ...]) -> None:
        self.size, self.rank = size, rank
        new = _module().NcclCommunicator
        try:
            self._communicator = new(size, bytes(key), rank)
        except TypeError:  # CuPy before 14 takes C's chars
            self._communicator = new(size, tuple(one - 256 * (one > 127) for one in key), rank)

    def all_reduce(self, array: Array, operation: str) -> Array:
        """The sum, max or min over the ranks, in new memory."""
        array = import_cupy().ascontiguousarray(array)
        out = import_cupy().empty_like(array)
        self.all_reduce_into(array, out, operation)
        return out

    def all_reduce_into(self, array: Array, out: Array, operation: str = "sum") -> None:
        """The same in memory that is there, which may be the array's own."""
        how = (*_count(array), OPERATIONS[operation], _stream())
        self._communicator.allReduce(array.data.ptr, out.data.ptr, *how)

    def all_gather(self, array: Array) -> Array:
        """(size, *shape) of arrays of one shape."""
        array = import_cupy().ascontiguousarray(array)
        out = import_cupy().empty((self.size, *array.shape), array.dtype)
        self._communicator.allGather(array.data.ptr, out.data.ptr, *_count(array), _stream())
        return out

    def reduce_scatter(self, array: Array, operation: str) -> Array:
        """Of arrays (size, *shape) the part of this rank, reduced over all."""
        array = import_cupy().ascontiguousarray(array)
        out = import_cupy().empty(array.shape[1:], array.dtype)
        how = (*_count(out), OPERATIONS[operation], _stream())
        self._communicator.reduceScatter(array.data.ptr, out.data.ptr, *how)
        return out

    def broadcast(self, array: Array, root: int) -> Array:
        """The array of rank `root`."""
        array = import_cupy().ascontiguousarray(array)
        out = import_cupy().empty_like(array)
        self._communicator.broadcast(array.data.ptr, out.data.ptr, *_count(array), root, _stream())
        return out

    def close(self) -> None:
        """Let go of it. Captured graphs that use it must be gone."""
        self._communicator.destroy()


def _count(array: Array) -> tuple[int, int]:
    dtype = np.dtype(array.dtype)
    if dtype.name not in TYPES:
        raise TypeError(f"[distributed] NCCL knows no {dtype.name}")
    return array.size * (2 if dtype.kind == "c" else 1), TYPES[dtype.name]


def _stream() -> int:
    return int(import_cupy().cuda.get_current_stream().ptr)


def bus_id(number: int) -> str:
    """Which GPU of its machine that is."""
    found: str = import_cupy().cuda.runtime.deviceGetPCIBusId(number)
    return found
