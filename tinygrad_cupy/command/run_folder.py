"""The folders of runs: what they hold, which of them may be written, and how they are read.

`tinygrad_cupy.folders` is how they are written: by one process at a time, and never seen half.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..folders import STAGING, Claim, FolderBusyError, entries, is_held, unused
from ..nn import History
from ..nn.checkpoint import NAME as CHECKPOINT_FILE
from ..printing import printable
from .errors import CommandError

METRICS = "metrics.json"
WEIGHTS = "model.safetensors"
HISTORY = "history.csv"
SETTINGS = "settings.toml"
STEPS = "metrics.jsonl"
TENSORBOARD = "tensorboard"  # a folder
CURVES = "curves.png"
CONFUSION = "confusion_matrix.png"
MISTAKES = "mistakes.png"
RECORD = "run.json"
CHECKPOINTS = "checkpoints"
SWEEP_RECORD = "sweep.json"
IN_PROGRESS = "in-progress"  # of a sweep: what its run that has not ended needs to go on
SWEEP_TABLE = "sweep.csv"
SWEEP_REPORT = "report.md"
SWEEP_CURVES = "validation_curves.png"
SWEEP_SUMMARY = "summary.png"

RECORD_FORMAT = "tinygrad_cupy run"
RUN_FILES = (METRICS, WEIGHTS, HISTORY, SETTINGS, STEPS, CURVES, CONFUSION, MISTAKES)
SWEEP_FILES = (SWEEP_TABLE, SWEEP_REPORT, SWEEP_CURVES, SWEEP_SUMMARY)
RUN_IN_SWEEP = re.compile(r"batch-\d+(-seed-\d+)?")
EVENTS = "events.out.tfevents."  # how TensorBoard's files begin


class TakenError(CommandError):
    """The folder holds something, or another process is writing to it."""


def claim(out: Path | None, name: str, overwrite: bool, at_once: Sequence[str] = ()) -> Claim:
    """The folder `out` for this process alone; without `out` a new one in runs/.

    It must be new or empty, or with `overwrite` hold nothing but a run or a sweep. Raises
    `CommandError` otherwise, and where it cannot be written. `at_once` are names that are written
    before the run ends, the first of them before its first step.
    """
    if out is not None:
        return _claim(out, overwrite, at_once)
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    while True:
        try:
            return _claim(unused(Path("runs") / stem), False, at_once)
        except TakenError:  # by another process, in this second
            continue


def claim_again(folder: Path, at_once: Sequence[str]) -> Claim:
    """The folder of what is to go on, for this process alone; a new one where there is none.

    The first of `at_once` tells a run from a sweep. Raises `CommandError` where another process
    writes to it, it holds anything else, or a run that cannot go on.
    """
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--resume: {str(folder)!r} is a file, not a folder")
    names = entries(folder)
    own = at_once[0]
    if names and own not in names and not (folder / STAGING / "new" / own).exists():
        raise CommandError(f"--resume: {str(folder)!r} {_what_stands(folder, names)}")
    try:
        last = (METRICS, SWEEP_TABLE)
        return Claim(folder, is_run_entry, last=last, at_once=at_once, again=True)
    except FolderBusyError as error:
        raise TakenError(
            f"--resume: another run is writing to {str(folder)!r}; wait until it has ended"
        ) from error
    except OSError as error:
        raise CommandError(
            f"--resume: cannot write to {str(folder)!r}: {error.strerror or error}"
        ) from error


def _what_stands(folder: Path, names: Sequence[str]) -> str:
    """What to say of a folder in which what is asked for cannot go on."""
    command = "go on with tinygrad-cupy"
    if SWEEP_RECORD in names:
        return f"is a sweep; {command} sweep --resume {folder}"
    if RECORD in names:
        return f"is a single run; {command} train --resume {folder}"
    if WEIGHTS in names and (folder.parent / SWEEP_RECORD).exists():
        return f"is a run of a sweep; {command} sweep --resume {folder.parent}"
    what = "no run"
    if WEIGHTS in names or SWEEP_TABLE in names:
        what = "what an earlier release left, without checkpoints"
    return f"holds {what}; train into another --out"


def _claim(folder: Path, overwrite: bool, at_once: Sequence[str]) -> Claim:
    try:
        if not overwrite and is_held(folder):
            raise FolderBusyError(errno.EBUSY, "another process is writing to it", str(folder))
        check_free(folder, overwrite)  # before anything is made in a folder of somebody else
        precious = (WEIGHTS, f"{CHECKPOINTS}/*.json")
        last = (METRICS, SWEEP_TABLE)
        held = Claim(folder, is_run_entry, last=last, precious=precious, at_once=at_once)
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
            + (f", or go on with it: --resume {folder}" if is_unfinished(folder) else "")
        )


def is_unfinished(folder: Path) -> bool:
    """Whether a run or a sweep stands in `folder` that has not come to its end."""
    ends = ((RECORD, METRICS), (SWEEP_RECORD, SWEEP_TABLE))
    return any((folder / a).exists() and not (folder / b).exists() for a, b in ends)


def holds_run(folder: Path) -> bool:
    """Whether something stands in `folder`."""
    return bool(entries(folder))


def foreign(folder: Path) -> list[str]:
    """What `folder` holds that no run or sweep leaves, as names relative to it.

    That is everything where neither weights nor a sweep's table are there: other programs write
    a report.md or a metrics.json too.
    """
    names = entries(folder)
    records = (name for name in (RECORD, SWEEP_RECORD) if is_record(folder / name))
    known = (WEIGHTS, SWEEP_TABLE, *records)
    if not any(name in known or RUN_IN_SWEEP.fullmatch(name) for name in names):
        return names
    strangers = []
    for name in names:
        path = folder / name
        if not is_run_entry(path):
            inside = entries(path) if path.is_dir() and not path.is_symlink() else []
            strange = [one for one in inside if not _is_of_run(path / one)]
            strangers += [f"{name}/{one}" for one in strange] or [name]
    return strangers


def is_run_entry(path: Path) -> bool:
    """Whether a run or a sweep leaves such a file or folder in its own."""
    if _is_of_run(path) or (path.name in SWEEP_FILES and path.is_file()):
        return True
    if path.name in (RECORD, SWEEP_RECORD):
        return is_record(path)
    if path.is_symlink() or not path.is_dir():
        return False
    if path.name == CHECKPOINTS:
        return all(CHECKPOINT_FILE.fullmatch(name) for name in entries(path))
    if path.name == IN_PROGRESS:
        each = [path / name for name in entries(path)]
        parts = [one / name for one in each for name in entries(one)]
        return all(RUN_IN_SWEEP.fullmatch(one.name) for one in each) and all(
            _is_of_run(part) or (part.name == CHECKPOINTS and is_run_entry(part)) for part in parts
        )
    if not RUN_IN_SWEEP.fullmatch(path.name):
        return False
    inside = entries(path)
    return WEIGHTS in inside and all(_is_of_run(path / name) for name in inside)


def _is_of_run(path: Path) -> bool:
    """Whether a single run leaves such a file or folder in its own."""
    if path.name != TENSORBOARD or path.is_symlink() or not path.is_dir():
        return path.name in RUN_FILES and path.is_file()
    return all(name.startswith(EVENTS) and (path / name).is_file() for name in entries(path))


def is_record(path: Path) -> bool:
    """Whether a run wrote this file: others name theirs run.json, too."""
    try:
        with path.open("rb") as file:
            return path.is_file() and RECORD_FORMAT.encode() in file.read(256)
    except OSError:
        return False


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
