"""The same done to many files, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tinygrad_cupy.backend.cpu_threads import thread_count

CHUNK = 64  # files per task: one task each would cost more than decoding a small picture

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # so many are done, of how many


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], progress: Progress | None = None
) -> list[Result]:
    """[function(item) for item in items] on the CPU threads; stops at the first error.

    Not by `parallel_map`: there the main thread does a share, in which Ctrl-C could take the room
    that a picture waits for (`picture._Room`) along.
    """
    todo = list(items)
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    pool = ThreadPoolExecutor(thread_count())
    done: list[Result] = []
    try:
        for part in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            done += part
            if progress is not None:
                progress(len(done), len(todo))
        return done
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest is not done
