"""Our train step now and at another commit, interleaved in one run.

    git worktree add ../before COMMIT
    python -m benchmarks.against ../before [--device cuda|cpu] [--nets small,medium,deep]
        [--batches 128,1024,8192] [--impls ours,ours-eager] [--precision tf32] [--rounds 9]
        [--processes 3] [--data-dir DIR] [--out FILE]

Each checkout has a process of its own; they take turns, and who begins changes from round to round.
A round's figure is the quotient of its two times, so that what slows the machine down slows both.
Where its memory happens to lie makes a process a few percent faster or slower for all its life, so
that a figure needs several of them. Reported is the median over all rounds, with its quartiles, and
the quotient of the shortest times: above 1 the present code is slower.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from . import report
from .cells import Cell
from .processes import Worker
from .steps_ours import device_name, versions

SAMPLE_SECONDS = {"cpu": 1.0, "cuda": 0.3}
STEPS = 16  # of the losses that both must agree on
PATIENCE = 300.0  # seconds for a process to make a step ready


Pair = dict[str, Worker]


def compare(
    start: Callable[[], Pair], cell: Cell, processes: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """A row: the times of both, and their quotients."""
    took: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(processes):
        workers = start()
        try:
            losses = {name: _prepared(worker, cell) for name, worker in workers.items()}
            steps = workers["now"].ask("calibrate", cell=cell, seconds=seconds)["steps"]
            for turn in range(rounds):
                for name in sorted(workers, reverse=bool(turn % 2)):
                    request = {"cell": cell, "steps": steps, "warm": max(1, steps // 4)}
                    took[name].append(workers[name].ask("time", **request)["seconds"])
        finally:
            for worker in workers.values():
                worker.close()
    quotients = [now / before for now, before in zip(took["now"], took["before"], strict=True)]
    low, middle, high = quantiles(quotients, n=4)
    return {
        **cell._asdict(),
        "us": round(median(took["now"]) * 1e6, 2),
        "us_before": round(median(took["before"]) * 1e6, 2),
        "ratio": round(middle, 4),
        "ratio_quartiles": [round(low, 4), round(high, 4)],
        "ratio_of_shortest": round(min(took["now"]) / min(took["before"]), 4),
        "same_losses": losses["now"] == losses["before"],
    }


def _prepared(worker: Worker, cell: Cell) -> list[float]:
    worker.send("prepare", cells=[cell], steps=STEPS)
    (reply,) = worker.receive(PATIENCE)["cells"]
    if "error" in reply:
        raise SystemExit(f"{cell}: {reply['error']}")
    losses: list[float] = reply["losses"]
    return losses


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="a checkout of the other commit")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--nets", type=names, default=["small", "medium", "deep"])
    parser.add_argument("--batches", type=numbers, help="128,1024,8192; on a CPU 32,128,512")
    parser.add_argument("--impls", type=names, default=["ours"])
    parser.add_argument("--precision", default="tf32", help="on a CPU always fp32")
    parser.add_argument("--rounds", type=int, default=9, help="of each pair of processes")
    parser.add_argument("--processes", type=int, default=3, help="pairs, one after the other")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if not (options.before / "benchmarks" / "worker.py").is_file():
        parser.error(f"{options.before} is no checkout with benchmarks/worker.py in it")
    if options.rounds < 3 or options.processes < 1:
        parser.error("expected at least 3 --rounds, for quartiles, and 1 of --processes")
    on_cpu = options.device == "cpu"
    options.batches = options.batches or ([32, 128, 512] if on_cpu else [128, 1024, 8192])
    options.precision = "fp32" if on_cpu else options.precision
    return options


def main() -> int:
    options = parse()
    threads = options.threads if options.device == "cpu" else None
    data = str(Path(options.data_dir).resolve()) if options.data_dir else None
    folders = {  # a process imports benchmarks and tinygrad_cupy from the folder it starts in
        "before": options.before.resolve(),
        "now": Path(__file__).resolve().parent.parent,
    }

    def start() -> Pair:
        return {
            name: Worker("ours", options.device, data, threads, folder)
            for name, folder in folders.items()
        }

    cells = [
        Cell(impl, net, batch, options.precision)
        for impl in options.impls
        for net in options.nets
        for batch in options.batches
    ]
    rows: list[dict[str, Any]] = []
    try:
        for cell in cells:
            seconds = SAMPLE_SECONDS[options.device]
            rows.append(compare(start, cell, options.processes, options.rounds, seconds))
            print(line(rows[-1]), flush=True)
    finally:
        if options.out and rows:
            found = versions(options.device)
            facts = report.facts(report.command("against"), device_name(options.device), found)
            report.write(options.out, facts | {"rows": rows})
    return 0


def line(row: dict[str, Any]) -> str:
    low, high = row["ratio_quartiles"]
    return (
        f"{row['impl']:11}{row['net']:7}{row['batch']:6d} {row['us_before']:11.1f} us before"
        f"{row['us']:11.1f} now  x {row['ratio']:.3f} ({low:.3f} to {high:.3f}), "
        f"of the shortest x {row['ratio_of_shortest']:.3f}"
        f"{'' if row['same_losses'] else '  other losses'}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
