"""Whether captured steps have the bits of eager ones, for every net of the wide suite.

    python -m benchmarks.same_bits [--nets resnet18,...] [--precisions tf32,bf16] [--batch 32]
                                   [--steps 500] [--poison] [--jobs 4] [--minutes 4] [--out FILE]

Each net takes so many steps twice from the same weights (`train_step`'s of the wide suite: forward,
cross-entropy, backward, SGD with momentum), once eagerly and once captured. Compared, bit for bit,
are the loss of each step and in the end all that a checkpoint would keep: weights, running
statistics, momenta. With --poison freed blocks of the GPU's memory are filled with ones (NaN as
floats) in both runs, also within the captured step: whoever reads what nobody holds any more gives
another loss. Nets are checked side by side, --jobs at once; none is begun after --minutes. Exit
code 1 when a bit differs, a loss is not finite, a net fails, or one was not begun.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cupy import backend

from . import report, steps_ours, wide
from .cells import Cell, runner_of
from .processes import side_by_side

Row = dict[str, Any]
POISON = 0xFF
PRECISIONS = ("fp32", "tf32", "bf16")


def poisoned_blocks() -> Any:
    """A context in which CuPy fills what it frees, on the stream that may be given it next.

    While a step is captured only its own blocks are: a replay must not write into others'.
    """
    cuda = backend.import_cupy().cuda

    class Poison(cuda.MemoryHook):  # type: ignore[name-defined, misc]
        name = "Poison"

        def __init__(self) -> None:
            self.captured: dict[int, bool] = {}  # by address: whether a capture was given it

        def malloc_postprocess(self, **block: Any) -> None:
            self.captured[block["mem_ptr"]] = cuda.get_current_stream().is_capturing()

        def free_preprocess(self, **block: Any) -> None:
            own = self.captured.pop(block["mem_ptr"], False)
            stream = cuda.get_current_stream()
            if own or not stream.is_capturing():
                where, size = block["mem_ptr"], block["mem_size"]
                cuda.runtime.memsetAsync(where, POISON, size, stream.ptr)

    return Poison()


def trained(cell: Cell, steps: int, device: str, poison: bool) -> tuple[list[float], Row]:
    """The losses of so many steps, and what is left: arrays by name."""
    with poisoned_blocks() if poison else nullcontext():
        runner = runner_of(cell)(cell, None, device)
        losses = runner.losses(steps)
        states = {"model": runner.model, "optimizer": runner.optimizer}
        left = {
            f"{owner}.{name}": np.asarray(x)
            for owner, one in states.items()
            for name, x in one.state_dict().items()
        }
        del runner
    steps_ours.release(device)
    return losses, left


def first_difference(one: list[float], other: list[float]) -> int | None:
    """The first step, counted from 1, whose losses differ; None where none do."""
    pairs = enumerate(zip(one, other, strict=True), start=1)
    return next((step for step, (a, b) in pairs if a != b or not np.isfinite(a)), None)


def check(net: str, batch: int, precision: str, options: argparse.Namespace) -> Row:
    """A row of the file; runs in a process of its pool."""
    started = time.perf_counter()
    how = (options.steps, options.device, options.poison)
    eager, expected = trained(Cell("ours-eager", net, batch, precision), *how)
    captured, found = trained(Cell("ours", net, batch, precision), *how)
    differ = [name for name, x in expected.items() if x.tobytes() != found[name].tobytes()]
    return {
        "net": net, "batch": batch, "precision": precision, "steps": options.steps,
        "poison": options.poison, "first_loss": eager[0], "last_loss": eager[-1],
        "first_difference": first_difference(eager, captured), "arrays": len(expected),
        "differ": differ, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def line(row: Row) -> str:
    """What is printed of a row."""
    step, differ = row["first_difference"], row["differ"]
    same = "the same bits" if step is None and not differ else "DIFFERS"
    where = "" if step is None else f" from step {step} on"
    what = f", {len(differ)} of {row['arrays']} arrays, {differ[0]} first" if differ else ""
    return (
        f"{row['net']:13}{row['batch']:5d} {row['precision']:5}{row['steps']:5d} steps: {same}"
        f"{where}{what}; loss {row['first_loss']:.4f} to {row['last_loss']:.4f}"
        f" ({row['seconds']:.0f} s)"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--nets", type=names, default=[*wide.NETS])
    parser.add_argument("--precisions", type=names, default=["tf32", "bf16"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--poison", action="store_true", help="fill freed blocks")
    parser.add_argument("--jobs", type=int, default=4, help="nets at once")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no net after these")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    for net in options.nets:
        if net not in wide.NETS:
            parser.error(f"[--nets] expected some of {','.join(wide.NETS)}, got {net!r}")
    for precision in options.precisions:
        if precision not in PRECISIONS:
            parser.error(f"[--precisions] expected some of {PRECISIONS}, got {precision!r}")
    if options.jobs < 1:
        parser.error(f"[--jobs] expected 1 or more, got {options.jobs}")
    if options.poison and options.device == "cpu":
        parser.error("[--poison] expected a GPU, whose memory is handed out by a pool")
    return options


def main() -> int:
    options = parse()
    end = time.monotonic() + 60 * options.minutes
    command, rows, failed = report.command("same_bits"), [], 0
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        runs = [
            (net, options.batch, precision, options)
            for precision in options.precisions
            for net in options.nets
        ]
        for (net, _, precision, _), run in side_by_side(pool, options.jobs, end, check, runs):
            name = f"{net} {precision}"
            if run is None:
                print(f"out of time before {name}", file=sys.stderr, flush=True)
                failed += 1
                continue
            try:
                row = run.result()
            except Exception as error:
                print(f"FAILED {name}: {error}", file=sys.stderr, flush=True)
                failed += 1
                continue
            rows.append(row)
            failed += row["first_difference"] is not None or bool(row["differ"])
            print(line(row), flush=True)
            if options.out:
                facts = report.facts(
                    command,
                    steps_ours.device_name(options.device),
                    steps_ours.versions(options.device),
                )
                report.write(options.out, facts | {"rows": rows})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
