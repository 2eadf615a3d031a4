"""CUDA graphs: what a function does on a GPU, captured once and launched again with one call.

The captured work uses memory of a pool of its own, on a stream of its own: what it frees is used
again within the capture, and by nobody else.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .arrays import Array, import_cupy
from .capture import refuse_upload


class CaptureError(RuntimeError):
    """CUDA or CuPy refused what was to be captured."""


_one_at_a_time = threading.RLock()


class ReplayOrder:
    """Has replays on several streams follow each other, for they work in the same memory."""

    def __init__(self) -> None:
        self.stream: Any = None  # of the last replay
        self.thread = 0

    def take(self) -> None:
        """Let the current stream wait for all that the stream of the last replay has to do."""
        cuda = import_cupy().cuda
        stream, thread = cuda.get_current_stream(), threading.get_ident()
        last, its_thread = self.stream, self.thread
        self.stream, self.thread = stream, thread
        if last is None or (last == stream and its_thread == thread):
            return
        if last == cuda.Stream.ptds:  # means a stream of each thread: that one has no name here
            cuda.Device().synchronize()
        elif last != stream:
            event = cuda.Event(disable_timing=True)
            event.record(last)
            stream.wait_event(event)


class Pool:
    """The memory and the stream of one capture. Arrays that outlive it keep the memory.

    What is filled before a launch lies apart: where the graph's temporaries lie, its own kernels
    would have written over it by the time that it is read.
    """

    def __init__(self, device: int) -> None:
        cuda = import_cupy().cuda
        self.device = cuda.Device(device)
        self.memory, self.filled = cuda.MemoryPool(), cuda.MemoryPool()
        with self.device:
            self.stream = cuda.Stream(non_blocking=True)
        self.stream.record = _refuse_record  # of this stream alone: nothing of CuPy is replaced

    def _allocate(self, memory: Any, size: int) -> Any:
        """A CuPy allocator. What CuPy's pool gives does not keep the pool; what this gives does."""
        pointer = memory.malloc(size)
        if size == 0:
            return pointer
        cuda = import_cupy().cuda
        kept = cuda.UnownedMemory(pointer.ptr, size, (memory, pointer), self.device.id)
        return cuda.MemoryPointer(kept, 0)

    @property
    def total_bytes(self) -> int:
        """Device memory that the pools hold, in use or not."""
        with self.device:
            return int(self.memory.total_bytes() + self.filled.total_bytes())

    def capture(self, body: Callable[[], None]) -> Any:
        """The graph of what ``body`` does on the GPU, which does not happen now.

        Raises what ``body`` raises, and `CaptureError` where CUDA or CuPy refuse. Either way the
        device is as it was. A pool takes one capture: another would write results into what the
        first uses for temporaries.
        """
        cupy = import_cupy()
        allocate = functools.partial(self._allocate, self.memory)
        with _one_at_a_time, self.device:
            caller = cupy.cuda.get_current_stream()
            caller.synchronize()
            cupy.get_default_memory_pool().free_all_blocks()  # what the eager run left behind
            with _no_garbage_collection(), self.stream, cupy.cuda.using_allocator(allocate):
                self.stream.begin_capture()  # CuPy's mode lets pools and modules load meanwhile
                try:
                    body()
                    graph = self.stream.end_capture()
                except BaseException as error:
                    self._abandon()
                    if _is_refusal(error):
                        raise CaptureError(str(error)) from error
                    raise
            graph.upload(caller)
        return graph

    def _abandon(self) -> None:
        """End a capture that failed."""
        with contextlib.suppress(Exception):  # it has ended already, or was invalidated
            self.stream.end_capture()

    def like(self, array: Array, dtype: Any = None) -> Array:
        """Memory to be filled before a launch, for an array of this shape, dtype and layout.

        Or of another ``dtype``.
        """
        cupy = import_cupy()
        allocate = functools.partial(self._allocate, self.filled)
        with self.device, self.stream, cupy.cuda.using_allocator(allocate):
            return cupy.empty_like(array, dtype)


def _is_refusal(error: BaseException) -> bool:
    """Whether an error says that something cannot be captured, rather than that it is wrong."""
    cuda = import_cupy().cuda
    kinds = (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError, NotImplementedError)
    by_cupy = type(error) is RuntimeError and "stream is capturing" in str(error)
    return by_cupy or isinstance(error, kinds)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collected objects of others could call what a capture does not allow."""
    collecting = gc.isenabled()
    try:
        gc.disable()  # in here: Ctrl-C may come as soon as it returns
        yield
    finally:
        if collecting:
            gc.enable()


def _refuse_record(event: Any = None) -> Any:
    """`Stream.record` while it captures: CuPy calls it after an upload (`cupy.asarray` of a list).

    A replay would copy from host memory that is something else's by then, and CuPy would wait for
    the event in vain.
    """
    refuse_upload()
