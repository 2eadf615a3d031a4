"""A process that holds one implementation and measures it when told to.

    python -m benchmarks.worker KIND DEVICE DATA_DIR

Started by `processes.Worker`. Reads one JSON request per line from its standard input and answers
each with one line; what libraries print goes to the standard error. KIND is "ours", "torch" or
"jax": only that library is imported.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .cells import Cell, read_data, runner_of

COMPILERS = 8  # threads that compile at a time


class Bench:
    """The requests by name. A cell travels as a list, see `Cell`."""

    def __init__(self, kind: str, device: str, data_dir: str | None) -> None:
        self.kind, self.device = kind, device
        self.steps: Any = importlib.import_module(f".steps_{kind}", __package__)
        self.dataset = read_data(data_dir)
        self.runners: dict[Cell, Any] = {}

    def hello(self) -> dict[str, Any]:
        """The versions of the libraries."""
        return {"versions": self.steps.versions(self.device)}

    def prepare(self, cells: list[list[Any]], steps: int) -> dict[str, Any]:
        """Make the cells ready (JAX's compile side by side) and do the first steps of each.

        Answers with, by cell in the order of the request, the losses of those steps, the seconds
        that all this took, and the peak of the device's memory.
        """
        wanted = [Cell(*cell) for cell in cells]
        if self.kind == "jax":
            self.steps.jax_data(self.dataset)  # uploaded once, before threads need it
            with ThreadPoolExecutor(COMPILERS) as pool:
                made = list(pool.map(self._make, wanted))
        else:
            made = [self._make(cell) for cell in wanted]
        begun = [self._begin(*each, steps) for each in zip(wanted, made, strict=True)]
        return {"cells": begun}

    def _make(self, cell: Cell) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            self.runners[cell] = runner_of(cell)(cell, self.dataset, self.device)
        except Exception as error:
            return failure(error)
        return {"seconds": time.perf_counter() - started}

    def _begin(self, cell: Cell, made: dict[str, Any], steps: int) -> dict[str, Any]:
        """The first steps of a cell; `made` is what making it came to."""
        if "error" in made:
            return made
        started = time.perf_counter()
        runner = self.runners[cell]
        try:
            losses = runner.losses(steps)
        except Exception as error:
            return failure(error)
        seconds = made["seconds"] + time.perf_counter() - started
        facts = {"peak_bytes": runner.peak_bytes, "data_bytes": runner.data_bytes}
        return {"losses": losses, "seconds": seconds, **facts}

    def calibrate(self, cell: list[Any], seconds: float) -> dict[str, Any]:
        """How many steps take about so many seconds."""
        runner = self.runners[Cell(*cell)]
        steps = runner.steps_per_call
        while True:
            started = time.perf_counter()
            runner.run(steps)
            took = time.perf_counter() - started
            if took >= seconds / 4:
                calls = max(1, round(seconds / took * steps / runner.steps_per_call))
                return {"steps": calls * runner.steps_per_call}
            steps *= 2 if took > seconds / 16 else 4

    def time(self, cell: list[Any], steps: int, warm: int) -> dict[str, Any]:
        """Seconds per step of so many steps, after a few that are not timed."""
        runner = self.runners[Cell(*cell)]
        runner.run(-(-warm // runner.steps_per_call) * runner.steps_per_call)
        started = time.perf_counter()
        runner.run(steps)
        return {"seconds": (time.perf_counter() - started) / steps}

    def drop(self) -> dict[str, Any]:
        """Forget all cells and free their memory."""
        self.runners.clear()
        self.steps.release(self.device)
        return {}


def failure(error: Exception) -> dict[str, Any]:
    """The answer to a request that failed; where it did is for the standard error."""
    traceback.print_exception(error, limit=-3)
    return {"error": f"{type(error).__name__}: {error}"[:400]}


def main() -> None:
    kind, device, data_dir = sys.argv[1:4]
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # compilers' processes must not read our requests
    os.dup2(2, 1)
    bench: Bench | None = None
    for line in requests:
        request: dict[str, Any] = json.loads(line)
        try:
            bench = bench or Bench(kind, device, data_dir or None)
            reply = getattr(bench, request.pop("do"))(**request)
        except Exception as error:
            reply = failure(error)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
