"""Time of a train step, ours beside PyTorch and JAX, interleaved in one tree of processes.

    python -m benchmarks.train_step [--device cuda|cpu] [--suite mnist|wide]
        [--nets small,medium,deep] [--batches 128,1024,8192]
        [--precisions tf32,bf16,fp32] [--peers torch,jax]
        [--impls ours,torch-graph] [--skip torch-compile] [--rounds 7] [--quick] [--minutes 8]
        [--cells small:128:tf32,deep:1024:bf16] [--data-dir DIR] [--out FILE] [--merge]

A step gathers a shuffled batch from data on the device, then forward, cross-entropy, backward,
Adam. Every implementation has a process of its own, starts from the same weights and sees the same
batches; its first losses must fall as the reference's do (torch's graph, else its eager step), or
its time does not count. Then they take turns, strictly one at a time: a sample of each per round,
medians over the rounds. JAX's programs are compiled before the first cell of their precision, and
then torch.compile's, so that nothing compiles while something else is timed.

The suite "wide" has nets that nobody tuned for (`wide`). Its step is forward, cross-entropy,
backward, SGD with momentum, on one batch that stays; the first loss must be the reference's and the
third near it. bf16 there is autocast, in both libraries, and torch.compile max-autotune. --cells
says which net, batch and precision is measured, in this order.

The file grows with every cell, so that a run that is cut short loses nothing. Failures are listed
in it and make the exit code 1; so does a peer that is not installed. A mistake in the options makes
it 2. Peak memory is the allocator's peak less the data set.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tinygrad_cupy import backend
from tinygrad_cupy.nn import models

from . import limits, report, wide
from .cells import IMPLEMENTATIONS, JAX, ON_CPU, OURS, TORCH, WIDE, Cell
from .processes import Worker, WorkerError
from .steps_ours import device_name

COMPILED_BATCHES = (128, 1024)  # torch.compile needs half a minute per cell
NETS_OF = {"bf16": ("medium", "deep")}
COMPILE_SECONDS, PREPARE_SECONDS = 300.0, 120.0  # patience with a process
INSTALL = {  # how to, by the name of a peer's module
    "torch": 'PyTorch is not installed: pip install -e ".[peers]"',
    "jax": "JAX is not installed: https://docs.jax.dev/en/latest/installation.html says how",
}
Row = dict[str, Any]


class Bench:
    """The processes, the rows so far, and what went wrong."""

    def __init__(self, options: argparse.Namespace, command: str) -> None:
        self.options, self.command = options, command
        self.on_cpu = options.device == "cpu"
        self.wide = options.suite == "wide"
        self.check_steps = wide.FIRST_LOSSES if self.wide else 24 if self.on_cpu else 32
        self.sample_seconds = options.sample_ms / 1e3
        self.workers: dict[str, Worker] = {}
        self.ready: dict[Cell, dict[str, Any]] = {}
        self.rows: list[Row] = []
        self.failures: list[Row] = []
        self.versions: dict[str, str] = {}
        self.device = device_name(options.device)
        self.started = time.monotonic()

    # --- processes ------------------------------------------------------------------------------

    def worker(self, cell: Cell) -> Worker:
        """The process of a cell, started when there is none (any more)."""
        name = process_of(cell)
        worker = self.workers.get(name)
        if worker is None or not worker.alive:
            options = self.options
            threads = options.threads if self.on_cpu else None
            kind = cell.impl.partition("-")[0]
            worker = Worker(kind, options.device, options.data_dir, threads)
            self.workers[name] = worker
        return worker

    def prepare(self, groups: Iterable[list[Cell]]) -> None:
        """Make cells ready, each group in one request; the groups' processes work side by side."""
        asked = []
        for cells in groups:
            try:
                worker = self.worker(cells[0])
                worker.send("prepare", cells=cells, steps=self.check_steps)
                asked.append((worker, cells))
            except WorkerError as error:
                self.failed(cells, error)
        for worker, cells in asked:
            patience = PREPARE_SECONDS if len(cells) == 1 else COMPILE_SECONDS
            if cells[0].impl == "torch-compile":
                patience = COMPILE_SECONDS
            try:
                replies = worker.receive(patience)["cells"]
            except WorkerError as error:
                self.failed(cells, error)
                continue
            self.versions |= worker.facts["versions"]
            for cell, reply in zip(cells, replies, strict=True):
                if "error" in reply:
                    self.failed([cell], WorkerError(reply["error"]))
                else:
                    self.ready[cell] = reply

    def failed(self, cells: list[Cell], error: Exception) -> None:
        """Note cells that have no figure; a process in which something failed is ended."""
        for cell in cells:
            print(f"FAILED {cell}: {error}", file=sys.stderr, flush=True)
            self.failures.append({**cell._asdict(), "error": str(error)})
            self.ready.pop(cell, None)
        name = process_of(cells[0])
        if name != "jax" and name in self.workers:  # JAX's process holds every program of its
            self.workers[name].close()

    def installed(self, cells: list[Cell]) -> list[Cell]:
        """The cells whose library is here; of every other library it is noted how to install it."""
        kinds = dict.fromkeys(cell.impl.partition("-")[0] for cell in cells)
        absent = [kind for kind in kinds if kind in INSTALL and not importlib.util.find_spec(kind)]
        for kind in absent:
            if all(failure["impl"] != kind for failure in self.failures):
                print(f"FAILED {kind}: {INSTALL[kind]}", file=sys.stderr, flush=True)
                self.failures.append({"impl": kind, "error": INSTALL[kind]})
        return [cell for cell in cells if cell.impl.partition("-")[0] not in absent]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()

    # --- measuring ------------------------------------------------------------------------------

    def compile(self, cells: list[Cell]) -> None:
        """JAX's programs in one process, then torch.compile's, each cell in its own."""
        jax = [cell for cell in cells if cell.impl.startswith("jax")]
        self.prepare([jax] if jax else [])
        self.prepare([cell] for cell in cells if cell.impl == "torch-compile")

    def measure(self, cells: list[Cell]) -> None:
        """All implementations of one net, batch and precision."""
        for cell in cells:
            if cell not in self.ready and not _compiled_before(cell):
                self.prepare([[cell]])
        self.check([cell for cell in cells if cell in self.ready])
        steps: dict[Cell, int] = {}
        for cell in [cell for cell in cells if cell in self.ready]:
            reply = self.ask(cell, "calibrate", seconds=self.sample_seconds)
            if reply:
                steps[cell] = reply["steps"]
        samples: dict[Cell, list[float]] = {cell: [] for cell in steps}
        for turn in range(self.options.rounds):
            shift = turn % max(1, len(steps))
            order = [*steps][shift:] + [*steps][:shift]
            for cell in order:
                if cell in self.ready:
                    # On a CPU threads of the process before may still spin for some milliseconds.
                    warm = max(1, steps[cell] // (3 if self.on_cpu else 10))
                    reply = self.ask(cell, "time", steps=steps[cell], warm=warm)
                    if reply:
                        samples[cell].append(reply["seconds"])
        done = {cell: took for cell, took in samples.items() if took and cell in self.ready}
        self.rows = [row for row in self.rows if _cell_of(row) not in done]
        self.rows.extend(self.row(cell, took) for cell, took in done.items())
        for cell in cells:
            if cell.impl == "torch-compile" and process_of(cell) in self.workers:
                self.workers[process_of(cell)].close()  # or its memory would be missing elsewhere
            elif cell in self.ready and not _compiled_before(cell):
                self.ask(cell, "drop")
        self.print_cell(cells)

    def ask(self, cell: Cell, do: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer of the cell's process; None when it failed, which is noted."""
        if do != "drop":
            arguments["cell"] = cell
        try:
            return self.worker(cell).ask(do, **arguments)
        except WorkerError as error:
            self.failed([cell], error)
            return None

    def check(self, cells: list[Cell]) -> None:
        """Every implementation's loss falls, and about as far as the reference's.

        In the wide suite three steps are too few to fall far, but the first loss is the same. What
        rounding does to the next ones is large there: after two steps of resnet50 on eight images
        PyTorch's own two layouts differ by 0.3 %.
        """
        order = ["torch-graph", "torch-eager", "torch-graph-cl", "jax-jit"]
        references = [cell for impl in order for cell in cells if cell.impl == impl]
        for cell in cells:
            losses = self.ready[cell]["losses"]
            last = _end(losses)
            if not self.wide and not last < 0.95 * losses[0]:
                text = f"the loss did not fall: {losses[0]:.3f} to {last:.3f}"
                self.failed([cell], WorkerError(text))
                continue
            for reference in references[:1]:
                expected = self.ready[reference]["losses"]
                due, first = _end(expected), abs(losses[0] / expected[0] - 1)
                far = wide.NEAR[cell.precision] * due if self.wide else 0.15 * due + 0.02
                if not abs(last - due) <= far:
                    text = f"loss {last:.3f} where {reference.impl} has {due:.3f}"
                    self.failed([cell], WorkerError(text))
                elif self.wide and not first <= wide.SAME[cell.precision]:
                    text = f"first loss {losses[0]:.6f}, {reference.impl}'s {expected[0]:.6f}"
                    self.failed([cell], WorkerError(text))

    def row(self, cell: Cell, samples: list[float]) -> Row:
        """One line of the table and of the file."""
        seconds, prepared = median(samples), self.ready[cell]
        share = None
        if not self.on_cpu and not self.wide:
            share = round(limits.seconds(*cell[1:], self.device) / seconds, 4)
        peak = prepared["peak_bytes"]
        return {
            **cell._asdict(),
            "us": round(seconds * 1e6, 2),
            "images_per_second": round(cell.batch / seconds),
            "peak_bytes": None if peak is None else peak - prepared["data_bytes"],
            "limit_share": share,
            "us_min": round(min(samples) * 1e6, 2),
            "us_max": round(max(samples) * 1e6, 2),
            "prepare_seconds": round(prepared["seconds"], 2),
            "loss": round(_end(prepared["losses"]), 4),
        }

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.started:.0f} s] {text}", file=sys.stderr, flush=True)

    # --- results --------------------------------------------------------------------------------

    def print_cell(self, cells: list[Cell]) -> None:
        """The rows of these cells, each beside the best peer among them."""
        rows = [row for row in self.rows if _cell_of(row) in cells]
        peers = [row["us"] for row in rows if not row["impl"].startswith("ours")]
        for row in sorted(rows, key=lambda row: cells.index(_cell_of(row))):
            print(table_line(row, min(peers, default=None)), flush=True)

    def save(self) -> None:
        if self.options.out:
            content = report.facts(self.command, self.device, self.versions)
            seconds = round(time.monotonic() - self.started)
            content |= {"seconds": seconds, "rows": self.rows, "failures": self.failures}
            report.write(self.options.out, content)


