"""`tinygrad-cupy sweep`: the same training at several batch sizes, compared in a report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tinygrad_cupy.nn import Callback

from . import experiment, run_folder
from .errors import CommandError, Interrupted, UsageError
from .experiment import Data, Run
from .progress import INTERRUPTED, CtrlC, ProgressBar
from .settings import TrainSettings
from .train import announce, write_run

COLUMNS = (
    "batch_size", "test_accuracy", "test_loss", "val_accuracy", "seconds_per_epoch",
    "images_per_second", "epochs", "kept_epoch", "train_seconds", "stopped",
)  # fmt: skip


def parse_batch_sizes(text: str) -> list[int]:
    """ "32,64,128" as numbers, ascending, each once. Raises `UsageError`."""
    sizes = set()
    for word in text.split(","):
        if not word.strip().isdecimal():
            raise UsageError(
                f"--batch-sizes: expected numbers divided by commas, such as 32,64, got {text!r}"
            )
        sizes.add(int(word))
    if min(sizes) < 1:
        raise UsageError("--batch-sizes: expected at least 1, got 0")
    return sorted(sizes)


def sweep(
    settings: TrainSettings,
    batch_sizes: Sequence[int],
    out: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Run all batch sizes and write the study's folder.

    A size whose loss is not finite takes part with the weights it kept, and ends the command in an
    error after the report is written. After Ctrl-C the report holds the sizes that had finished.
    """
    console = Console(quiet=quiet)
    folder = out or run_folder.default_folder(f"sweep-{settings.model}")
    run_folder.check_free(folder, overwrite)
    device = settings.resolve_device()
    data = experiment.load_data(settings)
    each = [replace(settings, batch_size=size) for size in batch_sizes]
    for one in each:
        one.check_batch(data.train, "--batch-sizes")
    announce(console, settings, data, device)
    with CtrlC() as ctrl_c:
        runs, ending = _run_each(each, data, device, console, ctrl_c)
        if not runs:
            raise ending or Interrupted("no batch size had finished, nothing was written")
        if ending and run_folder.contents(folder):
            folder = run_folder.unused(folder.with_name(f"{folder.name}-unfinished"))
        with run_folder.staged(folder) as staging:
            write_sweep(staging, runs)
    console.print(table(runs))
    console.print(f"report: {folder / run_folder.SWEEP_REPORT}", highlight=False, markup=False)
    if quiet:
        print(folder)
    if ending:
        sizes = ", ".join(str(run.settings.batch_size) for run in runs)
        raise type(ending)(f"{ending}; the report on batch size {sizes} is in {folder}")


def _run_each(
    each: Sequence[TrainSettings], data: Data, device: str, console: Console, ctrl_c: CtrlC
) -> tuple[list[Run], CommandError | None]:
    """The runs that ended by themselves, and the error to end with once they are written."""
    runs: list[Run] = []
    ending: CommandError | None = None
    for settings in each:
        console.print(f"\nbatch size {settings.batch_size}", style="bold", highlight=False)
        callbacks: list[Callback] = [ctrl_c] if console.quiet else [ProgressBar(console), ctrl_c]
        try:
            run = experiment.execute(settings, data, device, callbacks)
        except CommandError as error:  # out of memory: larger batches would be as well
            return runs, error
        if run.history.stopped != INTERRUPTED:
            runs.append(run)
        if ctrl_c.asked:
            return runs, Interrupted("some batch sizes are missing") if runs else None
        if run.problem and not ending:
            ending = CommandError(
                f"batch size {settings.batch_size}: {run.problem} (--lr was {run.learning_rate:g})"
            )
    return runs, ending


def row(run: Run) -> dict[str, object]:
    """The figures of one batch size, by the names of `COLUMNS`."""
    metrics = run.metrics
    return {name: metrics[name] for name in COLUMNS}


def table(runs: Sequence[Run]) -> Table:
    """The study on one screen."""
    result = Table()
    for name in ("batch size", "test accuracy", "test loss", "s per epoch", "images/s", "epochs"):
        result.add_column(name, justify="right")
    for run in runs:
        metrics = run.metrics
        result.add_row(
            str(run.settings.batch_size),
            f"{run.test.accuracy:.2%}",
            f"{run.test.loss:.4f}",
            f"{metrics['seconds_per_epoch'] or 0:.2f}",
            f"{metrics['images_per_second'] or 0:,.0f}",
            f"{len(run.history)}{' (diverged)' if run.problem else ''}",
        )
    return result


def write_sweep(folder: Path, runs: Sequence[Run]) -> None:
    """A run folder per batch size, the table, the pictures and the report."""
    from . import pictures, report

    for run in runs:
        inside = folder / report.run_name(run)
        inside.mkdir()
        write_run(inside, run)
    rows = [row(run) for run in runs]
    with (folder / run_folder.SWEEP_TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    first = runs[0]
    title = f"{first.settings.model} on {first.data.name}"
    pictures.draw_overlaid(
        folder / run_folder.SWEEP_CURVES,
        {f"batch {run.settings.batch_size}": run.history for run in runs},
        f"Validation of {title}, by batch size",
    )
    pictures.draw_by_batch_size(
        folder / run_folder.SWEEP_SUMMARY,
        [run.settings.batch_size for run in runs],
        {
            "test accuracy (%)": [100 * run.test.accuracy for run in runs],
            "seconds per epoch": [run.seconds_per_epoch for run in runs],
            "epochs until it stopped": [float(len(run.history)) for run in runs],
        },
        f"What the batch size changes: {title}",
    )
    (folder / run_folder.SWEEP_REPORT).write_text(report.report(runs), encoding="utf-8")
