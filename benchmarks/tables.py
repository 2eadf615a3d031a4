"""Fill the tables of the READMEs from the result files.

    python -m benchmarks.tables [--set h200]

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; NAME is a function here. The
result files of one run of `benchmarks.all` are a set, whose name they begin with: h200.json,
h200_ops.json and so on. ``<!-- table h100_ops -->`` is the table of that set; without a set's name
it is that of --set, by default the newest complete one. A table whose result file is not there
stays as it is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median
from typing import Any

from tinygrad_cupy.nn import models

from . import report, train_step, wide
from .all import PLAN
from .cells import JAX, OURS, TORCH
from .train_step import best

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("numpy", "cupy", "torch", "jax")
PAGES = [Path(__file__).parent / "README.md", Path(__file__).parent.parent / "README.md"]
SHOWN = (*OURS, *TORCH, *JAX)


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def source(content: dict[str, Any], file: str, rows: Iterable[Row] = ()) -> str:
    """A line for each run that a table's rows are from (the file's own, where none says so).

    It begins with the run's precisions where the table has several.
    """
    rows = list(rows)
    runs: dict[tuple[str, ...], tuple[dict[str, Any], list[str]]] = {}
    for row in rows:
        run = row.get("from", content)
        key = (run["date"], run["commit"], run["command"])
        runs.setdefault(key, (run, []))[1].append(row.get("precision", ""))
    several = len({row.get("precision") for row in rows}) > 1
    lines = []
    for run, precisions in runs.values() or [(content, [])]:
        run = {"device": content["device"], "versions": content["versions"]} | run
        versions = [f"{k} {run['versions'][k]}" for k in LIBRARIES if k in run["versions"]]
        what = [", ".join(dict.fromkeys(precisions)) + ":"] if several else []
        about = ", ".join([run["device"], run["date"], f"commit {run['commit']}", *versions])
        lines.append(
            " ".join([*what, f"{about}: `{run['command']}` (`benchmarks/results/{file}`)."])
        )
    return "\n".join(lines)


def origin(content: dict[str, Any], file: str, rows: Iterable[Row]) -> str:
    """As `source`, but without versions and commands, which the front page leaves to the file."""
    runs = [row.get("from", content) for row in rows]
    names = [(run.get("device", content["device"]), run["date"], run["commit"]) for run in runs]
    told = "; ".join(f"{name}, {day}, commit {it}" for name, day, it in dict.fromkeys(names))
    return f"{told} (`benchmarks/results/{file}` has versions and commands)."


def read(file: str) -> dict[str, Any]:
    return report.read(RESULTS / file)


def groups(rows: list[Row], precision: str) -> Iterable[tuple[str, int, list[Row]]]:
    """The rows of each net and batch of one precision, from small to deep."""
    chosen = [row for row in rows if row["precision"] == precision]
    for net, batch in sorted({(row["net"], row["batch"]) for row in chosen}, key=_by_size):
        yield net, batch, [r for r in chosen if (r["net"], r["batch"]) == (net, batch)]


def _by_size(cell: tuple[str, int]) -> tuple[int, int]:
    net, batch = cell
    return (*models.MNIST, *wide.NETS).index(net), batch


def number(us: float) -> str:
    return f"{us:,.0f}" if us >= 100 else f"{us:.1f}"


def steps(file: str, precision: str, unit: float = 1.0) -> str:
    """Time per step of every implementation, the fastest peer and our fastest in bold."""
    content = read(file)
    rows = content["rows"]
    columns: dict[str, Callable[[list[Row]], str]] = {}
    if any(row["limit_share"] is not None for row in rows):
        columns["share of the limit"] = _share
    if any(row["peak_bytes"] is not None for row in rows):
        columns["peak MB, ours / torch's least"] = _memory
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
        line.extend(told(same) for told in columns.values())
        lines.append(line)
    table = markdown(["net", "batch", *impls, "over the best peer", *columns], lines)
    shown = [row for *_, same in groups(rows, precision) for row in same]
    return f"{table}\n\n{source(content, file, shown)}"


def _ratio(same: list[Row]) -> str:
    ours, peer = best(same, True), best(same, False)
    return f"{peer['us'] / ours['us']:.2f}×" if ours and peer else ""


def _share(same: list[Row]) -> str:
    ours = best(same, True)
    return f"{100 * ours['limit_share']:.1f} %" if ours else ""


def _memory(same: list[Row]) -> str:
    by_impl = {row["impl"]: row for row in same}
    sides = ("ours",), ("torch-graph", "torch-graph-cl")
    found = [[by_impl.get(impl, {}).get("peak_bytes") for impl in impls] for impls in sides]
    least = [min((peak for peak in peaks if peak is not None), default=None) for peaks in found]
    return " / ".join("?" if peak is None else f"{peak / 1e6:.1f}" for peak in least)


# --- sets of result files -------------------------------------------------------------------------


def newest_set(results: Path) -> str:
    """The name of the newest complete set; where none is complete, of the newest."""
    contents = {
        path.stem: report.read(path)
        for path in results.glob("*.json")
        if "_" not in path.stem and path.stem != "cpu"
    }
    wanted = {cell[1:] for group in train_step.plan(train_step.parse([])) for cell in group}

    def worth(name: str) -> tuple[bool, str, str]:
        has = {(row["net"], row["batch"], row["precision"]) for row in contents[name]["rows"]}
        suffixes = [
            suffix for _, suffix, *_ in PLAN if suffix not in ("_arrays", "_science", "_wide")
        ]
        files = [results / f"{name}{suffix}.json" for suffix in suffixes]
        complete = wanted <= has and all(path.exists() for path in files)
        return complete, contents[name]["date"], name

    return max(contents, key=worth, default="h200")


# --- the tables by name, each of a set ------------------------------------------------------------


def tf32(name: str) -> str:
    return steps(f"{name}.json", "tf32")


def bf16(name: str) -> str:
    return steps(f"{name}.json", "bf16")


def fp32(name: str) -> str:
    return steps(f"{name}.json", "fp32")


def cpu(_: str) -> str:
    return steps("cpu.json", "fp32", unit=1e3)


def wide_tf32(name: str) -> str:
    return steps(f"{name}_wide.json", "tf32")


def wide_bf16(name: str) -> str:
    return steps(f"{name}_wide.json", "bf16")


def wide_fp32(name: str) -> str:
    """Of a CPU, in milliseconds."""
    return steps(f"{name}_wide.json", "fp32", unit=1e3)


def summary(name: str) -> str:
    """For the front page: ours over the best peer in each precision."""
    content = read(f"{name}.json")
    precisions = [p for p in ("tf32", "bf16", "fp32") if any(groups(content["rows"], p))]
    ratios = {
        (net, batch, precision): (_ratio(same), best(same, True))
        for precision in precisions
        for net, batch, same in groups(content["rows"], precision)
    }
    lines = []
    for net, batch in sorted({(net, batch) for net, batch, _ in ratios}, key=_by_size):
        line = [net, str(batch)]
        for precision in precisions:
            ratio, ours = ratios.get((net, batch, precision), ("", None))
            line.append(f"{number(ours['us'])} µs, {ratio}" if ours else "")
        lines.append(line)
    table = markdown(["net", "batch", *precisions], lines)
    return f"{table}\n\n{origin(content, f'{name}.json', content['rows'])}"


def cpu_summary(_: str) -> str:
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
    return f"{table}\n\n{source(content, 'cpu.json', content['rows'])}"


def pictures(_: str) -> str:
    """For the front page: the pictures, where they have been drawn."""
    texts = {
        "throughput.png": "throughput of a train step over the best of PyTorch and JAX",
        "scaling.png": "microseconds per image over the batch size",
    }
    drawn = [file for file in texts if (RESULTS.parent.parent / "docs" / file).exists()]
    return "\n".join(f'<img src="docs/{file}" width="640" alt="{texts[file]}">' for file in drawn)


def accuracy_time(name: str) -> str:
    content = read(f"{name}_accuracy.json")
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
    return f"{table}\n\n{source(content, f'{name}_accuracy.json', rows)}"


def accuracy_parity(name: str) -> str:
    content = read(f"{name}_accuracy.json")
    rows = [row for row in content["rows"] if row["what"] == "parity"]
    kinds = list(dict.fromkeys((row["impl"], row["precision"]) for row in rows))
    lines = []
    for net in sorted({row["net"] for row in rows}, key=models.MNIST.index):
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
    return f"{table}\n\n{source(content, f'{name}_accuracy.json')}"


def coldstart(name: str) -> str:
    content = read(f"{name}_coldstart.json")
    rows = sorted(content["rows"], key=lambda row: models.MNIST.index(row["net"]))
    lines = [[row["impl"], row["net"], row["cache"], f"{row['seconds']:.2f}"] for row in rows]
    table = markdown(["", "net", "kernel cache", "seconds"], lines)
    return f"{table}\n\n{source(content, f'{name}_coldstart.json')}"


def ops(name: str) -> str:
    content = read(f"{name}_ops.json")
    columns = ["ours", "torch", "plain", "ours backward", "torch backward"]
    lines = [
        [row["op"], *[number(row["us"][c]) if c in row["us"] else "" for c in columns]]
        for row in content["rows"]
    ]
    names = ["ours", "torch", "plain CuPy", "ours, with backward", "torch, with backward"]
    table = markdown(["operation", *names], lines)
    return f"{table}\n\n{source(content, f'{name}_ops.json')}"


def arrays(name: str, part: str = "arrays") -> str:
    """PyTorch's time over ours, forward with backward, by operation and number of elements."""
    content = read(f"{name}_{part}.json")
    found: dict[str, dict[str, str]] = {}
    for row in content["rows"]:
        op, _, size = row["op"].rpartition(", ")
        found.setdefault(op, {})[size] = f"{row['x backward']:.2f}"
    sizes = list(dict.fromkeys(size for by_size in found.values() for size in by_size))
    lines = [[op, *[by_size.get(size, "") for size in sizes]] for op, by_size in found.items()]
    table = markdown(["operation", *sizes], lines)
    return f"{table}\n\n{source(content, f'{name}_{part}.json', content['rows'])}"


