"""Worker processes that make batches, and what becomes of them when something goes wrong.

A worker is a fresh interpreter ("spawn"), so that it inherits neither locks of threads nor a CUDA
context, and has one connection to the process that started it. Tasks go down, results come up, each
with its key; whoever wants a result waits for its key, so that the order of batches is that of the
tasks. A worker ends with its parent, also in the middle of its work; a parent notices at once when
a worker is gone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import random
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from multiprocessing import connection
from typing import Any, NoReturn

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.random import generator

from .dataset import DataError

AHEAD = 2  # batches that each worker may have before it
WATCH_SECONDS = 1.0  # how often an idle worker looks whether its parent is there
END_SECONDS = 5.0  # that a worker has to end by itself

Fetch = Callable[[np.ndarray], Any]
Task = tuple[tuple[int, ...], np.ndarray]  # what the batch's random numbers come from, and its rows


class SampleError(RuntimeError):
    """A sample, or a batch of them, could not be made; `index` is its row, None for a batch.

    Its cause is the dataset's error: itself, or from a worker process its traceback as text.
    """

    def __init__(self, text: str, index: int | None = None) -> None:
        super().__init__(text)
        self.index = index


class WorkerError(RuntimeError):
    """A worker process ended, or could not begin."""


class WorkerTraceback(Exception):
    """A traceback of another process."""

    def __init__(self, text: str) -> None:
        super().__init__(f"in a worker process:\n{text}")


# --- the parent's side --------------------------------------------------------------------------


class _Worker:
    def __init__(self, context: Any, fetch: Fetch | None) -> None:
        self.conn, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, fetch), daemon=True)
        self.process.start()
        theirs.close()
        self.tasks = 0  # given and not answered


class Pool:
    """`count` processes that call `fetch`, each time with random numbers begun anew."""

    def __init__(self, fetch: Fetch, count: int, method: str = "spawn") -> None:
        self.owner = os.getpid()
        self.results: dict[Hashable, tuple[bool, Any]] = {}
        self.dropped: set[Hashable] = set()
        self._session = 0
        payload = None if method == "fork" else _pickled(fetch)
        context = multiprocessing.get_context(method)
        self.workers: list[_Worker] = []
        self._close = weakref.finalize(self, _end, self.workers, self.owner)
        for _ in range(count):
            self.workers.append(_Worker(context, fetch if payload is None else None))
        if payload is not None:
            for worker in self.workers:  # after all have begun: a large one is waited for
                self._send(worker, payload)

    def close(self) -> None:
        """End the processes."""
        self._close()

    def map(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """What `fetch` makes of each task, in their order, some being made ahead."""
        self._session += 1
        session, given, taken = self._session, 0, 0
        waiting = iter(tasks)
        try:
            while True:
                while given - taken < AHEAD * len(self.workers):
                    task = next(waiting, None)
                    if task is None:
                        break
                    self._give((session, given), task)
                    given += 1
                if taken == given:
                    return
                taken += 1
                yield self._result((session, taken - 1))
        finally:
            for number in range(taken, given):  # nobody will ask for them
                if self.results.pop((session, number), None) is None:
                    self.dropped.add((session, number))

    def _give(self, key: Hashable, task: Task) -> None:
        worker = min(self.workers, key=lambda worker: worker.tasks)
        worker.tasks += 1
        self._send(worker, pickle.dumps((key, task)))

    def _send(self, worker: _Worker, data: bytes) -> None:
        try:
            worker.conn.send_bytes(data)
        except OSError:
            self._lost(worker)
        except BaseException:  # Ctrl-C: half of it may be on its way
            self.close()
            raise

    def _result(self, key: Hashable) -> Any:
        while key not in self.results:
            self._receive()
        good, found = self.results.pop(key)
        if good:
            return found
        text, index, trace = found
        raise SampleError(text, index) from WorkerTraceback(trace)

    def _receive(self) -> None:
        """Wait for a result of any worker, or for the end of one."""
        conns = {worker.conn: worker for worker in self.workers}
        ends = {worker.process.sentinel: worker for worker in self.workers}
        ready: list[Any] = connection.wait([*conns, *ends])
        worker = next((conns[one] for one in ready if one in conns), None)
        if worker is None:
            self._lost(ends[ready[0]])
        key, good, found = self._answer_of(worker)
        worker.tasks -= 1
        if key in self.dropped:
            self.dropped.remove(key)
        else:
            self.results[key] = good, found

    def _answer_of(self, worker: _Worker) -> Any:
        try:
            key, good, found = pickle.loads(worker.conn.recv_bytes())
        except (EOFError, OSError):
            self._lost(worker)
        except BaseException:  # Ctrl-C: half of it may have been read
            self.close()
            raise
        if key is None:
            self.close()
            raise _unreadable(found)
        return key, good, found

    def _lost(self, worker: _Worker) -> NoReturn:
        """Raise: a worker is gone. What it said last is the reason, where it said something."""
        if worker.conn.poll():
            with contextlib.suppress(EOFError, OSError):
                if (said := pickle.loads(worker.conn.recv_bytes()))[0] is None:
                    self.close()
                    raise _unreadable(said[2])
        worker.process.join(END_SECONDS)
        code, pid = worker.process.exitcode, worker.process.pid
        self.close()
        raise WorkerError(f"[DataLoader] worker process {pid} ended {_reason(code)}") from None


def _unreadable(said: tuple[str, None, str]) -> WorkerError:
    error = WorkerError(
        "[DataLoader] a worker process cannot read the dataset: define its class at the top of a "
        f"module that can be imported ({said[0]})"
    )
    error.__cause__ = WorkerTraceback(said[2])
    return error


def _reason(code: int | None) -> str:
    if code == -9:  # SIGKILL
        return "(SIGKILL): perhaps the system ran out of memory"
    if code is not None and code < 0:
        return f"(signal {-code})"
    if code == 1:
        return (
            "(exit code 1): what a script does with num_workers stands under "
            '`if __name__ == "__main__":`'
        )
    return f"(exit code {code})"


def _pickled(fetch: Fetch) -> bytes:
    try:
        return pickle.dumps(fetch, protocol=5)
    except Exception as error:
        raise DataError(
            f"[DataLoader] num_workers: the dataset, or collate, cannot be sent to a worker "
            f"process ({type(error).__name__}: {error}): define its class and functions at the top "
            'of a module, or give worker_method="fork"'
        ) from error


def _end(workers: list[_Worker], owner: int) -> None:
    """Close the connections, at which workers end; those that do not are killed."""
    if os.getpid() != owner:  # a forked child: they are not its own
        return
    for worker in workers:
        worker.conn.close()
    for worker in workers:
        worker.process.join(END_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(END_SECONDS)
    workers.clear()


# --- the worker's side --------------------------------------------------------------------------


def _work(conn: Any, fetch: Fetch | None) -> None:
    """Answer tasks until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this
    backend.set_default_device("cpu")
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(conn, tasks), daemon=True).start()
    if fetch is None:
        try:
            fetch = pickle.loads(tasks.get())
        except Exception as error:
            _answer(conn, None, False, (str(error), None, traceback.format_exc()))
            return
    assert fetch is not None
    while True:
        key, (seed, rows) = pickle.loads(tasks.get())
        _begin_random(seed)
        try:
            found, good = fetch(rows), True
        except Exception as error:
            index = getattr(error, "index", None)
            found, good = (str(error), index, traceback.format_exc()), False
        _answer(conn, key, good, found)


