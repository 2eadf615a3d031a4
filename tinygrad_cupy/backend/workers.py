"""Threads that do shares of work, and the ways to wait for them that Ctrl-C leaves in order.

`threading.Event`, semaphores and the executors of `concurrent.futures` are written in Python: an
interrupt in one of them can leave its inner lock locked, and the thread that should set it for ever
waiting. What is here is made of the interpreter's own locks and queues, each call one step.
"""

from __future__ import annotations

import queue
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable


class Flag:
    """Raised once, by `hoist`."""

    def __init__(self) -> None:
        self.is_up = False
        self._lock = allocate_lock()
        self._lock.acquire()

    def hoist(self) -> None:
        self.is_up = True
        self._lock.release()

    def wait(self, seconds: float = 1.0) -> bool:
        """Whether it is up, within so many seconds."""
        if not self.is_up and self._lock.acquire(timeout=seconds):
            self._lock.release()  # for others that wait
        return self.is_up


class Share:
    """What one of the threads does, unless it was given up before."""

    def __init__(self, task: Callable[[], None]) -> None:
        self.task: Callable[[], None] | None = task
        self.error: BaseException | None = None
        self.done = Flag()

    def _is_for(self, taker: str) -> bool:
        """Whether ``taker`` was the first to ask: one step, which only one of several can do."""
        return bool(self.__dict__.setdefault("taker", taker) == taker)

    def run(self) -> None:
        if not self._is_for("thread"):
            return
        try:
            assert self.task is not None
            self.task()
        except BaseException as error:
            self.error = error
        finally:
            self.task = None
            self.done.hoist()

    def give_up(self) -> None:
        """See to it that no thread is at it when this returns."""
        if self._is_for("nobody"):
            self.task = None
        else:
            self.wait()

    def wait(self) -> None:
        while not self.done.is_up:
            self.done.wait()


class Pool:
    """Threads that do shares, started when they are first wanted."""

    def __init__(self) -> None:
        self.shares: queue.SimpleQueue[Share | None] = queue.SimpleQueue()
        self.started = 0

    def give(self, shares: list[Share]) -> None:
        """Have the shares done; here and now where the system has no thread for them."""
        while self.started < len(shares):
            try:
                start_new_thread(_serve, (self.shares,))
            except RuntimeError:
                break
            self.started += 1
        for share in shares:
            self.shares.put(share) if self.started else share.run()

    def shutdown(self) -> None:
        """Let the threads end."""
        while self.started:
            self.shares.put(None)
            self.started -= 1


def _serve(shares: queue.SimpleQueue[Share | None]) -> None:
    while (share := shares.get()) is not None:
        share.run()
        del share  # or its results would live until the next