def linalg(name: str) -> str:
    """The same of factors, spectra, interpolation and convolutions of 1 and 3 axes."""
    return arrays(name, "linalg")


def science(name: str) -> str:
    """Milliseconds of value and gradient, and the best of JAX and PyTorch over ours."""
    content = read(f"{name}_science.json")
    impls = list(dict.fromkeys(impl for row in content["rows"] for impl in row["ms"]))
    lines = []
    for row in content["rows"]:
        times = [f"{row['ms'][impl]:,.2f}" if impl in row["ms"] else "" for impl in impls]
        ratio = f"{row['x']:.2f}" if "x" in row else ""
        lines.append([f"{row['problem']}, {row['size']}", *times, ratio])
    table = markdown(["problem", *impls, "x"], lines)
    return f"{table}\n\n{source(content, f'{name}_science.json')}"


def scaling(name: str) -> str:
    content = read(f"{name}_scaling.json")
    rows = content["rows"]
    impls = [impl for impl in SHOWN if any(row["impl"] == impl for row in rows)]
    lines = []
    for net, batch, same in groups(rows, "tf32"):
        by_impl = {row["impl"]: f"{row['us'] / batch:.3f}" for row in same}
        lines.append([net, str(batch), *[by_impl.get(impl, "") for impl in impls]])
    table = markdown(["net", "batch", *impls], lines)
    return f"{table}\n\n{source(content, f'{name}_scaling.json', rows)}"


