"""Python processes that call a function for this one.

Each is a program of its own, not a fork: a fork copies locks that other threads hold, and a spawned
child would run the user's script again. It ends with this process, whose end closes its input.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any, Self, TypeVar, cast

from .picture import NotHereError, no_pillow_warnings, stay_small

Item = TypeVar("Item")
Result = TypeVar("Result")

PROGRAM = "from tinygrad_cupy.datasets.processes import serve; serve()"


class Processes:
    """So many processes, for as long as the ``with`` block lasts."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._all: list[subprocess.Popen[bytes]] = []
        self._free: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        path = os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, "PYTHONPATH": path, "TINYGRAD_CUPY_DEVICE": "cpu"}
        for _ in range(self.count):
            process = None
            with contextlib.suppress(OSError, ValueError):  # else all is done here
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", PROGRAM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for this process
                )
                self._all.append(process)
            self._free.put(process)
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._all:
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what it had not been told yet
                        stream.close()
            process.wait()

    def run(self, function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        """[function(item) for item in items] by a process that is free.

        What that cannot do, and all of it where the process has died, is done here. Called by at
        most `count` threads at a time.
        """
        process = self._free.get()
        answer = None
        if process is not None:
            try:
                answer = _asked(process, function, items)
            except (OSError, EOFError, pickle.UnpicklingError):  # it was killed
                process = None
        self._free.put(process)
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            return [function(item) for item in items]
        done: list[Result]
        done, left = answer
        for index in left:
            done[index] = function(items[index])
        return done


def _asked(
    process: subprocess.Popen[bytes], function: Callable[[Item], Result], items: list[Item]
) -> Any:
    stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    pickle.dump((function, items), stdin, pickle.HIGHEST_PROTOCOL)
    stdin.flush()
    return pickle.load(stdout)


def serve() -> None:
    """What each process does: answer until its input ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    stay_small()
    with no_pillow_warnings(), contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            function, items = pickle.load(requests)
            pickle.dump(_answer(function, items), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()


def _answer(function: Callable[[Any], Any], items: list[Any]) -> Any:
    """The results, and the numbers of those that are to be found elsewhere; or an exception."""
    done: list[Any] = [None] * len(items)
    left = []
    for index, item in enumerate(items):
        try:
            done[index] = function(item)
        except NotHereError:
            left.append(index)
        except Exception as error:
            return error
    return done, left
