"""`tinygrad-cupy predict`: what a trained model reads in pictures."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import Tensor, no_grad
from ..datasets.picture import no_pillow_warnings
from ..nn import Module
from ..printing import printable
from .errors import CommandError
from .normalization import Normalization
from .picture_input import read_picture
from .run_folder import WEIGHTS
from .stored_run import Description, load_run

BATCH = 64  # pictures that the model is given at a time
BATCH_PIXELS = 1 << 18  # fewer where they are large


@dataclass(frozen=True)
class Guess:
    """One picture's answer; `inverted` says that dark and light were exchanged to read it."""

    image: str
    label: str
    probability: float
    runner_up: str
    runner_up_probability: float
    inverted: bool


@dataclass(frozen=True)
class Failure:
    """A picture that has no answer, and why."""

    image: str
    error: str


def predict(run: Path, images: Sequence[Path], as_json: bool) -> None:
    """Print a row per picture, or with `as_json` a list of objects: fields of `Guess` or `Failure`.

    Raises `CommandError` at the end when pictures had no answer: of one its own error, of several
    their number, after a line on stderr for each.
    """
    answers = guess(run, images)
    if as_json:
        print(json.dumps([asdict(answer) for answer in answers], indent=2))
    elif guesses := [answer for answer in answers if isinstance(answer, Guess)]:
        Console().print(_table(guesses))
    failures = [answer.error for answer in answers if isinstance(answer, Failure)]
    if len(failures) == 1:
        raise CommandError(failures[0])
    for text in failures:
        print(f"error: {text}", file=sys.stderr)
    if failures:
        raise CommandError(f"{len(failures)} of {len(answers)} pictures have no answer")


def _table(guesses: Sequence[Guess]) -> Table:
    digits = all(one.label.isdecimal() and len(one.label) == 1 for one in guesses)
    table = Table()
    for name in ("image", "digit" if digits else "class", "probability", "runner-up"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for one in guesses:
        runner_up = f"{one.runner_up} ({one.runner_up_probability:.1%})"
        cells = (one.image, one.label, f"{one.probability:.1%}", runner_up)
        table.add_row(*(Text(printable(cell)) for cell in cells))  # a file name is no markup
    return table


def guess(run: Path, images: Sequence[Path]) -> list[Guess | Failure]:
    """The model in folder `run` applied to picture files, on the CPU; an answer for each.

    Raises `CommandError` for a folder that is no run.
    """
    description, model = load_run(run)
    answers: list[Guess | Failure] = []
    _, height, width = description.image_shape
    batch = min(BATCH, max(1, BATCH_PIXELS // (height * width)))
    for start in range(0, len(images), batch):
        answers += _answers(run, description, model, images[start : start + batch])
    return answers


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """Libtiff writes what it thinks of damaged files to stderr itself, past Python."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _answers(
    run: Path, description: Description, model: Module, images: Sequence[Path]
) -> Iterator[Guess | Failure]:
    found = _read(description, images)
    pictures = [one[0] for one in found if not isinstance(one, Failure)]
    rows = iter(_probabilities(model, pictures, description.normalization))
    for path, one in zip(images, found, strict=True):
        if isinstance(one, Failure):
            yield one
        else:
            yield _answer(run, description, path, next(rows), inverted=one[1])


def _read(
    description: Description, images: Sequence[Path]
) -> list[tuple[np.ndarray, bool] | Failure]:
    """Of each file its picture (C, H, W) and whether it was inverted, or why there is none."""
    found: list[tuple[np.ndarray, bool] | Failure] = []
    with _silent_libraries(), no_pillow_warnings():
        for path in images:
            try:
                found.append(read_picture(path, description.framing, description.form))
            except CommandError as error:
                found.append(Failure(str(path), str(error)))
    return found


def _probabilities(
    model: Module, pictures: Sequence[np.ndarray], normalization: Normalization
) -> np.ndarray:
    """N pictures (C, H, W) -> (N, classes)."""
    if not pictures:
        return np.empty((0, 0))
    with no_grad(), np.errstate(all="ignore"):
        x = normalization(Tensor(np.stack(pictures), dtype="float32", device="cpu"))
        rows: np.ndarray = model(x).softmax(axis=1).numpy()
    return rows


def _answer(
    run: Path, description: Description, path: Path, row: np.ndarray, *, inverted: bool
) -> Guess | Failure:
    if not np.isfinite(row).all():
        weights = str(run / WEIGHTS)
        return Failure(str(path), f"the numbers in {weights!r} are too large to read {str(path)!r}")
    best, second = np.argsort(-row, kind="stable")[:2]
    return Guess(
        image=str(path),
        label=description.classes[best],
        probability=float(row[best]),
        runner_up=description.classes[second],
        runner_up_probability=float(row[second]),
        inverted=inverted,
    )
