"""Work split over CPU threads, with BLAS held to one thread each.

NumPy releases the interpreter lock in copies, ufuncs and matrix products, so plain Python threads
do run side by side. A batch cut into chunks that fit in the cache gains more that way than one
product that BLAS spreads over threads by itself.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

PARTS = 16  # into how many a batch is cut

T = TypeVar("T")
_workspace = threading.local()
_region = threading.Lock()  # held while items are dealt out


class _State(threading.local):
    working = False  # whether this thread is at work on an item


_state = _State()


@functools.cache
def thread_count() -> int:
    """CPU threads to use: ``$TINYGRAD_CUPY_THREADS``, else the cores this process may run on."""
    wanted = os.environ.get("TINYGRAD_CUPY_THREADS")
    if wanted:
        if not wanted.isdigit() or int(wanted) < 1:
            raise ValueError(f"[TINYGRAD_CUPY_THREADS] expected a whole number ≥ 1, got {wanted!r}")
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count() - 1, thread_name_prefix="tinygrad_cupy")


def _forget_threads() -> None:
    """In a forked child the pool's threads do not exist: waiting for them would never end."""
    global _region
    _pool.cache_clear()
    _region = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """Whether no thread deals out work already; if so, none begins to until the end of this."""
    region = _region
    taken = region.acquire(blocking=False)
    try:
        yield taken
    finally:
        if taken:
            region.release()


def parallel_map(function: Callable[[T], Any], items: Sequence[T]) -> list[Any]:
    """``[function(item) for item in items]``, the items dealt out to the CPU threads in turn.

    Which thread takes which item is fixed, and results come back in order: a sum over them is the
    same in every run. A call from inside a worker, or while another thread is in here, runs
    serially. BLAS is held to one thread also for a single item: its own threads go on spinning
    when they are done, which takes the cores from whatever runs next.
    """
    with alone() as is_alone:
        if thread_count() == 1 or not items or not is_alone:
            return [function(item) for item in items]
        return _dealt_out(function, items)


def _dealt_out(function: Callable[[T], Any], items: Sequence[T]) -> list[Any]:
    workers = min(thread_count(), len(items))
    results: list[Any] = [None] * len(items)

    def work(worker: int) -> None:
        _state.working = True
        try:
            for i in range(worker, len(items), workers):
                results[i] = function(items[i])
        finally:
            _state.working = False

    with _blas().limit(limits=1):
        others = [_pool().submit(work, worker) for worker in range(1, workers)]
        try:
            work(0)
        finally:
            for other in others:
                other.exception()  # wait: nothing may still write when this returns
        for other in others:
            other.result()
    return results


def is_working() -> bool:
    """Whether this thread is at work on an item of `parallel_map`, so splitting gains nothing."""
    return _state.working


def by_parts(xp: Any, task: Callable[[slice], Any], count: int, least: int = 1) -> list[Any]:
    """``task`` on ``count`` items (a batch): in parts side by side on the CPU, at once on a GPU.

    The number of parts is fixed (16, but no part below ``least`` items), so that sums over parts
    do not depend on the machine.
    """
    if xp is not np:
        return [task(slice(0, count))]
    return parallel_map(task, parts_of(count, least) or [slice(0, 0)])


def parts_of(count: int, least: int = 1) -> list[slice]:
    """The parts of a batch of ``count``, all but the last of one size."""
    return spans(count, max(least, -(-count // PARTS)))


def workspace(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Scratch memory of this thread, reused from call to call; its contents are left over.

    Holding on to the pages matters as much as saving the call: fresh memory from the system costs
    a page fault for every 4 kB.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffers: dict[str, np.ndarray] = _workspace.__dict__
    if name not in buffers or buffers[name].size < size:
        buffers[name] = np.empty(size, np.uint8)
    array: np.ndarray = buffers[name][:size].view(dtype).reshape(shape)
    return array


def spans(count: int, step: int) -> list[slice]:
    """``count`` items cut into slices of ``step`` (the last may be shorter)."""
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
