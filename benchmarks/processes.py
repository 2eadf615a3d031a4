"""The measuring processes, seen from the one that directs them: start, ask, wait, end."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import Any, TypeVar

Run = TypeVar("Run", bound=tuple[Any, ...])


def side_by_side(
    pool: Executor, jobs: int, end: float, task: Callable[..., Any], runs: Iterable[Run]
) -> Iterator[tuple[Run, Future[Any] | None]]:
    """Each run's arguments with what ``task(*run)`` gave, as it is done; `jobs` runs at once.

    None is begun after ``end``, of the monotonic clock: those have None in their place.
    """
    left, running = deque(runs), dict[Future[Any], Run]()
    while left or running:
        while left and len(running) < jobs and time.monotonic() < end:
            run = left.popleft()
            try:
                running[pool.submit(task, *run)] = run
            except BrokenExecutor as error:  # a process of it has died
                failed: Future[Any] = Future()
                failed.set_exception(error)
                yield run, failed
        if not running:
            yield from ((run, None) for run in left)
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future


class WorkerError(RuntimeError):
    """A process that failed, died or took too long; the text says which."""


def clean_environment(threads: int | None = None) -> dict[str, str]:
    """The environment of a measuring process.

    Without OPENBLAS_*, which a user's machine does not set and which can halve the speed of
    NumPy's products; JAX takes device memory as it needs it. `threads` for a CPU.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    kept["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    kept.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")  # several processes compile at a time
    if threads is not None:
        kept["TINYGRAD_CUPY_THREADS"] = kept["OMP_NUM_THREADS"] = str(threads)
    return kept


class Worker:
    """One `benchmarks.worker`. Requests may be sent ahead; answers come in their order.

    `checkout` is the folder whose code it runs, this one's where nothing else is said.
    """

    def __init__(
        self,
        kind: str,
        device: str,
        data_dir: str | None,
        threads: int | None,
        checkout: Path | None = None,
    ) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", kind, device, data_dir or ""]
        environment = clean_environment(threads)
        if kind != "ours":  # the weights come from our models, on the CPU
            environment["TINYGRAD_CUPY_DEVICE"] = "cpu"
        self.name = kind
        self.unread = b""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=checkout,
        )
        self.send("hello")
        self.greeted = False
        self.facts: dict[str, Any] = {}

    def send(self, do: str, **arguments: Any) -> None:
        if self.process.stdin is None:
            raise WorkerError(f"[{self.name}] no way to its standard input")
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerError(f"[{self.name}] its process has ended") from error

    def receive(self, timeout: float) -> dict[str, Any]:
        """The next answer; WorkerError when it is an error, does not come or does not come soon."""
        if not self.greeted:
            self.greeted = True
            self.facts = self.receive(max(timeout, 120.0))
        reply: dict[str, Any] = json.loads(self._line(timeout))
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def _line(self, timeout: float) -> bytes:
        stream = self.process.stdout
        if stream is None:
            raise WorkerError(f"[{self.name}] no way from its standard output")
        # Requests may have been sent ahead: what comes behind a line's end is the next answer's.
        end = time.monotonic() + timeout
        while b"\n" not in self.unread:
            left = end - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                self.close()
                raise WorkerError(f"[{self.name}] no answer in {timeout:.0f} s")
            part = os.read(stream.fileno(), 1 << 20)
            if not part:
                code = self.process.wait()
                raise WorkerError(f"[{self.name}] its process ended with code {code}")
            self.unread += part
        line, _, self.unread = self.unread.partition(b"\n")
        return line

    def ask(self, do: str, timeout: float = 60.0, **arguments: Any) -> dict[str, Any]:
        self.send(do, **arguments)
        return self.receive(timeout)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """End the process and wait for its end."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
