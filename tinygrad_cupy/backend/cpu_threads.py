"""Work split over CPU threads, with BLAS held to one thread each.

NumPy releases the interpreter lock in copies, ufuncs and matrix products, so plain Python threads
do run side by side. A batch cut into chunks that fit in the cache gains more that way than one
product that BLAS spreads over threads by itself.

Ctrl-C raises `KeyboardInterrupt` between any two steps of the main thread, also between taking a
lock and the ``try`` that would give it back. So who deals out work holds no lock: his turn is over
when his frame has ended, however that came, and who comes next clears up.
"""

from __future__ import annotations

import functools
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar

import numpy as np

from .cpu_memory import aligned_empty, keep_freed
from .workers import Pool, Share

PARTS = 16  # into how many a batch is cut

T = TypeVar("T")
_workspace = threading.local()


class _State(threading.local):
    work: FrameType | None = None  # in which this thread is at work on items, or was cut short


_state = _State()


@functools.cache
def thread_count() -> int:
    """CPU threads to use: ``$TINYGRAD_CUPY_THREADS``, else the cores this process may run on."""
    wanted = os.environ.get("TINYGRAD_CUPY_THREADS")
    if wanted:
        count = int(wanted) if re.fullmatch("[0-9]{1,9}", wanted) else 0
        if count < 1:
            raise ValueError(f"[TINYGRAD_CUPY_THREADS] expected a whole number ≥ 1, got {wanted!r}")
        return count
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_running(frame: FrameType) -> bool:
    """Whether a call has not ended yet; one that has lets go of its variables."""
    try:
        frame.clear()
    except RuntimeError:
        return True
    return False


@functools.cache
def _pool() -> Pool:
    keep_freed()
    return Pool()


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController  # looks at every library: on first use

    return ThreadpoolController().select(user_api="blas")


# --- whose turn it is ---------------------------------------------------------------------------


class _Turn:
    """Of one call, by its frame, to deal out work. The turn after it is its attribute ``next``."""

    def __init__(self, frame: FrameType | None) -> None:
        self.frame = frame

    def is_over(self) -> bool:
        frame = self.frame
        return frame is None or not _is_running(frame)


class _Region:
    """A context in which one call at a time deals out work; who finds another there gets False.

    Turns follow each other in a chain, and ``last`` is its end or shortly before it. To add oneself
    to the end is one step, which only one of several threads can do.
    """

    def __init__(self) -> None:
        self.last = _Turn(None)
        self.shares: list[Share] = []  # that may not be done yet
        self.limits: list[tuple[Any, int]] = []  # BLAS libraries and how many threads they had

    def __enter__(self) -> bool:
        last = self._end()
        if not last.is_over():
            return False
        turn = _Turn(sys._getframe(1))
        if last.__dict__.setdefault("next", turn) is not turn:
            return False
        self.last = turn
        if self.shares or self.limits:  # of a call that was cut short
            self.clear_up()
        return True

    def __exit__(self, *_: object) -> None:
        last = self._end()
        if last.frame is sys._getframe(1):
            if self.shares or self.limits:
                self.clear_up()
            last.frame = None

    def _end(self) -> _Turn:
        last = self.last
        while (later := last.__dict__.get("next")) is not None:
            self.last = last = later
        return last

    def locked(self) -> bool:
        """Whether somebody deals out work."""
        return not self._end().is_over()

    def hold_blas(self) -> None:
        """Let BLAS use one thread until this turn is cleared up."""
        for library in _blas().lib_controllers:
            count = library.num_threads
            if count:  # else it does not say
                self.limits.append((library, count))
                library.set_num_threads(1)

    def clear_up(self) -> None:
        """Wait until no other thread is at work, and give BLAS its threads again.

        A Ctrl-C meanwhile is raised at the end: nothing may still write when this returns.
        """
        interrupt = None
        while self.shares:
            try:
                self.shares[-1].give_up()
                self.shares.pop()
            except BaseException as error:
                interrupt = error
        while self.limits:
            library, count = self.limits[-1]
            library.set_num_threads(count)
            self.limits.pop()
        if interrupt is not None:
            raise interrupt


_region = _Region()


def alone() -> _Region:
    """A context: whether no call deals out work already; if so, none begins to until its end."""
    return _region


def _forget_threads() -> None:
    """In a forked child the threads do not exist: waiting for them would never end."""
    global _region
    before, _region = _region, _Region()
    _region.limits = before.limits  # BLAS gets its threads again when it is used next
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


# --- work ---------------------------------------------------------------------------------------


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
    interrupted = False

    def work(worker: int) -> None:
        _state.work = sys._getframe()
        try:
            for i in range(worker, len(items), workers):
                if interrupted:
                    return
                results[i] = function(items[i])
        finally:
            _state.work = None

    shares = [Share(functools.partial(work, worker)) for worker in range(1, workers)]
    _region.shares.extend(shares)
    _region.hold_blas()
    errors: list[BaseException | None] = []
    try:
        _pool().give(shares)
        try:
            work(0)
        except Exception as error:  # raised when the others have done their share
            errors.append(error)
        for share in shares:
            share.wait()
            errors.append(share.error)
            share.error = None  # or it would hold this frame, which holds it
    except BaseException:
        interrupted = True
        raise
    finally:
        _region.clear_up()
    first = next((error for error in errors if error is not None), None)
    try:
        if first is not None:
            raise first
    finally:
        del first, errors
    return results


def is_working() -> bool:
    """Whether this thread is at work on an item of `parallel_map`, so splitting gains nothing."""
    work = _state.work
    return work is not None and _is_running(work)


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


def part_along(x: np.ndarray, axis: int, part: slice) -> np.ndarray:
    """That part of x along ``axis``, which is negative; x where it is broadcast along it."""
    if -axis > x.ndim or x.shape[axis] == 1:
        return x
    key: Any = (..., part, *[slice(None)] * (-1 - axis))
    found: np.ndarray = x[key]
    return found


def workspace(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Scratch memory of this thread, reused from call to call; its contents are left over.

    Where it is large it begins with a line of the cache: vectors that lie across two take as long
    as two.

    Holding on to the pages matters as much as saving the call: fresh memory from the system costs
    a page fault for every 4 kB.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffers: dict[str, np.ndarray] = _workspace.__dict__
    if name not in buffers or buffers[name].size < size:
        buffers[name] = aligned_empty(size, np.uint8)
    array: np.ndarray = buffers[name][:size].view(dtype).reshape(shape)
    return array


def spans(count: int, step: int) -> list[slice]:
    """``count`` items cut into slices of ``step`` (the last may be shorter)."""
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


PARALLEL_SIZE = 1 << 17  # elements; below this, handing work to another thread costs more