def process_of(cell: Cell) -> str:
    """The name of the process that measures a cell.

    JAX has one for all: there XLA keeps its trials of kernels from running at the same time.
    """
    if cell.impl == "torch-compile":
        return str(cell)
    return "jax" if cell.impl.startswith("jax") else cell.impl


def table_head() -> str:
    return (
        f"{'net':13}{'batch':>6} {'prec':5}{'implementation':15}{'us/step':>11}{'images/s':>12}"
        f"{'x best peer':>12}{'of limit':>9}{'peak MB':>9}"
    )


def table_line(row: Row, best_peer: float | None) -> str:
    ratio = f"{best_peer / row['us']:.2f}" if best_peer else ""
    share = f"{row['limit_share']:.1%}" if row["limit_share"] is not None else ""
    peak = f"{row['peak_bytes'] / 1e6:.1f}" if row["peak_bytes"] is not None else ""
    return (
        f"{row['net']:13}{row['batch']:6d} {row['precision']:5}{row['impl']:15}{row['us']:11.1f}"
        f"{row['images_per_second']:12,d}{ratio:>12}{share:>9}{peak:>9}"
    )


def best(rows: list[Row], ours: bool) -> Row | None:
    """The fastest row of ours, or of the others."""
    chosen = [row for row in rows if row["impl"].startswith("ours") == ours]
    return min(chosen, key=lambda row: row["us"], default=None)


