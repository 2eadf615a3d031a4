"""How fast processes start, now and at another commit, interleaved in one run.

    git worktree add ../before COMMIT
    python -m benchmarks.starts ../before [--device cuda|cpu] [--nets small,medium,deep]
                                [--imports 25] [--rounds 3] [--out FILE]

Three things, each in new processes that take turns: ``import tinygrad_cupy`` (interpreter and NumPy
included; without a GPU; in processor time, which others on the machine do not lengthen as they do
the clock's); the first train step with caches of compiled code
that are empty (cold), and that an earlier start has filled (warm), as `benchmarks.coldstart` times
it. Reported are the medians of the times and of the quotients of neighbours, and the quotient of
the shortest times: above 1 the present code is slower.
"""

from __future__ import annotations

import argparse
import compileall
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from . import coldstart, report
from .cells import Cell
from .processes import clean_environment
from .steps_ours import device_name, versions

Row = dict[str, Any]


def compare(start: Callable[[str, int], float], rounds: int) -> Row:
    """The seconds that ``start(name, turn)`` takes for ``before`` and ``now``, and quotients."""
    took: dict[str, list[float]] = {"before": [], "now": []}
    for turn in range(rounds):
        for name in sorted(took, reverse=bool(turn % 2)):
            took[name].append(start(name, turn))
    quotients = [now / before for now, before in zip(took["now"], took["before"], strict=True)]
    return {
        "seconds": round(median(took["now"]), 4),
        "seconds_before": round(median(took["before"]), 4),
        "ratio": round(median(quotients), 4),
        "ratio_of_shortest": round(min(took["now"]) / min(took["before"]), 4),
    }


def import_seconds(checkout: Path) -> float:
    """Processor time of an interpreter that imports the engine of ``checkout``, and ends."""
    environment = clean_environment() | {"TINYGRAD_CUPY_DEVICE": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(checkout), *filter(None, [environment.get("PYTHONPATH")])]
    )
    started = _of_children()
    command = [sys.executable, "-c", "import tinygrad_cupy"]
    subprocess.run(command, env=environment, check=True, timeout=120)
    return _of_children() - started


def _of_children() -> float:
    """Processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rows_of(folders: dict[str, Path], options: argparse.Namespace) -> Any:
    """One row after the other, as they are measured."""
    for folder in folders.values():  # as an installed package has it
        for package in ("tinygrad_cupy", "nn", "datasets", "benchmarks"):
            compileall.compile_dir(folder / package, quiet=1)
    yield {"what": "import"} | compare(lambda n, _: import_seconds(folders[n]), options.imports)
    precision = "fp32" if options.device == "cpu" else "tf32"
    for net in options.nets:
        cell = Cell("ours", net, 128, precision)
        with tempfile.TemporaryDirectory() as caches:

            def first(name: str, place: str, cell: Cell = cell, caches: str = caches) -> float:
                folder = f"{caches}/{name}-{place}"
                told = coldstart.start(cell, options.device, folder, folders[name])
                return float(told["done"])

            for name in folders:  # brings the libraries' files into memory, and fills the cache
                first(name, "filled")
            yield {"what": f"first step of {net}, cold"} | compare(
                lambda name, turn: first(name, str(turn)), options.rounds
            )
            yield {"what": f"first step of {net}, warm"} | compare(
                lambda name, _: first(name, "filled"), options.rounds
            )


def main() -> None:
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="a checkout of the other commit")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--nets", type=names, default=["small", "medium", "deep"])
    parser.add_argument("--imports", type=int, default=25, help="of each of the two")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind of first step")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not (options.before / "benchmarks" / "coldstart.py").is_file():
        parser.error(f"{options.before} is no checkout with benchmarks/coldstart.py in it")
    if options.imports < 1 or options.rounds < 1:
        parser.error("expected at least 1 of --imports and of --rounds")
    here = Path(__file__).resolve().parent.parent
    rows: list[Row] = []
    for row in rows_of({"before": options.before.resolve(), "now": here}, options):
        rows.append(row)
        print(
            f"{row['what']:28}{row['seconds_before']:8.3f} s before{row['seconds']:8.3f} s now"
            f"  x {row['ratio']:.3f}, of the shortest x {row['ratio_of_shortest']:.3f}",
            flush=True,
        )
        if options.out:
            command, name = report.command("starts"), device_name(options.device)
            facts = report.facts(command, name, versions(options.device))
            report.write(options.out, facts | {"rows": rows})


if __name__ == "__main__":
    main()