def _begin_random(seed: tuple[int, ...]) -> None:
    """Have the random numbers of Python, NumPy and this library follow from `seed` alone."""
    words = np.random.SeedSequence(seed[0], spawn_key=seed[1:]).generate_state(10)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:8])  # noqa: NPY002 - what datasets draw from
    # Of the CPU alone: a forked process must not touch what its parent has on a GPU.
    generator.seed, generator.counters = int(words[8:].view(np.uint64)[0]), {}


def _listen(conn: Any, tasks: queue.SimpleQueue[bytes]) -> None:
    """Take tasks off the connection at once, so that the parent never waits to give one.

    In a thread of its own, which ends the process when there is nobody left to answer to.
    """
    above = os.getppid()  # the parent, or the server that forks for it and ends with it
    try:
        while True:
            while not conn.poll(WATCH_SECONDS):
                if os.getppid() != above:
                    os._exit(1)
            tasks.put(conn.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


def _answer(conn: Any, key: Hashable, good: bool, found: Any) -> None:
    try:
        data = pickle.dumps((key, good, found), protocol=5)
    except Exception as error:
        text = f"[DataLoader] a batch cannot be sent from a worker process: {error}"
        data = pickle.dumps((key, False, (text, None, traceback.format_exc())))
    with contextlib.suppress(OSError):
        conn.send_bytes(data)
