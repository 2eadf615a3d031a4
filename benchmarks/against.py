"""Our train step now and at another commit, interleaved in one run.

    git worktree add ../before COMMIT
    python -m benchmarks.against ../before [--device cuda|cpu] [--nets small,medium,deep]
        [--batches 128,1024,8192] [--impls ours,ours-eager] [--precision tf32] [--rounds 9]
        [--data-dir DIR] [--out FILE]

Each checkout has a process of its own; they take turns, and who begins changes from round to round.
A round's figure is the quotient of its two times, so that what slows the machine down slows both;
reported is the median over the rounds, with its quartiles: above 1 the present code is slower.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from . import report
from .cells import Cell
from .processes import Worker
from .steps_ours import device_name

SAMPLE_SECONDS = {"cpu": 1.0, "cuda": 0.3}
STEPS = 16  # of the losses that both must agree on
PATIENCE = 300.0  # seconds for a process to make a step ready


def compare(workers: dict[str, Worker], cell: Cell, rounds: int, seconds: float) -> dict[str, Any]:
    """A row: the times of both, and the quotient."""
    losses = {}
    for name, worker in workers.items():
        worker.send("prepare", cells=[cell], steps=STEPS)
        (reply,) = worker.receive(PATIENCE)["cells"]
        if "error" in reply:
            raise SystemExit(f"{name}: {cell}: {reply['error']}")
        losses[name] = reply["losses"]
    steps = workers["now"].ask("calibrate", cell=cell, seconds=seconds)["steps"]
    took: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(rounds):
        for name in sorted(workers, reverse=bool(turn % 2)):
            reply = workers[name].ask("time", cell=cell, steps=steps, warm=max(1, steps // 4))
            took[name].append(reply["seconds"])
    for worker in workers.values():
        worker.ask("drop")
    quotients = [now / before for now, before in zip(took["now"], took["before"], strict=True)]
    low, middle, high = quantiles(quotients, n=4)
    return {
        **cell._asdict(),
        "us": round(median(took["now"]) * 1e6, 2),
        "us_before": round(median(took["before"]) * 1e6, 2),
        "ratio": round(middle, 4),
        "ratio_quartiles": [round(low, 4), round(high, 4)],
        "same_losses": losses["now"] == losses["before"],
    }


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
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if not (options.before / "benchmarks" / "worker.py").is_file():
        parser.error(f"{options.before} is no checkout with benchmarks/worker.py in it")
    if options.rounds < 3:
        parser.error("--rounds: expected at least 3, for a median with quartiles")
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
    workers = {
        name: Worker("ours", options.device, data, threads, folder)
        for name, folder in folders.items()
    }
    rows: list[dict[str, Any]] = []
    try:
        for impl in options.impls:
            for net in options.nets:
                for batch in options.batches:
                    cell = Cell(impl, net, batch, options.precision)
                    seconds = SAMPLE_SECONDS[options.device]
                    rows.append(compare(workers, cell, options.rounds, seconds))
                    print(line(rows[-1]), flush=True)
    finally:
        for worker in workers.values():
            worker.close()
        if options.out and rows:
            versions = workers["now"].facts["versions"]
            facts = report.facts(report.command("against"), device_name(options.device), versions)
            report.write(options.out, facts | {"rows": rows})
    return 0


def line(row: dict[str, Any]) -> str:
    low, high = row["ratio_quartiles"]
    return (
        f"{row['impl']:11}{row['net']:7}{row['batch']:6d} {row['us_before']:11.1f} us before"
        f"{row['us']:11.1f} now  x {row['ratio']:.3f} ({low:.3f} to {high:.3f})"
        f"{'' if row['same_losses'] else '  other losses'}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
