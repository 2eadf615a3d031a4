"""What checkpoints cost of a whole `tinygrad-cupy train`.

    python -m benchmarks.checkpoints --dataset mnist --model medium --epochs 5

All words are options of `train`. The time is that of the command from its first line on, data and
test included; what a checkpoint costs, `Checkpoints` measures itself.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tinygrad_cupy.cli import main
from tinygrad_cupy.nn import Checkpoints


def measure(words: list[str]) -> tuple[float, list[float]]:
    """Seconds of the command, and of each checkpoint that it wrote."""
    costs: list[float] = []
    write = Checkpoints.write

    def noting(checkpoints: Checkpoints, *arguments: Any) -> Path | None:
        path = write(checkpoints, *arguments)
        costs.append(checkpoints.cost)
        return path

    Checkpoints.write = noting  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        code = main(["train", *words, "--out", f"{folder}/run"])
        seconds = time.perf_counter() - started
    if code:
        raise SystemExit(code)
    return seconds, costs


if __name__ == "__main__":
    seconds, costs = measure(sys.argv[1:])
    if costs:  # none where the words ask for help alone
        each = 1000 * sum(costs) / len(costs)
        share = sum(costs) / seconds
        print(f"{len(costs)} checkpoints of {each:.0f} ms in {seconds:.1f} s: {share:.2%}")
