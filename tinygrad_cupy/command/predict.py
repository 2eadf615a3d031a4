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
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import Tensor, no_grad
from ..datasets.picture import SUFFIXES, no_pillow_warnings
from ..nn import Module
from ..printing import printable
from .errors import CommandError, UsageError
from .model_file import ModelFile
from .normalization import Normalization
from .picture_input import Seen, look
from .run_folder import WEIGHTS
from .stored_run import Description, load_run, remarks

BATCH = 64  # pictures that the model is given at a time
BATCH_PIXELS = 1 << 18  # fewer where they are large


@dataclass(frozen=True)
class Guess:
    """One picture's answer; `inverted` says that dark and light were exchanged to read it.

    `note` says why the answer means little, where it does: a picture that is blank, for one.
    """

    image: str
    label: str
    probability: float
    runner_up: str
    runner_up_probability: float
    inverted: bool
    note: str | None = None


@dataclass(frozen=True)
class Failure:
    """A picture that has no answer, and why."""

    image: str
    error: str


def predict(
    run: Path,
    images: Sequence[Path],
    as_json: bool,
    model: str | None = None,
    show: Path | None = None,
) -> None:
    """Print a row per picture, or with `as_json` a list of objects: fields of `Guess` or `Failure`.

    images: files, and folders, of which all pictures below are read
    model: FILE.py:function of a run on a model of the user's own
    show: a new or empty folder, for what the net was shown

    Raises `CommandError` at the end when pictures had no answer: of one its own error, of several
    their number, after a line on stderr for each.
    """
    answers = guess(run, images, parse_model(model), show)
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


def parse_model(text: str | None) -> ModelFile | None:
    """Of `--model`, which names no model of this package here. Raises `UsageError`."""
    if text is None:
        return None
    own = ModelFile.parse(text)
    if own is None:
        raise UsageError(
            f"--model: expected FILE.py:function, got {text!r}: a run knows its own model, unless "
            "that is in a file of yours"
        )
    return own


def tell_remarks(description: Description, own: ModelFile | None) -> None:
    """Notes on stderr: that weights are not tested, that a model's code is not what it was."""
    for told in remarks(description, own) if sys.stderr is not None else ():
        print(printable(f"note: {told}"), file=sys.stderr)


def _table(guesses: Sequence[Guess]) -> Table:
    digits = all(one.label.isdecimal() and len(one.label) == 1 for one in guesses)
    noted = any(one.note for one in guesses)
    table = Table()
    names = ("image", "digit" if digits else "class", "probability", "runner-up", "note")
    for name in names if noted else names[:-1]:
        table.add_column(name, justify="right" if name == "probability" else "left")
    for one in guesses:
        runner_up = f"{one.runner_up} ({one.runner_up_probability:.1%})"
        cells = [one.image, one.label, f"{one.probability:.1%}", runner_up]
        cells += [one.note or ""] if noted else []
        table.add_row(*(Text(printable(cell)) for cell in cells))  # a file name is no markup
    return table


def guess(
    run: Path,
    images: Sequence[Path],
    own: ModelFile | None = None,
    show: Path | None = None,
) -> list[Guess | Failure]:
    """The model in folder `run` applied to picture files, on the CPU; an answer for each.

    Arguments as of `predict`. Raises `CommandError` for a folder that is no run.
    """
    description, model = load_run(run, own)
    tell_remarks(description, own)
    shown = None if show is None else Shown(show)
    answers: list[Guess | Failure] = []
    _, height, width = description.image_shape
    batch = min(BATCH, max(1, BATCH_PIXELS // (height * width)))
    files = list(_files(images))
    for start in range(0, len(files), batch):
        found = _read(description, files[start : start + batch])
        answers += _answers(run, description, model, files[start : start + batch], found)
        if shown is not None:
            for path, one in zip(files[start : start + batch], found, strict=True):
                shown.write(path, one)
    return answers


def _files(images: Sequence[Path]) -> Iterator[Path | Failure]:
    """The files that are named, and of each folder the pictures below it, by name."""
    for path in images:
        if not path.is_dir():
            yield path
            continue
        inside = [
            one
            for one in sorted(path.rglob("*"))
            if one.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in one.relative_to(path).parts)
            and one.is_file()
        ]
        yield from inside
        if not inside:
            yield Failure(str(path), f"there are no pictures in {str(path)!r}")


class Shown:
    """Writes what a net was shown as PNG files, pixel by pixel, into a new or empty folder.

    Each is called after its picture, with a number where that name is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._telling():
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise CommandError(f"--show: {str(folder)!r} is not empty; choose another folder")

    def write(self, path: Path | Failure, seen: Seen | Failure) -> None:
        """One of them; nothing of a file that could not be read."""
        if isinstance(path, Failure) or isinstance(seen, Failure):
            return
        values = (seen.picture * 255).round().clip(0, 255).astype(np.uint8)
        image = values[0] if len(values) == 1 else values.transpose(1, 2, 0)
        place, number = self.folder / f"{path.stem}.png", 1
        while place.exists():
            number += 1
            place = self.folder / f"{path.stem}-{number}.png"
        with self._telling():
            Image.fromarray(np.ascontiguousarray(image)).save(place)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CommandError(
                f"--show: cannot write to {str(self.folder)!r}: {error.strerror or error}"
            ) from error


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
    run: Path,
    description: Description,
    model: Module,
    images: Sequence[Path | Failure],
    found: Sequence[Seen | Failure],
) -> Iterator[Guess | Failure]:
    pictures = [one.picture for one in found if isinstance(one, Seen)]
    rows = iter(_probabilities(model, pictures, description.normalization))
    for path, one in zip(images, found, strict=True):
        if isinstance(one, Failure):
            yield one
        else:
            yield _answer(run, description, str(path), next(rows), one)


def _read(description: Description, images: Sequence[Path | Failure]) -> list[Seen | Failure]:
    """Of each file what the net is shown, or why there is nothing."""
    found: list[Seen | Failure] = []
    with _silent_libraries(), no_pillow_warnings():
        for path in images:
            if isinstance(path, Failure):
                found.append(path)
                continue
            try:
                found.append(look(path, description.framing, description.form, description.digits))
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
    run: Path, description: Description, path: str, row: np.ndarray, seen: Seen
) -> Guess | Failure:
    if not np.isfinite(row).all():
        weights = str(run / WEIGHTS)
        return Failure(path, f"the numbers in {weights!r} are too large to read {path!r}")
    best, second = np.argsort(-row, kind="stable")[:2]
    return Guess(
        image=path,
        label=description.classes[best],
        probability=float(row[best]),
        runner_up=description.classes[second],
        runner_up_probability=float(row[second]),
        inverted=seen.inverted,
        note=seen.note,
    )