def x2(name: str) -> str:
    """Steps of two ranks, ours and PyTorch's."""
    return _ranks(name, 2)


def x4(name: str) -> str:
    """Steps of four."""
    return _ranks(name, 4)


def _ranks(name: str, count: int) -> str:
    """µs of a step alone and as one of several ranks; the share of perfect scaling; over DDP."""
    content = read(f"{name}_x{count}.json")
    rows = [row for row in content["rows"] if "us" in row]  # files of before have other rows
    impls = list(dict.fromkeys(impl for row in rows for impl in row["us"]))
    lines = []
    for row in rows:
        what = f"{row['net']} @ {row['batch']}{' of all' if row['strong'] else ''}"
        times = [number(row["us"][impl]) if impl in row["us"] else "" for impl in impls]
        shares = [
            f"{100 * row[kind]:.0f} %" if kind in row else ""
            for kind in ("share", "predicted_share")
        ]
        ratio = f"{row['over_ddp']:.2f}×" if "over_ddp" in row else ""
        lines.append([what, *times, *shares, ratio])
    head = ["net, batch of each", *impls, "share", "predicted", "DDP's best / ours"]
    table = markdown(head, lines)
    return f"{table}\n\n{source(content, f'{name}_x{count}.json', rows)}"


TABLES: dict[str, Callable[[str], str]] = {
    function.__name__: function
    for function in (
        tf32, bf16, fp32, cpu, wide_tf32, wide_bf16, wide_fp32, summary, cpu_summary, pictures,
        accuracy_time, accuracy_parity, coldstart, ops, arrays, linalg, science, scaling,
        x2, x4,
    )
}  # fmt: skip


def fill(text: str, front: str) -> str:
    """The text of a page with its tables made anew; `front` is the set of those that name none."""

    def table(found: re.Match[str]) -> str:
        name, _, kind = found[2].partition("_")
        if found[2] in TABLES:
            name, kind = front, found[2]
        try:
            content = TABLES[kind](name)
        except FileNotFoundError as error:
            print(f"{found[2]}: no {Path(error.filename).name}")
            return found[0]
        if not content.split("\n\n")[0].count("\n") > 1 and content.startswith("|"):
            print(f"{found[2]}: no rows")  # a heading without a line below it
            content = "not measured yet"
        return f"{found[1]}\n{content}\n{found[3]}"

    return re.sub(r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)", table, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", help="of the tables that name none; default: the newest complete")
    front = parser.parse_args().set or newest_set(RESULTS)
    for page in PAGES:
        page.write_text(fill(page.read_text(), front))


if __name__ == "__main__":
    main()
