"""Fill the tables of the READMEs from the result files.

    python -m benchmarks.tables

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; NAME is a function here. A
table whose result file is not there stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median
from typing import Any

from . import report
from .train_step import best

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
PAGES = [Path(__file__).parent / "README.md", Path(__file__).parent.parent / "README.md"]
SHOWN = [
    "ours", "ours-scan", "ours-eager", "torch-eager", "torch-compile", "torch-graph",
    "torch-graph-cl", "jax-jit", "jax-scan",
]  # fmt: skip


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def source(content: dict[str, Any], file: str, rows: Iterable[Row] = ()) -> str:
    """A line for each run that a table's rows are from (the file's own, where none says so)."""
    wanted = ("cupy", "numpy", "torch", "jax")
    versions = ", ".join(f"{k} {v}" for k, v in content["versions"].items() if k in wanted)
    runs = {run["command"]: run for run in (row.get("from", content) for row in rows)}
    return "\n".join(
        f"{content['device']}, {run['date']}, commit {run['commit']}, {versions}: "
        f"`{run['command']}` (`benchmarks/results/{file}`)."
        for run in runs.values() or [content]
    )


def read(file: str) -> dict[str, Any]:
    return report.read(RESULTS / file)


def groups(rows: list[Row], precision: str) -> Iterable[tuple[str, int, list[Row]]]:
    """The rows of each net and batch of one precision."""
    chosen = [row for row in rows if row["precision"] == precision]
    for net, batch in dict.fromkeys((row["net"], row["batch"]) for row in chosen):
        yield net, batch, [r for r in chosen if (r["net"], r["batch"]) == (net, batch)]


def number(us: float) -> str:
    return f"{us:,.0f}" if us >= 100 else f"{us:.1f}"


def steps(file: str, precision: str, unit: float = 1.0) -> str:
    """Time per step of every implementation, the fastest peer and our fastest in bold."""
    content = read(file)
    rows = content["rows"]
    on_gpu = any(row["limit_share"] is not None for row in rows)
    impls = [i for i in SHOWN if any(r["impl"] == i and r["precision"] == precision for r in rows)]
    lines = []
    for net, batch, same in groups(rows, precision):
        leaders = [row["impl"] for row in (best(same, True), best(same, False)) if row]
        by_impl = {row["impl"]: row for row in same}
        line = [net, str(batch)]
        for impl in impls:
            text = number(by_impl[impl]["us"] / unit) if impl in by_impl else ""
            line.append(f"**{text}**" if impl in leaders else text)
        line.append(_ratio(same))
        if on_gpu:
            line.extend([_share(same), _memory(by_impl)])
        lines.append(line)
    extra = ["share of the limit", "peak MB, ours / torch-graph"] if on_gpu else []
    table = markdown(["net", "batch", *impls, "over the best peer", *extra], lines)
    shown = [row for *_, same in groups(rows, precision) for row in same]
    return f"{table}\n\n{source(content, file, shown)}"


def _ratio(same: list[Row]) -> str:
    ours, peer = best(same, True), best(same, False)
    return f"{peer['us'] / ours['us']:.2f}×" if ours and peer else ""


def _share(same: list[Row]) -> str:
    ours = best(same, True)
    return f"{100 * ours['limit_share']:.1f} %" if ours else ""


def _memory(by_impl: dict[str, Row]) -> str:
    found = [by_impl.get(impl, {}).get("peak_bytes") for impl in ("ours", "torch-graph")]
    return " / ".join("?" if peak is None else f"{peak / 1e6:.1f}" for peak in found)


# --- the tables by name ---------------------------------------------------------------------------


def h200_tf32() -> str:
    return steps("h200.json", "tf32")


def h200_bf16() -> str:
    return steps("h200.json", "bf16")


def h200_fp32() -> str:
    return steps("h200.json", "fp32")


def cpu() -> str:
    return steps("cpu.json", "fp32", unit=1e3)


def summary() -> str:
    """For the front page: ours over the best peer in each precision."""
    content = read("h200.json")
    precisions = [p for p in ("tf32", "bf16", "fp32") if any(groups(content["rows"], p))]
    ratios = {
        (net, batch, precision): (_ratio(same), best(same, True))
        for precision in precisions
        for net, batch, same in groups(content["rows"], precision)
    }
    lines = []
    for net, batch in dict.fromkeys((net, batch) for net, batch, _ in ratios):
        line = [net, str(batch)]
        for precision in precisions:
            ratio, ours = ratios.get((net, batch, precision), ("", None))
            line.append(f"{number(ours['us'])} µs, {ratio}" if ours else "")
        lines.append(line)
    table = markdown(["net", "batch", *precisions], lines)
    return f"{table}\n\n{source(content, 'h200.json', content['rows'])}"


def cpu_summary() -> str:
    """For the front page: milliseconds of ours, and how many times PyTorch's throughput that is."""
    content = read("cpu.json")
    cells = {
        (net, batch): f"{number(ours['us'] / 1e3)} ms, {_ratio(same)}"
        for net, batch, same in groups(content["rows"], "fp32")
        if (ours := best(same, ours=True))
    }
    batches = sorted({batch for _, batch in cells})
    lines = [
        [net, *[cells.get((net, batch), "") for batch in batches]]
        for net in dict.fromkeys(net for net, _ in cells)
    ]
    table = markdown(["net", *[f"batch {batch}" for batch in batches]], lines)
    return f"{table}\n\n{source(content, 'cpu.json')}"


