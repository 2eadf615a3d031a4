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
from .experiment import Run
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
    runs, interrupted = [], False
    for one in each:
        console.print(f"\nbatch size {one.batch_size}", style="bold", highlight=False)
        callbacks: list[Callback] = [CtrlC()] if quiet else [ProgressBar(console), CtrlC()]
        run = experiment.execute(one, data, device, callbacks)
        interrupted = run.history.stopped == INTERRUPTED
        if interrupted:
            break
        runs.append(run)
    if not runs:
        raise Interrupted("no batch size had finished, nothing was written")
    diverged = [run for run in runs if run.problem]
    if (interrupted or diverged) and run_folder.contents(folder):
        word = INTERRUPTED if interrupted else "diverged"
        folder = run_folder.unused(folder.with_name(f"{folder.name}-{word}"))
    with run_folder.staged(folder) as staging:
        write_sweep(staging, runs)
    console.print(table(runs))
    console.print(f"report: {folder / run_folder.SWEEP_REPORT}", highlight=False, markup=False)
    if quiet:
        print(folder)
    if interrupted:
        sizes = ", ".join(str(run.settings.batch_size) for run in runs)
        raise Interrupted(f"the batch sizes that had finished ({sizes}) are in {folder}")
    if diverged:
        run = diverged[0]
        raise CommandError(
            f"batch size {run.settings.batch_size}: {run.problem} "
            f"(--lr was {run.learning_rate:g}); the report is in {folder}"
        )


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
