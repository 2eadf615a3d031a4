"""Folders that the command writes: never half written, never over somebody else's files.

Files are written into a hidden folder inside the destination and moved to their names at the end,
so an interrupted or failed run leaves what was there before.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

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

# The files that --overwrite may replace; anything else belongs to somebody.
RUN_FILES = (METRICS, WEIGHTS, HISTORY, CURVES, CONFUSION, MISTAKES)
SWEEP_FILES = (SWEEP_TABLE, SWEEP_REPORT, SWEEP_CURVES, SWEEP_SUMMARY)
OURS = (*RUN_FILES, *SWEEP_FILES, *(f"batch-*/{name}" for name in RUN_FILES))
STAGING = ".writing-"


def default_folder(name: str) -> Path:
    """A folder in runs/ that does not exist yet, named by the time."""
    stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    return unused(Path("runs") / stem)


def unused(folder: Path) -> Path:
    """`folder`, or the first of `folder`-2, -3, … that does not exist."""
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def contents(folder: Path) -> list[str]:
    """All files in `folder`, as names relative to it; empty when there is no folder.

    An empty folder inside counts as an entry (it is not ours), our own staging folder does not.
    """
    entries = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        relative = path.relative_to(folder)
        if relative.parts[0].startswith(STAGING):
            continue
        if not path.is_dir() or not any(path.iterdir()):
            entries.append(relative.as_posix())
    return entries


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise `CommandError` unless a run may be written to `folder`.

    It may when the folder is new or empty, or with `overwrite` when all that it holds is a run.
    """
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--out: {str(folder)!r} is a file, not a folder")
    entries = contents(folder)
    foreign = [entry for entry in entries if not any(fnmatch.fnmatch(entry, o) for o in OURS)]
    if foreign and overwrite:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise CommandError(
            f"--out: {str(folder)!r} holds files that are not a run's "
            f"({', '.join(foreign[:3])}{more}); --overwrite replaces nothing but runs"
        )
    if entries and not overwrite:
        raise CommandError(
            f"--out: {str(folder)!r} is not empty; choose another folder"
            + ("" if foreign else ", or replace that run with --overwrite")
        )
    _check_writable(folder)


def _check_writable(folder: Path) -> None:
    """Better before a run of minutes than after it."""
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(f"--out: cannot write to {str(folder)!r}: {error.strerror}") from error
    finally:
        if not existed and folder.exists():
            folder.rmdir()


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files replace those of `folder` when the block ends well.

    Files of an older run that the new one does not have are removed. After an error nothing has
    changed.
    """
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
    try:
        yield staging
        new = contents(staging)
        for name in new:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / name, folder / name)
        for name in set(contents(folder)) - set(new):
            if any(fnmatch.fnmatch(name, pattern) for pattern in OURS):
                (folder / name).unlink()
        for left in folder.glob("batch-*"):
            if not any(left.iterdir()):
                left.rmdir()
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()


def write_json(path: Path, value: Any) -> None:
    """Indented JSON in UTF-8."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(path: Path, state: dict[str, np.ndarray]) -> None:
    """A model's state_dict as safetensors."""
    from safetensors.numpy import save

    # Not save_file: its file could be read by its owner alone.
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in state.items()}))
