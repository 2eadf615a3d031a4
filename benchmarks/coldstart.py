"""Seconds from the start of a process to the end of its first train step.

    python -m benchmarks.coldstart [--device cuda|cpu] [--nets small,medium,deep] [--rounds 3]
                                   [--impls ours,torch-eager,jax-jit] [--out FILE]

A new process each time: interpreter, imports, the embedded digits, weights, upload, one step at
batch 128. Cold: with empty caches of compiled kernels, CuPy's, the driver's and our own (which also
holds the C that the CPU compiles, and the decoded digits); warm: with what the cold start has left.
Other libraries are started the same way, as warm as they are.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from . import report
from .cells import Cell, read_digits
from .processes import clean_environment

Row = dict[str, Any]


def first_step(cell: Cell, device: str) -> dict[str, Any]:
    """In the new process: do one step; tell when it was ready to, and when it was done."""
    kind = cell.impl.partition("-")[0]
    steps: Any = importlib.import_module(f".steps_{kind}", __package__)
    runner = getattr(steps, kind.capitalize())(cell, read_digits(), device)
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


def measure(cell: Cell, device: str, rounds: int) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Rows of a cell, each with what the last process told; the first start of all is not kept.

    That one brings the libraries' files from the disk into memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        start(cell, device, folder)
        caches = ["cold", "warm"] if cell.impl.startswith("ours") else ["warm"]
        for cache in caches:
            told = []
            for turn in range(rounds):
                place = f"{folder}/{turn}" if cache == "cold" else folder
                told.append(start(cell, device, place))
            row = {
                "impl": cell.impl, "net": cell.net, "batch": cell.batch, "cache": cache,
                "seconds": round(median(each["done"] for each in told), 3),
                "ready_seconds": round(median(each["ready"] for each in told), 3),
            }  # fmt: skip
            yield row, told[-1]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        device, cell = sys.argv[2:4]
        print(json.dumps(first_step(Cell(*json.loads(cell)), device)))
        return
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--nets", type=names, default=["small", "medium", "deep"])
    parser.add_argument("--impls", type=names, default=["ours"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    command = report.command("coldstart")
    precision = "fp32" if options.device == "cpu" else "tf32"
    rows: list[Row] = []
    versions: dict[str, str] = {}
    name: str | None = None
    for impl in options.impls:
        for net in options.nets:
            try:
                for row, told in measure(
                    Cell(impl, net, 128, precision), options.device, options.rounds
                ):
                    versions, name = versions | told["versions"], told["device"] or name
                    rows.append(row)
                    print(
                        f"{impl:12}{net:8}{row['cache']:5}{row['seconds']:8.2f} s, of which "
                        f"{row['ready_seconds']:.2f} s before the step", flush=True,
                    )  # fmt: skip
            except subprocess.SubprocessError as error:
                print(f"FAILED {impl} {net}: {error}", file=sys.stderr, flush=True)
            if options.out:
                report.write(options.out, report.facts(command, name, versions) | {"rows": rows})


if __name__ == "__main__":
    main()
