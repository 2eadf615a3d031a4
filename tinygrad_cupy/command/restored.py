"""A finished run of a sweep, read from its folder when the sweep goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .. import backend
from ..nn import EpochRecord, History, Trainer, optim
from ..printing import printable
from . import recipe
from .errors import CommandError
from .experiment import Data, Run, evaluation_loader
from .run_folder import HISTORY, METRICS
from .settings import RunSettings
from .stored_run import load_run


def restored(folder: Path, settings: RunSettings, data: Data) -> Run | None:
    """The run in `folder`; None where none has ended there.

    Its figures are those that it had; the model is tested again, for the answers are not stored.
    Raises `CommandError` naming a file that is damaged.
    """
    if not (folder / METRICS).exists():
        return None
    description, model = load_run(folder, settings.model_file)
    figures = description.metrics
    try:
        history = History(
            _records(folder / HISTORY),
            stopped=str(figures["stopped"]),
            kept_epoch=int(figures["kept_epoch"]),
            seconds=float(figures["train_seconds"]),
        )
        val_accuracy = float(figures["val_accuracy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = printable(error) or repr(error)
        raise CommandError(f"cannot read the run in {str(folder)!r}: {told}") from error
    before = backend.default_device()
    backend.set_default_device(settings.device)
    try:
        model.to(settings.device)
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=1.0), progress=False)
        with np.errstate(all="ignore"), recipe.products_in(settings.precision):
            test = trainer.evaluate(
                evaluation_loader(data.test, data.normalization, settings.device)
            )
    finally:
        backend.set_default_device(before)
    diverged = history.stopped == "diverged"
    problem = ArithmeticError("the loss became infinite or NaN") if diverged else None
    run = Run(settings, data, model, history, test, val_accuracy, problem)
    run.metrics = dict(figures)
    return run


def _records(path: Path) -> list[EpochRecord]:
    """The rows of a history.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        figures = {name: float(row[name]) if row[name] else None for name in History.columns()}
        epoch = int(figures.pop("epoch") or 0)
        found.append(EpochRecord(epoch, **figures))  # type: ignore[arg-type]
    return found
