"""`tinygrad-cupy train`: one run, shown while it runs, and the folder that it leaves."""

from __future__ import annotations

import csv
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tinygrad_cupy.nn import Callback, History

from . import experiment, run_folder
from .errors import CommandError, Interrupted
from .experiment import Data, Run
from .progress import CtrlC, ProgressBar
from .settings import TrainSettings


def train(settings: TrainSettings, out: Path | None, overwrite: bool, quiet: bool) -> None:
    """Train, test and write the run folder; with `quiet` its path is all that is printed.

    A run that was cut short (Ctrl-C, a loss that is not finite) is written as well, but beside
    `out` when a run stands there; it ends in `Interrupted` or `CommandError`.
    """
    console = Console(quiet=quiet)
    folder = out or run_folder.default_folder(settings.model)
    run_folder.check_free(folder, overwrite)
    device = settings.resolve_device()
    data = experiment.load_data(settings)
    settings.check_batch(data.train)
    announce(console, settings, data, device)
    with CtrlC() as ctrl_c:
        callbacks: list[Callback] = [ctrl_c] if quiet else [ProgressBar(console), ctrl_c]
        run = experiment.execute(settings, data, device, callbacks)
        if not run.complete and run_folder.contents(folder):
            folder = run_folder.unused(folder.with_name(f"{folder.name}-{run.history.stopped}"))
        with run_folder.staged(folder) as staging:
            write_run(staging, run)
    console.print(summary(run, folder))
    if quiet:
        print(folder)
    if ctrl_c.asked or not run.complete:
        raise ended_early(run, folder)


def announce(console: Console, settings: TrainSettings, data: Data, device: str) -> None:
    """The first lines: which data and why, which model, where.

    That an error led to other data goes to standard error, also where nothing else is printed.
    """
    if data.warning:
        Console(stderr=True).print(f"warning: {data.warning}", style="bold red", markup=False)
    console.print(f"dataset: {data.reason}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"model:   {settings.model} on {device} · {len(data.train):,} training, "
        f"{len(data.val):,} validation, {len(data.test):,} test images",
        highlight=False,
    )


def ended_early(run: Run, folder: Path) -> CommandError:
    """What a run that was cut short says: why, where, and which weights were kept."""
    history = run.history
    if history.kept_epoch:
        kept = f"the weights of epoch {history.kept_epoch} are in {folder}"
    elif run.problem:
        kept = f"no epoch had finished: the untrained weights are in {folder}"
    else:
        kept = f"no epoch had finished: the weights of the last step are in {folder}"
    if run.problem:
        return CommandError(f"{run.problem} (--lr was {run.learning_rate:g}); {kept}")
    epochs = "1 finished epoch" if len(history) == 1 else f"{len(history)} finished epochs"
    return Interrupted(f"after {epochs}; {kept}")


def summary(run: Run, folder: Path) -> Table:
    """The short table at the end."""
    metrics = run.metrics
    mistakes = run.confusion.sum() - run.confusion.trace()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        (
            "test accuracy",
            f"{run.test.accuracy:.2%}  ({mistakes} mistakes in {len(run.data.test)})",
        ),
        ("test loss", f"{run.test.loss:.4f}"),
        ("validation accuracy", f"{run.val_accuracy:.2%}"),
        ("epochs", _epochs(run.history)),
        ("training time", f"{run.history.seconds:.1f} s"),
        ("images per second", f"{metrics['images_per_second'] or 0:,.0f}"),
        ("parameters", f"{metrics['parameters']:,}"),
        ("run folder", str(folder)),
    ):
        table.add_row(name, Text(value))
    return table


def _epochs(history: History) -> str:
    kept = f", weights of epoch {history.kept_epoch}" if history.kept_epoch else ""
    reason = {"finished": "", "early": ", stopped early"}.get(
        history.stopped, f", {history.stopped}"
    )
    return f"{len(history)}{reason}{kept}"


def write_run(folder: Path, run: Run) -> None:
    """All files of a run into `folder`, which exists."""
    from . import pictures

    name = f"{run.settings.model} on {run.data.name}"
    title = f"{name}: {run.test.accuracy:.2%} of {len(run.data.test):,} test images right"
    run_folder.write_weights(folder / run_folder.WEIGHTS, run.model.state_dict())
    write_history(folder / run_folder.HISTORY, run.history)
    pictures.draw_curves(folder / run_folder.CURVES, run.history, f"Training {name}")
    pictures.draw_confusion(folder / run_folder.CONFUSION, run.confusion, run.data.classes, title)
    pictures.draw_mistakes(
        folder / run_folder.MISTAKES,
        run.data.test.images,
        run.test.labels,
        run.test.probabilities,
        run.data.classes,
        f"Test images that {name} finds hardest",
    )
    run_folder.write_json(folder / run_folder.METRICS, run.metrics)


def write_history(path: Path, history: History) -> None:
    """A row per finished epoch; a figure that does not exist is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(History.columns())
        for record in history:
            writer.writerow([getattr(record, name) for name in History.columns()])
