"""`tinygrad-cupy evaluate`: a trained model on labelled data, as it was tested or on other data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..datasets import ArrayDataset, catalog
from ..datasets.picture_folder import FolderOptions
from ..nn import Evaluation, Module, Trainer, optim
from ..nn import metrics as scores
from ..printing import printable
from . import settings_file, terminal
from .errors import CommandError, UsageError, check_choice
from .experiment import evaluation_loader, per_class
from .predict import parse_model, tell_remarks
from .settings import DATASETS, TEST_FRACTION, TrainSettings
from .stored_run import Description, load_run

PARTS = ("test", "train")


@dataclass(frozen=True)
class Judged:
    """The answers of a run's model on a part of a data set."""

    run: Path
    description: Description
    data: ArrayDataset
    part: str
    answers: Evaluation

    @property
    def confusion(self) -> np.ndarray:
        """Images (classes, classes): by their label, and by what was read in them."""
        guesses = self.answers.probabilities.argmax(axis=1)
        count = len(self.description.classes)
        return scores.confusion_matrix(self.answers.labels, guesses, count)

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Images, precision, recall and F1 of each class."""
        matrix, classes = self.confusion, self.description.classes
        counts = zip(matrix.sum(axis=1).tolist(), per_class(matrix, classes).items(), strict=True)
        return {name: {"images": count, **figures} for count, (name, figures) in counts}

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints; `confusion` has a row for each true class."""
        return {
            "run": str(self.run),
            "dataset": self.data.name,
            "part": self.part,
            "images": len(self.data),
            "accuracy": self.answers.accuracy,
            "loss": self.answers.loss if np.isfinite(self.answers.loss) else None,
            "per_class": self.per_class(),
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    run: Path,
    dataset: str | None,
    data_dir: Path | None,
    part: str,
    device: str,
    model: str | None,
    as_json: bool,
) -> None:
    """Print accuracy, loss, and the figures of each class.

    dataset: default that of the run, as its settings.toml says
    part: "test" or "train", with the images that validated
    model: FILE.py:function of a run on a model of the user's own
    """
    check_choice("--part", part, PARTS)
    found = judge(run, dataset, data_dir, part, device, model)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        console = Console()
        console.print(_summary(found))
        console.print(_table(found))
    if problem := terminal.output_problem():
        raise CommandError(f"cannot write to standard output: {problem}")


def judge(
    run: Path,
    dataset: str | None = None,
    data_dir: Path | None = None,
    part: str = "test",
    device: str = "auto",
    model: str | None = None,
) -> Judged:
    """The run's model on a part of a data set; arguments as of `evaluate`.

    Raises `CommandError` for a folder that is no run, and data of other classes or another size.
    """
    own = parse_model(model)
    place = TrainSettings(device=device).resolve_device()
    description, net = load_run(run, own)
    tell_remarks(description, own)
    data = _data(run, description, dataset, data_dir, part)
    return Judged(run, description, data, part, _answers(net.to(place), data, description, place))


def _answers(net: Module, data: ArrayDataset, description: Description, device: str) -> Evaluation:
    trainer = Trainer(net, optim.SGD(net.parameters(), lr=1.0), progress=False)
    with np.errstate(all="ignore"):
        return trainer.evaluate(evaluation_loader(data, description.normalization, device))


def _data(
    run: Path, description: Description, dataset: str | None, data_dir: Path | None, part: str
) -> ArrayDataset:
    settings = settings_file.stored(run)
    name = dataset or settings.get("dataset") or str(description.metrics.get("dataset")).lower()
    if name not in DATASETS and not Path(name).is_dir():
        raise UsageError(
            f"--dataset: {printable(name)!r}, "
            + ("is" if dataset else "which the run was trained on, is")
            + f" neither {', '.join(DATASETS)} nor a folder that exists"
        )
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"--data-dir: there is no folder {str(data_dir)!r}")
    own = {} if dataset else settings
    if data_dir is None and "data_dir" in own and Path(own["data_dir"]).is_dir():
        data_dir = Path(own["data_dir"])
    folder = FolderOptions(
        description.form, own.get("class_depth"), own.get("test_fraction") or TEST_FRACTION
    )
    found = catalog.find(name, data_dir, folder)
    data = found.test if part == "test" else found.train
    if data.classes != description.classes:
        raise CommandError(
            f"--dataset: expected the classes of the run, {_shown(description.classes)}, got "
            f"{_shown(data.classes)} in {printable(data.name)}"
        )
    shape = tuple(data.images.shape[1:])
    if shape != description.image_shape:
        raise CommandError(
            f"--dataset: expected images {description.image_shape}, got {shape} in "
            f"{printable(data.name)}"
        )
    return data


def _shown(classes: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return printable(", ".join(classes[:most])) + more


def _summary(found: Judged) -> Table:
    count = len(found.data)
    mistakes = found.confusion.sum() - found.confusion.trace()
    rows = [
        ("images", f"{count:,}, the {found.part} part of {printable(found.data.name)}"),
        ("accuracy", f"{found.answers.accuracy:.2%}  ({mistakes} mistakes in {count})"),
        ("loss", f"{found.answers.loss:.4f}"),
    ]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _table(found: Judged) -> Table:
    table = Table()
    table.add_column("class")
    for name in ("images", "precision", "recall", "F1"):
        table.add_column(name, justify="right")
    for name, figures in found.per_class().items():
        shares = (f"{figures[key]:.1%}" for key in ("precision", "recall", "f1"))
        table.add_row(Text(printable(name)), f"{figures['images']:,}", *shares)
    return table