def pictures() -> str:
    """For the front page: the pictures, where they have been drawn."""
    texts = {
        "throughput.png": "throughput of a train step over the best of PyTorch and JAX",
        "scaling.png": "microseconds per image over the batch size",
    }
    drawn = [name for name in texts if (RESULTS.parent.parent / "docs" / name).exists()]
    return "\n".join(f'<img src="docs/{name}" width="640" alt="{texts[name]}">' for name in drawn)


def accuracy_time() -> str:
    content = read("h200_accuracy.json")
    rows = [row for row in content["rows"] if row["what"] == "time"]
    lines = []
    for impl in dict.fromkeys(row["impl"] for row in rows):
        same = [row for row in rows if row["impl"] == impl]
        lines.append([
            impl,
            f"{median(row['seconds'] for row in same):.3f}",
            ", ".join(f"{100 * row['accuracy']:.2f}" for row in same),
        ])  # fmt: skip
    table = markdown(["", "seconds of training", "accuracy of each seed, %"], lines)
    return f"{table}\n\n{source(content, 'h200_accuracy.json')}"


def accuracy_parity() -> str:
    content = read("h200_accuracy.json")
    rows = [row for row in content["rows"] if row["what"] == "parity"]
    kinds = list(dict.fromkeys((row["impl"], row["precision"]) for row in rows))
    lines = []
    for net in dict.fromkeys(row["net"] for row in rows):
        line = [net]
        for kind in kinds:
            same = [
                100 * row["accuracy"]
                for row in rows
                if row["net"] == net and (row["impl"], row["precision"]) == kind
            ]
            line.append(f"{mean(same):.2f}" if same else "")
        lines.append(line)
    table = markdown(["net", *[" ".join(kind) for kind in kinds]], lines)
    return f"{table}\n\n{source(content, 'h200_accuracy.json')}"


def coldstart() -> str:
    content = read("h200_coldstart.json")
    lines = [
        [row["impl"], row["net"], row["cache"], f"{row['seconds']:.2f}"] for row in content["rows"]
    ]
    table = markdown(["", "net", "kernel cache", "seconds"], lines)
    return f"{table}\n\n{source(content, 'h200_coldstart.json')}"


def ops() -> str:
    content = read("h200_ops.json")
    columns = ["ours", "torch", "plain", "ours backward", "torch backward"]
    lines = [
        [row["op"], *[number(row["us"][c]) if c in row["us"] else "" for c in columns]]
        for row in content["rows"]
    ]
    names = ["ours", "torch", "plain CuPy", "ours, with backward", "torch, with backward"]
    return f"{markdown(['operation', *names], lines)}\n\n{source(content, 'h200_ops.json')}"


def scaling() -> str:
    content = read("h200_scaling.json")
    rows = content["rows"]
    impls = [impl for impl in SHOWN if any(row["impl"] == impl for row in rows)]
    lines = []
    for net, batch, same in groups(rows, "tf32"):
        by_impl = {row["impl"]: f"{row['us'] / batch:.3f}" for row in same}
        lines.append([net, str(batch), *[by_impl.get(impl, "") for impl in impls]])
    table = markdown(["net", "batch", *impls], lines)
    return f"{table}\n\n{source(content, 'h200_scaling.json')}"


TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        h200_tf32, h200_bf16, h200_fp32, cpu, summary, cpu_summary, pictures,
        accuracy_time, accuracy_parity, coldstart, ops, scaling,
    )
}  # fmt: skip


def fill(text: str) -> str:
    """The text of a page with its tables made anew."""

    def table(found: re.Match[str]) -> str:
        try:
            content = TABLES[found[2]]()
        except FileNotFoundError as error:
            print(f"{found[2]}: no {Path(error.filename).name}")
            return found[0]
        if not content.split("\n\n")[0].count("\n") > 1 and content.startswith("|"):
            print(f"{found[2]}: no rows")  # a heading without a line below it
            content = "not measured yet"
        return f"{found[1]}\n{content}\n{found[3]}"

    return re.sub(r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)", table, text, flags=re.DOTALL)


def main() -> None:
    for page in PAGES:
        page.write_text(fill(page.read_text()))


if __name__ == "__main__":
    main()
