"""What checkpoints cost of a whole `tinygrad-cupy train`.

    python -m benchmarks.checkpoints --dataset mnist --model medium --epochs 5 [--result FILE.json]

All other words are options of `train`. The time is that of the command from its first line on, data
and test included. A checkpoint costs the seconds in which training stands still for it (its arrays
are fetched, the one before is waited for), and those of a processor that writes it meanwhile, which
`Checkpoints` measures itself; the disk's own time costs nobody anything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from tinygrad_cupy import backend
from tinygrad_cupy.cli import main
from tinygrad_cupy.nn import Checkpoints
from tinygrad_cupy.nn.checkpoint import _Writing

from . import report
from .steps_ours import device_name, versions


def timed(owner: type, name: str) -> list[float]:
    """Seconds of each call of a method from now on."""
    seconds: list[float] = []
    method: Callable[..., Any] = getattr(owner, name)

    @wraps(method)
    def noting(*arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*arguments)
        finally:
            seconds.append(time.perf_counter() - started)

    setattr(owner, name, noting)
    return seconds


def measure(words: list[str]) -> dict[str, Any]:
    """Seconds of the command, and of its checkpoints."""
    writing, spent = timed(_Writing, "run"), 0.0
    wait = Checkpoints.wait

    def noting(checkpoints: Checkpoints) -> Path | None:
        nonlocal spent
        path = wait(checkpoints)
        spent = checkpoints.spent
        return path

    Checkpoints.wait = noting  # type: ignore[method-assign]
    still = timed(Checkpoints, "begin")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        code = main(["train", *words, "--out", f"{folder}/run"])
        seconds = time.perf_counter() - started
    if code:
        raise SystemExit(code)
    return {
        "seconds": seconds,
        "checkpoints": len(still),
        "begun_in_seconds": still,
        "written_in_seconds": writing,
        "cost_seconds": spent,
        "share": spent / seconds,
    }


def ran(words: list[str]) -> None:
    """Measure, print a line, and write all of it where that is asked for."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--result", type=Path)
    options, rest = parser.parse_known_args(words)
    found = measure(rest)
    count = found["checkpoints"]
    if not count:  # the words ask for help alone
        return
    still, disk = (sum(found[f"{name}_in_seconds"]) / count for name in ("begun", "written"))
    print(
        f"{count} checkpoints, training stood still {1000 * still:.1f} ms for each, written in "
        f"{1000 * disk:.0f} ms meanwhile: with the processor's time {found['share']:.2%} of "
        f"{found['seconds']:.1f} s"
    )
    if options.result:
        device = backend.default_device()
        head = report.facts(report.command("checkpoints"), device_name(device), versions(device))
        report.write(options.result, head | found)


if __name__ == "__main__":
    ran(sys.argv[1:])
