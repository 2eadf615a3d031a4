"""`tinygrad-cupy predict`: what a trained model reads in pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tinygrad_cupy import Tensor, no_grad
from tinygrad_cupy.nn import Module, models

from . import run_folder
from .errors import CommandError
from .picture_input import Framing, read_picture


@dataclass(frozen=True)
class Guess:
    """One picture's answer; `inverted` says that dark and light were exchanged to read it."""

    image: str
    label: str
    probability: float
    runner_up: str
    runner_up_probability: float
    inverted: bool


def predict(run: Path, images: Sequence[Path], as_json: bool) -> None:
    """Print a row per picture, or with `as_json` a list of objects with the fields of `Guess`."""
    guesses = guess(run, images)
    if as_json:
        print(json.dumps([asdict(one) for one in guesses], indent=2, ensure_ascii=False))
        return
    digits = all(one.label.isdecimal() and len(one.label) == 1 for one in guesses)
    table = Table()
    for name in ("image", "digit" if digits else "class", "probability", "runner-up"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for one in guesses:
        runner_up = f"{one.runner_up} ({one.runner_up_probability:.1%})"
        cells = (one.image, one.label, f"{one.probability:.1%}", runner_up)
        table.add_row(*map(Text, cells))  # a file name is no markup
    Console().print(table)


def guess(run: Path, images: Sequence[Path]) -> list[Guess]:
    """The model in folder `run` applied to picture files, on the CPU.

    Raises `CommandError` for a folder that is no run and for a file that is no picture.
    """
    metrics, state = run_folder.read_run(run)
    model, framing, size = _load(run, metrics, state)
    classes = metrics["classes"]
    pictures = [read_picture(path, framing, size) for path in images]
    channels = metrics["image_shape"][0]
    x = np.stack([np.repeat(image[None], channels, axis=0) for image, _ in pictures])
    with no_grad():
        probabilities = model(Tensor(x, dtype="float32", device="cpu")).softmax(axis=1).numpy()
    result = []
    for path, (_, inverted), row in zip(images, pictures, probabilities, strict=True):
        best, second = np.argsort(-row, kind="stable")[:2]
        result.append(
            Guess(
                image=str(path),
                label=classes[best],
                probability=float(row[best]),
                runner_up=classes[second],
                runner_up_probability=float(row[second]),
                inverted=inverted,
            )
        )
    return result


def _load(
    run: Path, metrics: dict[str, Any], state: dict[str, np.ndarray]
) -> tuple[Module, Framing, int]:
    """The trained model in evaluation mode, and what its pictures look like."""
    try:
        channels, size, _ = metrics["image_shape"]
        model = models.build(metrics["model"], len(metrics["classes"]), channels, size)
        framing = Framing(**metrics["framing"])
    except (KeyError, TypeError, ValueError) as error:
        path = run / run_folder.METRICS
        raise CommandError(f"{str(path)!r} does not describe a model: {error}") from error
    try:
        model.load_state_dict(state)
    except ValueError as error:
        path = run / run_folder.WEIGHTS
        raise CommandError(f"{str(path)!r} does not fit {metrics['model']!r}: {error}") from error
    return model.to("cpu").eval(), framing, size
