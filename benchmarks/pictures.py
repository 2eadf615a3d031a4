"""The pictures of the README from the result files.

    python -m benchmarks.pictures [--set h200] [--results DIR] [--out DIR]

throughput.png: images per second over the best peer, from SET.json; scaling.png: microseconds per
image over the batch size, from SET_scaling.json; ranks.png: how steps of several GPUs scale, from
SET_x4.json or SET_x2.json. `benchmarks.tables` says which set is the default.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator

from . import report
from .tables import RESULTS, groups, newest_set
from .train_step import best

Row = dict[str, Any]
INK, MUTED, GRID = "#1f2328", "#59636e", "#d8dee4"
BLUES = ["#9ec5f4", "#4a8fe0", "#1553a0"]
LINES = {"tinygrad_cupy": "#1553a0", "PyTorch, CUDA graph": "#d2691e", "JAX": "#2f855a"}
STYLE: dict[Any, Any] = {
    "font.size": 11, "text.color": INK, "axes.edgecolor": GRID, "axes.labelcolor": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False,
    "axes.spines.right": False, "figure.facecolor": "white", "savefig.facecolor": "white",
}  # fmt: skip


def throughput(content: dict[str, Any], precision: str, place: Path) -> None:
    """Bars: our images per second over the best peer's, a group per net, a bar per batch."""
    cells = {
        (net, batch): (best(rows, ours=True), best(rows, ours=False))
        for net, batch, rows in groups(content["rows"], precision)
    }
    ratios = {key: peer["us"] / ours["us"] for key, (ours, peer) in cells.items() if ours and peer}
    nets = list(dict.fromkeys(net for net, _ in ratios))
    batches = sorted({batch for _, batch in ratios})
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    width = 0.8 / len(batches)
    for j, batch in enumerate(batches):
        spots = [i + (j - (len(batches) - 1) / 2) * width for i in range(len(nets))]
        heights = [ratios.get((net, batch), 0.0) for net in nets]
        bars = axes.bar(
            spots, heights, width * 0.92, color=BLUES[j % len(BLUES)], label=f"batch {batch}"
        )
        axes.bar_label(bars, [f"{h:.2f}×" for h in heights], padding=2, fontsize=10, color=INK)
    axes.axhline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(
        len(nets) - 0.52, 1.02, "best of PyTorch\nand JAX", fontsize=9, color=INK, va="bottom"
    )
    axes.set_xlim(-0.55, len(nets) - 0.1)
    axes.set_xticks(range(len(nets)), nets)
    axes.tick_params(length=0)
    axes.set_ylabel("throughput over the best peer")
    axes.set_title(_title(f"Train step, {precision}", content), loc="left", fontsize=11)
    axes.legend(frameon=False, ncols=len(batches), loc="upper left", fontsize=10)
    axes.set_ylim(0, max([1.0, *ratios.values()]) * 1.25)
    figure.savefig(place, dpi=160)
    plt.close(figure)


def scaling(content: dict[str, Any], place: Path) -> None:
    """Lines: microseconds per image over the batch size, the fastest way of each side."""
    net = content["rows"][0]["net"]
    sides = {
        "tinygrad_cupy": ("ours", "ours-scan"),
        "PyTorch, CUDA graph": ("torch-graph", "torch-graph-cl"),
        "JAX": ("jax-jit", "jax-scan"),
    }
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    for name, impls in sides.items():
        fastest: dict[int, float] = {}
        for row in content["rows"]:
            if row["net"] == net and row["impl"] in impls:
                us = row["us"] / row["batch"]
                fastest[row["batch"]] = min(us, fastest.get(row["batch"], us))
        if fastest:
            line = sorted(fastest.items())
            axes.plot(*zip(*line, strict=True), color=LINES[name], marker="o", markersize=4, lw=2)
            axes.annotate(
                name, line[-1], xytext=(8, 0), textcoords="offset points", color=LINES[name],
                va="center", fontsize=10,
            )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({row["batch"] for row in content["rows"]})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlim(ticks[0] * 0.8, ticks[-1] * 5)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("batch size")
    axes.set_ylabel("µs per image")
    axes.set_title(_title(f"Train step of {net}, tf32", content), loc="left", fontsize=11)
    figure.savefig(place, dpi=160)
    plt.close(figure)


def ranks(content: dict[str, Any], place: Path) -> None:
    """Bars: our step alone over that of several ranks, ours and PyTorch's, a group per net."""
    rows = [row for row in content["rows"] if "us" in row]
    sides = {
        "tinygrad_cupy": ("ours",),
        "PyTorch DDP, CUDA graph": ("ddp-graph", "ddp-graph-cl"),
        "PyTorch DDP, eager": ("ddp",),
    }
    figure, axes = plt.subplots(figsize=(10, 3.8), layout="constrained")
    width = 0.8 / len(sides)
    for j, ((name, impls), color) in enumerate(zip(sides.items(), BLUES[::-1], strict=True)):
        found = [[row["us"][impl] for impl in impls if impl in row["us"]] for row in rows]
        heights = [
            row["us"]["alone"] / min(us) if us else 0.0 for row, us in zip(rows, found, strict=True)
        ]
        spots = [i + (j - (len(sides) - 1) / 2) * width for i in range(len(rows))]
        bars = axes.bar(spots, heights, width * 0.92, color=color, label=name)
        axes.bar_label(bars, [f"{h:.2f}" for h in heights], padding=2, fontsize=8, color=INK)
    for i, row in enumerate(rows):
        ends = [i - width * (len(sides) / 2), i - width * (len(sides) / 2 - 1)]
        axes.plot(ends, [row["predicted_share"]] * 2, color=INK, lw=1.5)
    axes.axhline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    names = [f"{row['net']}\n@ {row['batch']}{' of all' * row['strong']}" for row in rows]
    axes.set_xticks(range(len(rows)), names, fontsize=9)
    axes.tick_params(length=0)
    axes.set_ylabel("our step alone over this step")
    what = f"{rows[0]['ranks']} ranks, {rows[0]['precision']} (black: predicted)"
    axes.set_title(_title(what, content), loc="left", fontsize=11)
    axes.legend(frameon=False, ncols=len(sides), loc="upper left", fontsize=10)
    axes.set_ylim(0, 1.35)
    figure.savefig(place, dpi=160)
    plt.close(figure)


def _title(what: str, content: dict[str, Any]) -> str:
    versions: dict[str, str] = {}
    for run in [*(row.get("from", content) for row in content["rows"]), content]:
        versions |= run.get("versions", {})
    peers = ", ".join(
        f"{k} {versions[k].partition('+')[0]}" for k in ("torch", "jax") if k in versions
    )
    return f"{what} · {content['device']} · {peers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", help="how the files' names begin")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=RESULTS.parent.parent / "docs")
    options = parser.parse_args()
    name = options.set or newest_set(options.results)
    steps, over_batches = options.results / f"{name}.json", options.results / f"{name}_scaling.json"
    with mpl.rc_context(STYLE):
        if steps.exists():
            throughput(report.read(steps), "tf32", options.out / "throughput.png")
        if over_batches.exists():
            scaling(report.read(over_batches), options.out / "scaling.png")
        for count in (4, 2):
            file = options.results / f"{name}_x{count}.json"
            if file.exists() and any("us" in row for row in report.read(file)["rows"]):
                ranks(report.read(file), options.out / "ranks.png")
                break


if __name__ == "__main__":
    main()
