"""Several GPUs: what a step costs as one of several ranks, beside PyTorch's, and on N GPUs.

    python -m benchmarks.scaling_out --predict
    mpirun -n 2 python -m benchmarks.scaling_out [--cells small:128,small:1024,medium:128,...]
        [--impls ours,ddp,ddp-graph,ddp-graph-cl] [--device cuda|cpu] [--precision tf32]
        [--seconds 1] [--strong] [--out FILE]

Measured are steps of `benchmarks.ranks`, ours captured: forward, cross-entropy, backward and the
optimizer of `benchmarks.train_step`, of small, medium, deep (Adam, with the gather of the batch),
and of nets of `benchmarks.wide`, in turns; alone is ours as a process by itself. Weak scaling: the
batch is each rank's. `--strong` splits it, and the share is that of a step alone with the part of
one rank, which bounds it. Started alone it is one rank of one, through NCCL all the same. Figures
are medians over repetitions, in microseconds per step; `predicted_us` is the step alone with what
`benchmarks.ranks_cost` says of exchanges between H200s. Rows join those in FILE.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import tinygrad_cupy as tg
from tinygrad_cupy import backend, nn
from tinygrad_cupy.nn import models

from . import cells, ranks_cost, report, steps_ours, wide

ROUNDS = 5
CELLS = "small:128,small:1024,medium:128,medium:1024,deep:128,deep:1024"
CELLS += ",resnet18:512,vgg11_bn:64,vgg11_bn_224:64"
COLUMNS = ("alone", "ours", "ddp", "ddp-graph", "ddp-graph-cl")

Row = dict[str, Any]


def work_of(net: str) -> ranks_cost.Work:
    """What the ranks of a net exchange."""
    model: Any = wide.net_of(net).ours() if wide.is_here(net) else models.build(net)
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    norms = tuple(layer.num_features for layer in model.modules() if isinstance(layer, kinds))
    return ranks_cost.Work(4.0 * sum(p.size for p in model.parameters()), norms)


def measured(net: str, batch: int, options: argparse.Namespace, dataset: Any) -> Row:
    """A row: a net at a batch, all implementations in turns."""
    ranks: Any = importlib.import_module(".ranks", __package__)
    distributed, device = tg.distributed, options.on
    size = distributed.size()
    mine = batch // size if options.strong else batch
    wanted = {"alone": mine} | dict.fromkeys(options.impls, mine)
    runners, first = {}, {}
    for impl, each in wanted.items():
        distributed.no_batch()
        cell = cells.Cell(impl, net, each, options.precision)
        runners[impl] = ranks.runner(cell, dataset, device)
        runners[impl].ready()
        first[impl] = _mean_of_ranks(runners[impl].losses(1)[0])
    times: dict[str, list[float]] = {impl: [] for impl in runners}
    steps = {impl: _steps(one, options.seconds / ROUNDS) for impl, one in runners.items()}
    for _ in range(ROUNDS):
        for impl, one in runners.items():
            one.ready()
            times[impl].append(_seconds(one, steps[impl]))
    us = {impl: round(median(found) * 1e6, 2) for impl, found in times.items()}
    distributed.no_batch()
    work = work_of(net)
    cost = ranks_cost.exchanges(work, size) * 1e6
    row: Row = {
        "net": net, "batch": batch, "ranks": size, "strong": options.strong,
        "precision": options.precision, "us": us, "first_losses": first,
        "gradient_bytes": work.bytes, "norms": len(work.norms),
        "predicted_us": round(us["alone"] + cost, 2),
        "predicted_share": round(us["alone"] / (us["alone"] + cost), 4),
    }  # fmt: skip
    if "ours" in us:
        row["share"] = round(us["alone"] / us["ours"], 4)
        peers = [us[impl] for impl in us if impl.startswith("ddp")]
        if peers:
            row["over_ddp"] = round(min(peers) / us["ours"], 4)
    return row


def _mean_of_ranks(loss: float) -> float:
    every = tg.distributed.exchange(float(loss))
    return float(sum(every) / len(every))


def _steps(runner: Any, seconds: float) -> int:
    """How many steps take so long; the same on all ranks."""
    runner.ready()
    runner.run(5)
    each = _seconds(runner, 5)
    return int(tg.distributed.exchange(max(3, int(seconds / each)))[0])


def _seconds(runner: Any, steps: int) -> float:
    """Of each of so many steps, begun together."""
    backend.synchronize()
    tg.distributed.barrier()
    began = time.perf_counter()
    runner.run(steps)
    return (time.perf_counter() - began) / steps


def told(row: Row) -> str:
    """A row as a line."""
    times = ", ".join(f"{impl} {us:,.1f}" for impl, us in row["us"].items())
    text = f"{row['net']:12} @ {row['batch']:5} of {'all' if row['strong'] else 'each'}: {times} µs"
    for name, word in (("share", "share"), ("predicted_share", "predicted"), ("over_ddp", "x")):
        text += f", {word} {row[name]:.3f}" if name in row else ""
    return text


def main() -> int:
    options = parse(sys.argv[1:])
    if options.predict:
        ranks_cost.print_table()
        return 0
    tg.distributed.init("cpu" if options.device == "cpu" else None, even_alone=True)
    options.on = tg.default_device()  # this rank's
    is_first, size = tg.distributed.rank() == 0, tg.distributed.size()
    uneven = [f"{net}:{batch}" for net, batch in options.cells if batch % size]
    if options.strong and uneven:
        raise SystemExit(
            f"[--strong] expected batches that {size} ranks divide, got {', '.join(uneven)}"
        )
    versions = steps_ours.versions(options.on)
    if any(impl.startswith("ddp") for impl in options.impls):
        versions |= importlib.import_module(".steps_torch", __package__).versions(options.on)
    name = steps_ours.device_name(options.on) or report.cpu_name()
    words = f"mpirun -n {size} {report.command('scaling_out')}"
    head = report.facts(words, f"{size} x {name}" if size > 1 else name, versions)
    dataset, rows = cells.read_data(None), _kept(options.out)
    for net, batch in options.cells:
        rows.append(measured(net, batch, options, dataset))
        if is_first:
            print(told(rows[-1]), flush=True)
            if options.out:
                report.write(options.out, head | {"rows": rows})
        gc.collect()
        steps_ours.release(options.on)
    if "torch" in sys.modules:
        importlib.import_module(".ranks", __package__).end_torch()
    return 0


def _kept(path: Path | None) -> list[Row]:
    """The rows of a file from before, those of other forms, too."""
    return report.kept_rows(path) if path is not None and path.exists() else []


def parse(words: list[str]) -> argparse.Namespace:
    """The command line; cells as (net, batch)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--cells", default=CELLS)
    parser.add_argument("--impls", default=",".join(COLUMNS[1:]))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--precision", choices=["tf32", "fp32", "bf16"], default="tf32")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--strong", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(words)
    options.impls = options.impls.split(",")
    unknown = set(options.impls) - set(COLUMNS[1:])
    if unknown:
        parser.error(f"[--impls] expected some of {', '.join(COLUMNS[1:])}, got {unknown}")
    options.impls = list(dict.fromkeys(options.impls))
    if options.device == "cpu":
        options.precision = "fp32"
    named, options.cells = options.cells, []
    for cell in named.split(","):
        net, _, batch = cell.partition(":")
        known = net in models.MNIST or wide.is_here(net)
        if not known or not batch.isdecimal() or not int(batch):
            parser.error(f"[--cells] expected NET:BATCH, as medium:128, got {cell!r}")
        options.cells.append((net, int(batch)))
    return options


if __name__ == "__main__":
    sys.exit(main())
