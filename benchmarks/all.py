"""All benchmarks on one GPU, the most wanted first, within a number of minutes.

    python -m benchmarks.all --out-dir benchmarks/results [--name h200] [--minutes 20]
                             [--data-dir DIR] [--only train_step,accuracy]

Each is a process of its own with what is left of the time; what one has measured when its time is
up stays in its file. `benchmarks.tables` and `benchmarks.pictures` then make tables and pictures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

# Module, suffix of its file, its options, and the most minutes it may take.
PLAN: list[tuple[str, str, list[str], float]] = [
    ("train_step", "", [], 9),
    ("train_step", "_wide", ["--suite", "wide"], 8),
    ("accuracy", "_accuracy", ["--jobs", "4"], 5),
    ("coldstart", "_coldstart", [], 3),
    ("scaling", "_scaling", [], 4),
    ("ops", "_ops", [], 2),
    ("ops", "_arrays", ["--arrays"], 3),
    ("science", "_science", [], 3),
    ("long_run", "_long_run", [], 2),
]
OWN_CLOCK = ("train_step", "scaling", "accuracy")  # these stop by themselves
WITH_DATA = ("train_step", "scaling", "accuracy", "long_run")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out-dir", type=Path, required=True)
    parser.add_argument("--name", default="h200", help="how the files' names begin; no _")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data-dir")
    parser.add_argument("--only", default=",".join(module for module, *_ in PLAN))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    worst = 0
    for module, suffix, arguments, most in PLAN:
        left = min(most, (end - time.monotonic()) / 60)
        if module not in options.only.split(",") or left <= 0:
            continue
        command = [sys.executable, "-m", f"benchmarks.{module}", "--device", options.device]
        command += ["--out", str(options.out_dir / f"{options.name}{suffix}.json"), *arguments]
        if module in OWN_CLOCK:
            command += ["--minutes", f"{left:.1f}"]
        if module in WITH_DATA and options.data_dir:
            command += ["--data-dir", options.data_dir]
        print(f"\n=== {module} ({left:.1f} minutes)", flush=True)
        started = time.monotonic()
        try:
            code = subprocess.run(command, timeout=60 * (left + 1)).returncode
        except subprocess.TimeoutExpired:
            code = 124
        print(f"=== {module}: code {code}, {time.monotonic() - started:.0f} s", flush=True)
        worst = max(worst, abs(code))
    return worst


if __name__ == "__main__":
    sys.exit(main())