def summary(rows: list[Row]) -> Iterator[str]:
    """Our best over the best peer, a line per net, batch and precision."""
    groups = {(row["precision"], row["net"], row["batch"]): None for row in rows}
    for group in groups:
        same = [r for r in rows if (r["precision"], r["net"], r["batch"]) == group]
        ours, peer = best(same, ours=True), best(same, ours=False)
        if ours and peer:
            precision, net, batch = group
            yield (
                f"{precision} {net:13}{batch:6d}  {ours['impl']} {ours['us']:.1f} us, "
                f"{peer['impl']} {peer['us']:.1f} us: {peer['us'] / ours['us']:.2f}x"
            )


def _end(losses: list[float]) -> float:
    tail = losses[-max(1, len(losses) // 3) :]
    return sum(tail) / len(tail)


def _cell_of(row: Row) -> Cell:
    return Cell(row["impl"], row["net"], row["batch"], row["precision"])


def _compiled_before(cell: Cell) -> bool:
    return cell.impl.startswith("jax") or cell.impl == "torch-compile"


def plan(options: argparse.Namespace) -> list[list[Cell]]:
    """The cells to measure, those of one net, batch and precision together."""
    kinds = ("ours", *options.peers)
    groups = []
    for net, batch, precision in options.cells or cases(options):
        groups.append([
            Cell(impl, net, batch, precision)
            for impl in options.impls or implementations(options, net, precision)
            if impl.partition("-")[0] in kinds
            and impl not in options.skip
            and (impl != "torch-compile" or batch in COMPILED_BATCHES)
        ])  # fmt: skip
    return [group for group in groups if group]


def cases(options: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Net, batch and precision of each group, in the order in which they are measured."""
    on_cpu = options.device == "cpu"
    if options.suite == "wide":  # the large batches, which tell more, first
        nets = options.nets or tuple(wide.NETS)
        batches = {net: options.batches or wide.NETS[net].batches[on_cpu] for net in nets}
        for batch in sorted({batch for each in batches.values() for batch in each}, reverse=True):
            for net in nets:
                if batch in batches[net]:
                    yield from ((net, batch, precision) for precision in options.precisions)
        return
    for precision in options.precisions:
        for net in options.nets or NETS_OF.get(precision, models.MNIST):
            yield from ((net, batch, precision) for batch in options.batches)


def implementations(options: argparse.Namespace, net: str, precision: str) -> Iterator[str]:
    """What is measured of a net unless the options say it."""
    on_cpu = options.device == "cpu"
    if options.suite != "wide":
        yield from ON_CPU if on_cpu else IMPLEMENTATIONS[precision]
        return
    for impl in ON_CPU if on_cpu else WIDE:
        if impl.endswith("-cl") and len(wide.NETS[net].shape) != 3:
            continue  # not of images
        if impl != "torch-compile" or net in wide.COMPILED:
            yield impl


def case(text: str) -> tuple[str, int, str]:
    """Net, batch and precision of an entry of --cells."""
    net, batch, precision = text.split(":")
    return net, int(batch), precision


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--suite", choices=("mnist", "wide"), default="mnist")
    parser.add_argument("--nets", type=names, help="all; in bf16 of mnist medium and deep")
    cells = lambda text: [case(word) for word in text.split(",")]  # noqa: E731
    parser.add_argument("--cells", type=cells, help="net:batch:precision,... in this order")
    parser.add_argument(
        "--batches", type=numbers, help="128,1024,8192; CPU 32,128,512; each net's own"
    )
    parser.add_argument("--precisions", type=names, help="tf32,bf16,fp32 (not wide); CPU fp32")
    parser.add_argument("--peers", type=names, default=["torch", "jax"])
    parser.add_argument("--impls", type=names, help="only these implementations")
    parser.add_argument("--skip", type=names, default=[], help="all but these")
    parser.add_argument("--rounds", type=int, help="samples of each; 7, on a CPU 15")
    parser.add_argument("--sample-ms", type=float, help="length of a sample; 40, on a CPU 150")
    parser.add_argument("--quick", action="store_true", help="tf32, 3 rounds, no torch.compile")
    parser.add_argument("--minutes", type=float, default=60.0, help="start no cell after these")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU, for each library")
    parser.add_argument("--data-dir", help="folder of MNIST's files; see tinygrad_cupy.datasets")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--merge", action="store_true", help="keep the other rows of --out")
    options = parser.parse_args(arguments)
    on_cpu = options.device == "cpu"
    of_wide = options.suite == "wide"  # whose nets have batches of their own
    if not of_wide:
        options.batches = options.batches or ([32, 128, 512] if on_cpu else [128, 1024, 8192])
    precisions = ["fp32"] if on_cpu else ["tf32"] if options.quick else ["tf32", "bf16", "fp32"]
    precisions = [each for each in precisions if on_cpu or not of_wide or each != "fp32"]
    if options.cells:
        precisions = list(dict.fromkeys(precision for *_, precision in options.cells))
    options.precisions = options.precisions or precisions
    options.rounds = options.rounds or (3 if options.quick else 15 if on_cpu else 7)
    options.sample_ms = options.sample_ms or (150.0 if on_cpu else 40.0)
    options.skip += ["torch-compile"] if options.quick else []
    return options


def mistake(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, in a line; None when nothing is."""
    of_wide = options.suite == "wide"
    impls = ("ours", "ours-eager", *TORCH) if of_wide else (*OURS, *TORCH, *JAX)
    nets = tuple(wide.NETS) if of_wide else models.MNIST
    known = {
        "impls": impls, "skip": (*OURS, *TORCH, *JAX), "nets": nets,
        "precisions": tuple(IMPLEMENTATIONS), "peers": tuple(INSTALL),
    }  # fmt: skip
    for name, expected in known.items():
        for got in getattr(options, name) or ():
            if got not in expected:
                return f"[--{name}] expected some of {','.join(expected)}, got {got!r}"
    for net, batch, _ in options.cells or ():
        if net not in nets or batch < 1:
            return f"[--cells] expected some of {','.join(nets)} and a batch, got {net}:{batch}"
    if min(options.batches or [1]) < 1:
        return f"[--batches] expected at least 1, got {min(options.batches)}"
    if options.device == "cpu" and options.precisions != ["fp32"]:
        got = ",".join(options.precisions)
        return f"[--precisions] expected fp32, ours has no other on a CPU, got {got!r}"
    if not plan(options):
        return f"[--impls] expected one for the other options, got none of {','.join(impls)}"
    try:
        backend.normalize_device(options.device)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return None


def run(options: argparse.Namespace, command: str) -> int:
    """Measure what the options ask for; 1 when something failed, 2 when they are mistaken."""
    if text := mistake(options):
        print(text, file=sys.stderr)
        return 2
    bench = Bench(options, command)
    if options.merge and options.out and options.out.exists():
        bench.rows = report.kept_rows(options.out)
    groups = [cells for group in plan(options) if (cells := bench.installed(group))]
    try:
        for group in groups:  # all start at once; importing takes seconds
            for cell in group:
                bench.worker(cell)
        print(table_head(), flush=True)
        compiled: set[str] = set()
        for group in groups:
            precision = group[0].precision
            if time.monotonic() - bench.started > 60 * options.minutes:
                print(f"out of time before {group[0]}", file=sys.stderr, flush=True)
                break
            if precision not in compiled:
                compiled.add(precision)
                bench.compile(
                    [cell for each in groups for cell in each if each[0].precision == precision]
                )
                bench.say(f"{precision}: peers compiled")
            bench.measure(group)
            bench.save()
    finally:
        bench.close()
    print("\n".join(["", *summary(bench.rows)]), flush=True)
    return 1 if bench.failures else 0


def main() -> int:
    return run(parse(), report.command("train_step"))


if __name__ == "__main__":
    sys.exit(main())
