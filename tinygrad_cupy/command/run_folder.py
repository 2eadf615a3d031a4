"""The folders of runs: what they hold, which of them may be written, and how they are read.

`tinygrad_cupy.folders` is how they are written: by one process at a time, and never seen half.
"""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..folders import Claim, FolderBusyError, entries, unused
from ..nn import History
from ..printing import printable
from .errors import CommandError

METRICS = "metrics.json"
WEIGHTS = "model.safetensors"
HISTORY = "history.csv"
CURVES = "curves.png"
CONFUSION = "confusion_matrix.png"
MISTAKES = "mistakes.png"
SWEEP_TABLE = "sweep.csv"
SWEEP_REPORT = "report.md"
SWEEP_CURVES = "validation_curves.png"
SWEEP_SUMMARY = "summary.png"

RUN_FILES = (METRICS, WEIGHTS, HISTORY, CURVES, CONFUSION, MISTAKES)
SWEEP_FILES = (SWEEP_TABLE, SWEEP_REPORT, SWEEP_CURVES, SWEEP_SUMMARY)
RUN_IN_SWEEP = re.compile(r"batch-\d+")


class TakenError(CommandError):
    """The folder holds something, or another process is writing to it."""


def claim(out: Path | None, name: str, overwrite: bool) -> Claim:
    """The folder `out` for this process alone; without `out` a new one in runs/.

    It must be new or empty, or with `overwrite` hold nothing but a run or a sweep. Raises
    `CommandError` otherwise, and where it cannot be written.
    """
    if out is not None:
        return _claim(out, overwrite)
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    while True:
        try:
            return _claim(unused(Path("runs") / stem), overwrite=False)
        except TakenError:  # by another process, in this second
            continue


def _claim(folder: Path, overwrite: bool) -> Claim:
    try:
        check_free(folder, overwrite)  # before anything is made in a folder of somebody else
        held = Claim(folder, is_run_entry, last=(METRICS, SWEEP_TABLE), precious=WEIGHTS)
        try:
            check_free(folder, overwrite)  # what another process has finished since
        except BaseException:
            held.close()
            raise
    except FolderBusyError as error:
        raise TakenError(
            f"--out: another run is writing to {str(folder)!r}; choose another folder"
        ) from error
    except OSError as error:
        raise CommandError(
            f"--out: cannot write to {str(folder)!r}: {error.strerror or error}"
        ) from error
    return held


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise `CommandError` unless a run may be written to `folder`; see `claim`."""
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--out: {str(folder)!r} is a file, not a folder")
    names = entries(folder)
    others = foreign(folder)
    if others and overwrite:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        shown = ", ".join(printable(name) for name in others[:3])
        raise CommandError(
            f"--out: {str(folder)!r} holds files that are not a run's "
            f"({shown}{more}); --overwrite replaces nothing but runs"
        )
    if names and not overwrite:
        raise TakenError(
            f"--out: {str(folder)!r} is not empty; choose another folder"
            + ("" if others else ", or replace that run with --overwrite")
        )


def holds_run(folder: Path) -> bool:
    """Whether something stands in `folder`."""
    return bool(entries(folder))


def foreign(folder: Path) -> list[str]:
    """What `folder` holds that no run or sweep leaves, as names relative to it.

    That is everything where neither weights nor a sweep's table are there: other programs write
    a report.md or a metrics.json too.
    """
    names = entries(folder)
    if not any(name in (WEIGHTS, SWEEP_TABLE) or RUN_IN_SWEEP.fullmatch(name) for name in names):
        return names
    strangers = []
    for name in names:
        path = folder / name
        if not is_run_entry(path):
            inside = entries(path) if path.is_dir() and not path.is_symlink() else []
            strange = [one for one in inside if not (path / one).is_file() or one not in RUN_FILES]
            strangers += [f"{name}/{one}" for one in strange] or [name]
    return strangers


def is_run_entry(path: Path) -> bool:
    """Whether a run or a sweep leaves such a file or folder in its own."""
    if path.name in RUN_FILES or path.name in SWEEP_FILES:
        return path.is_file()
    if not RUN_IN_SWEEP.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    inside = entries(path)
    return WEIGHTS in inside and all(
        name in RUN_FILES and (path / name).is_file() for name in inside
    )


def json_bytes(value: Any) -> bytes:
    """Indented JSON in UTF-8; in ASCII where a name in it is no text."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(value, indent=2)
    return f"{text}\n".encode()


def weights_bytes(state: dict[str, np.ndarray]) -> bytes:
    """A model's state_dict as safetensors."""
    from safetensors.numpy import save

    return save({name: np.require(array, requirements="C") for name, array in state.items()})


def history_bytes(history: History) -> bytes:
    """CSV, a row per finished epoch; a figure that does not exist is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(History.columns())
    for record in history:
        writer.writerow([getattr(record, name) for name in History.columns()])
    return text.getvalue().encode()
