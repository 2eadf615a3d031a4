"""labels.csv: which picture is of which class, in a table instead of in folders.

    file,label
    a/0001.jpg,cat
    a/0002.jpg,dog

`file` is seen from the folder that labels.csv lies in, with / between its parts. A third column
`part` may say "train" or "test". The table is not trusted: nothing outside of its folder is read,
neither by "..", nor by an absolute path, nor through a link.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from .dataset import DataError
from .files import read_file

LABELS = "labels.csv"
MAX_BYTES = 1 << 28
FILE, LABEL, PART = "file", "label", "part"
SHOWN = 3  # rows in an error


class Row(NamedTuple):
    """A picture, its class, and its part ("train", "test") where the table tells."""

    path: Path
    label: str
    part: str | None


class Table(NamedTuple):
    """The rows in their order, and the columns that mean nothing here."""

    rows: list[Row]
    unread: list[str]


def read_labels(folder: Path, divided: bool) -> Table:
    """What labels.csv in `folder` says (UTF-8; first row: the names of the columns).

    divided: whether rows tell their part: by the column "part", or else by lying, all of them, in
        train/ or in test/

    Raises DataError naming the file and the rows that cannot be used, and why.
    """
    path, check = folder / LABELS, _Inside(folder)
    try:
        check.path(LABELS)
    except ValueError as error:
        raise DataError(f"[{path}] {error}") from None
    columns, lines = _parsed(path)
    for name in (FILE, LABEL):
        if columns.count(name) != 1:
            raise DataError(
                f"[{path}] expected the columns {FILE},{LABEL} in its first row, "
                f"got {','.join(columns) or 'nothing'}"
            )
    rows, problems, seen = [], [], dict[Path, int]()
    for number, values in lines:
        try:
            row = _row(columns, values, check, divided and PART in columns)
            if row.path in seen:
                raise ValueError(f"the same file as in row {seen[row.path]}")
            seen[row.path] = number
            rows.append(row)
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if problems:
        more = f" and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
        raise DataError(f"[{path}] {'; '.join(problems[:SHOWN])}{more}")
    if not rows:
        raise DataError(f"[{path}] expected a row for each picture, got none")
    read = {FILE, LABEL, *([PART] if divided else [])}
    if divided and PART not in columns:
        rows = _parts_by_folder(folder, rows)
    if divided and len({row.part for row in rows}) == 1 and rows[0].part is not None:
        raise DataError(f"[{path}] expected pictures of train and of test, got {rows[0].part} only")
    return Table(rows, [name for name in columns if name not in read])


def _parsed(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns, and the other rows with their numbers, of a row a line from 1."""
    try:
        text = read_file(path, MAX_BYTES).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"[{path}] expected a table of text in UTF-8: {error}") from error
    columns = [name.strip() for name in lines[0]] if lines else []
    return columns, ((n, line) for n, line in enumerate(lines[1:], start=2) if line)


def _row(columns: list[str], values: list[str], check: _Inside, has_part: bool) -> Row:
    """Raises ValueError."""
    if len(values) != len(columns):
        raise ValueError(f"expected {len(columns)} values, got {len(values)}")
    named = dict(zip(columns, map(str.strip, values), strict=True))
    if not named[LABEL]:
        raise ValueError("expected a label, got none")
    part = named[PART] if has_part else None
    if part not in (None, "train", "test"):
        raise ValueError(f"expected train or test as part, got {part!r}")
    return Row(check.path(named[FILE]), named[LABEL], part)


def _parts_by_folder(folder: Path, rows: list[Row]) -> list[Row]:
    first = [row.path.relative_to(folder).parts[0] for row in rows]
    if set(first) <= {"train", "test"}:
        return [row._replace(part=part) for row, part in zip(rows, first, strict=True)]
    return rows


class _Inside:
    """Paths of files in a folder, and refusals of all others."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.real = folder, Path(os.path.realpath(folder))
        self._safe: dict[Path, bool] = {}  # folders that were looked at

    def path(self, name: str) -> Path:
        """The regular file of this name. Raises ValueError for anything else, and outside."""
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if not name or "\0" in name:
            raise ValueError(f"expected the name of a file, got {name!r}")
        if posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts):
            raise ValueError(f"expected a file in this folder, got {name!r}")
        path = self.folder / posix
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                safe, status = self._holds(path), path.stat()
            else:
                parent = path.parent
                if parent not in self._safe:
                    self._safe[parent] = self._holds(parent)
                safe = self._safe[parent]
        except OSError as error:
            raise ValueError(f"{name!r}: {error.strerror}") from None
        if not safe:
            raise ValueError(f"expected a file in this folder, got {name!r}, a link out of it")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{name!r} is no regular file")
        return path

    def _holds(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.real)
