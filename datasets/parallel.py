"""The same done to many files, side by side: in threads, or in processes where those pay.

Small pictures are decoded in Python for the most part, where threads wait for each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tinygrad_cupy.backend.cpu_threads import thread_count

from .processes import Processes

CHUNK = 32  # files per task: one task each would cost more than decoding a small picture
WORTH_A_THREAD = 0.002  # seconds that an item takes; small pictures take less, in Python mostly
WORTH_A_PROCESS = 5.0  # seconds that all items take: to start one takes about one

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # so many are done, of how many


def in_parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    progress: Progress | None = None,
    *,
    apart: bool = False,
) -> Iterator[Result]:
    """function(item) for each of the items, in order, by other threads; stops at the first error.

    In one thread where an item takes so little time that several would only wait for each other's
    interpreter lock. With `apart`, many such items are given to processes: then the function is one
    that pickle finds, and it may raise `NotHereError` there, to be called here.

    Not by `parallel_map`: there the main thread does a share, in which Ctrl-C could take the room
    that a picture waits for (`picture._Room`) along.
    """
    todo = list(items)
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    done = 0

    def run(chunk: list[Item]) -> list[Result]:
        return [function(item) for item in chunk]

    def results(
        run: Callable[[list[Item]], list[Result]], part: slice, threads: int
    ) -> Iterator[Result]:
        nonlocal done
        pool = ThreadPoolExecutor(threads)
        try:
            for found in pool.map(run, chunks[part]):
                yield from found
                done += len(found)
                if progress is not None:
                    progress(done, len(todo))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not done

    started, worked = time.perf_counter(), time.process_time()
    yield from results(run, slice(1), 1)
    each = (time.perf_counter() - started) / max(1, done)
    rest, threads = slice(1, None), thread_count()
    if time.process_time() - worked > WORTH_A_THREAD * done:
        yield from results(run, rest, threads)
    elif apart and threads > 1 and each * (len(todo) - done) > WORTH_A_PROCESS:
        with Processes(threads) as processes:
            yield from results(lambda chunk: processes.run(function, chunk), rest, threads)
    else:
        yield from results(run, rest, 1)
