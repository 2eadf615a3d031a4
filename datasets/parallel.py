"""The same done to many files, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tinygrad_cupy.backend.cpu_threads import thread_count

CHUNK = 32  # files per task: one task each would cost more than decoding a small picture
WORTH_A_THREAD = 0.002  # seconds that an item takes; small pictures take less, in Python mostly

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # so many are done, of how many


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], progress: Progress | None = None
) -> list[Result]:
    """[function(item) for item in items] in other threads; stops at the first error.

    In one thread where an item takes so little time that several would only wait for each other's
    interpreter lock. Not by `parallel_map`: there the main thread does a share, in which Ctrl-C
    could take the room that a picture waits for (`picture._Room`) along.
    """
    todo = list(items)
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    done: list[Result] = []

    def run(chunk: list[Item]) -> list[Result]:
        return [function(item) for item in chunk]

    def work(chunks: list[list[Item]], threads: int) -> None:
        pool = ThreadPoolExecutor(threads)
        try:
            for part in pool.map(run, chunks):
                done.extend(part)
                if progress is not None:
                    progress(len(done), len(todo))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not done

    started = time.perf_counter()
    work(chunks[:1], 1)
    each = (time.perf_counter() - started) / max(1, len(done))
    work(chunks[1:], thread_count() if each > WORTH_A_THREAD else 1)
    return done
