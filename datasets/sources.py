"""Published data sets: where their files are looked for, how they come into the cache, and checks.

Each is looked for in the folder that is named, else in $TINYGRAD_CUPY_DATA or the folder of the
set's name in it, else in the cache, into which it is downloaded. A damaged file in the cache is
fetched again; one elsewhere is an error.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinygrad_cupy.backend.cache import cache_dir

from .dataset import ArrayDataset, DataError
from .download import Check, DownloadError, fetch
from .files import read_file

DATA_VARIABLE = "TINYGRAD_CUPY_DATA"

Pair = tuple[ArrayDataset, ArrayDataset]


@dataclass(frozen=True)
class Source:
    """A data set: its files as they are downloaded, and how a folder with them is read.

    `holds(folder)` says whether a folder has all files, by name; `read(folder)` gives (train, test)
    and raises DataError for what is damaged; `shared` says whether its files may lie in
    $TINYGRAD_CUPY_DATA itself: their names are no other set's.
    """

    name: str
    what: str  # its files, in an error text
    files: dict[str, Check]
    mirrors: Sequence[str]
    most_bytes: int
    holds: Callable[[Path], bool]
    read: Callable[[Path], Pair]
    shared: bool = True

    @property
    def cache(self) -> Path:
        """The folder that downloads are kept in."""
        return cache_dir() / self.name

    def load(self, data_dir: str | Path | None, download: bool) -> Pair:
        """(train, test). Raises DataError, and DownloadError where a download fails."""
        if data_dir is not None:
            folder = Path(data_dir)
            if not self.holds(folder):
                raise DataError(f"[{self.name}] expected {self.what} in {folder}, got none there")
            return self.read(folder)
        elsewhere = [folder for folder in self._given() if self.holds(folder)]
        if elsewhere:
            return self.read(elsewhere[0])
        if not download:
            if self.holds(self.cache):
                return self.read(self.cache)
            places = " or ".join(map(str, (*self._given(), self.cache)))
            raise DataError(f"[{self.name}] expected {self.what} in {places}, got none there")
        return self._cached()

    def _given(self) -> list[Path]:
        given = os.environ.get(DATA_VARIABLE)
        if not given:
            return []
        return [*([Path(given)] if self.shared else []), Path(given) / self.name]

    def _cached(self) -> Pair:
        if self.holds(self.cache):
            try:
                return self.read(self.cache)
            except DataError:
                pass  # what is damaged is fetched again
        try:
            fetch(self.files, self.cache, self.mirrors, self.most_bytes)
        except DownloadError as error:
            raise type(error)(
                f"{error}; put {self.what} into a folder and name it as data_dir or in "
                f"${DATA_VARIABLE}"
            ) from error
        return self.read(self.cache)


def read(path: Path, most: int) -> bytes:
    """The bytes of a file. Raises DataError where it cannot be read or has more than `most`."""
    try:
        return read_file(path, most)
    except OSError as error:
        raise DataError(f"[{path}] cannot be read: {error.strerror}") from error


def is_file(path: Path) -> bool:
    """Whether a file is there; one that cannot be asked for is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def check_md5(content: bytes, expected: str, path: Path) -> None:
    """Raise DataError unless a file as it is stored has the hash that its makers published."""
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DataError(f"[{path}] expected md5 {expected}, as published, got {found}")


def check_balance(labels: npt.NDArray[np.uint8], classes: int, each: int, path: Path) -> None:
    """Raise DataError unless each class has `each` samples, as in sets that are known to."""
    counts = np.bincount(labels, minlength=classes)
    if len(counts) != classes or (counts != each).any():
        odd = int(np.flatnonzero(counts != each)[0])
        raise DataError(
            f"[{path}] expected {each} samples of each of {classes} classes, got {counts[odd]} of "
            f"class {odd}"
        )
