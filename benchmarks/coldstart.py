"""Seconds from the start of a process to the end of its first train step.

    python -m benchmarks.coldstart [--device cuda|cpu] [--nets small,medium,deep] [--rounds 3]
                                   [--suite mnist|wide] [--precision tf32|bf16] [--caches cold,warm]
                                   [--impls ours,torch-eager,jax-jit] [--minutes 4] [--out FILE]

A new process each time: interpreter, imports, the embedded digits, weights, upload, one step at
batch 128. Cold: with empty caches of compiled kernels, CuPy's, the driver's and our own (which also
holds the C that the CPU compiles, and the decoded digits); warm: with what a cold start has left.
Other libraries are started the same way, as warm as they are. The suite "wide" has the nets of
`wide`, at the smaller of their batches.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tinygrad_cupy.nn import models

from . import report, wide
from .cells import Cell, read_digits, runner_of
from .processes import clean_environment

Row = dict[str, Any]


def first_step(cell: Cell, device: str) -> dict[str, Any]:
    """In the new process: do one step; tell when it was ready to, and when it was done."""
    kind = cell.impl.partition("-")[0]
    steps: Any = importlib.import_module(f".steps_{kind}", __package__)
    runner = runner_of(cell)(cell, read_digits(), device)
    ready = time.monotonic()
    runner.losses(1)
    done = time.monotonic()
    versions = steps.versions(device)
    name = steps.device_name(device) if kind == "ours" else None
    return {"ready": ready, "done": done, "versions": versions, "device": name}


def start(cell: Cell, device: str, cache: str, checkout: Path | None = None) -> dict[str, Any]:
    """One start, its times counted from before the process exists.

    `checkout` is the folder whose code it runs, this one's where nothing else is said.
    """
    caches = ("CUPY_CACHE_DIR", "CUDA_CACHE_PATH", "XDG_CACHE_HOME")
    environment = clean_environment() | dict.fromkeys(caches, cache)
    if not cell.impl.startswith("ours"):
        environment["TINYGRAD_CUPY_DEVICE"] = "cpu"
    command = [sys.executable, "-m", "benchmarks.coldstart", "--child", device, json.dumps(cell)]
    started = time.monotonic()
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, check=True, timeout=300, cwd=checkout
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told | {"ready": told["ready"] - started, "done": told["done"] - started}


def measure(
    cell: Cell, device: str, rounds: int, caches: Sequence[str], known: bool
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Rows of a cell, each with what the last process told.

    Unless the libraries are `known`, as another of their nets was measured, a first start is not
    kept: it brings their files from the disk into memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        caches = caches if cell.impl.startswith("ours") else ["warm"]
        if not known or "cold" not in caches:
            start(cell, device, f"{folder}/0" if "cold" not in caches else f"{folder}/first")
        for cache in caches:
            told = []
            for turn in range(rounds):
                told.append(start(cell, device, f"{folder}/{turn if cache == 'cold' else 0}"))
            row = {
                "impl": cell.impl, "net": cell.net, "batch": cell.batch, "cache": cache,
                "seconds": round(median(each["done"] for each in told), 3),
                "ready_seconds": round(median(each["ready"] for each in told), 3),
            }  # fmt: skip
            yield row, told[-1]


def cell_of(impl: str, net: str, precision: str) -> Cell:
    """What is started of a net: batch 128, or the smallest that the wide suite has of its own."""
    batch = min(wide.NETS[net].batches[0]) if net in wide.NETS else 128
    return Cell(impl, net, batch, precision)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        device, cell = sys.argv[2:4]
        print(json.dumps(first_step(Cell(*json.loads(cell)), device)))
        return
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--suite", choices=("mnist", "wide"), default="mnist")
    parser.add_argument("--nets", type=names, help="of the suite; all")
    parser.add_argument("--impls", type=names, default=["ours"])
    parser.add_argument("--precision", help="tf32; on a CPU fp32")
    parser.add_argument("--caches", type=names, default=["cold", "warm"], help="of ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no net after these")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    command, begun = report.command("coldstart"), time.monotonic()
    precision = options.precision or ("fp32" if options.device == "cpu" else "tf32")
    nets = options.nets or list(wide.NETS if options.suite == "wide" else models.MNIST)
    rows: list[Row] = []
    versions: dict[str, str] = {}
    name: str | None = None
    for impl in options.impls:
        for i, net in enumerate(nets):
            if time.monotonic() - begun > 60 * options.minutes:
                print(f"out of time before {impl} {net}", file=sys.stderr, flush=True)
                break
            try:
                how = (options.rounds, options.caches, i > 0)
                for row, told in measure(cell_of(impl, net, precision), options.device, *how):
                    versions, name = versions | told["versions"], told["device"] or name
                    rows.append(row)
                    print(
                        f"{impl:12}{net:13}{row['cache']:5}{row['seconds']:8.2f} s, of which "
                        f"{row['ready_seconds']:.2f} s before the step", flush=True,
                    )  # fmt: skip
            except subprocess.SubprocessError as error:
                print(f"FAILED {impl} {net}: {error}", file=sys.stderr, flush=True)
            if options.out:
                report.write(options.out, report.facts(command, name, versions) | {"rows": rows})


if __name__ == "__main__":
    main()
