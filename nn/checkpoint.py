"""Checkpoints on the disk: files that are whole or not there, and checked before they are used.

A checkpoint is two files in the folder:

    0000012.safetensors   the arrays
    0000012.json          the figures; size and SHA-256 of the arrays; their names, dtypes, shapes

The figures are written last, and each file beside its place and renamed: a checkpoint of which
both are there was written to its end. They are written by a thread: training goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.datasets.files import read_file
from tinygrad_cupy.folders import FolderBusyError, Lock, write_file

from . import checks

FORMAT, VERSION = "tinygrad_cupy checkpoint", 1
NAME = re.compile(r"(\d{7,})\.(json|safetensors)")
MOST_FIGURES = 1 << 28  # bytes of a .json
SPEED, FIXED = 2.5e8, 0.01  # what one is taken to cost before any was written: bytes/s, seconds
FULL = (errno.ENOSPC, errno.EDQUOT)
# What safetensors of any version holds; other arrays are stored as their bytes.
PLAIN = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
)

Tell = Callable[[str], None]
Arrays = Mapping[str, np.ndarray]
Collect = Callable[[], tuple[dict[str, Any], Arrays]]


class CheckpointError(ValueError):
    """A checkpoint that is damaged, of another format, or of something else; names the file."""


class Saved(NamedTuple):
    """What a checkpoint holds, and the file of its figures."""

    path: Path
    figures: dict[str, Any]
    arrays: dict[str, np.ndarray]


def warn(text: str) -> None:
    """Say it as a warning, which Python shows once for each text."""
    warnings.warn(text, UserWarning, stacklevel=4)


class Checkpoints:
    """The folder of a run's checkpoints, and when the next one is due.

    folder: is made when the first is written
    minutes: within an epoch, one after so many minutes without any
    share: of the time, the most that they may cost: after one that cost a second, the next comes
        100 seconds later at the earliest. The one after the last epoch always comes.
    keep: how many stay; older ones are removed
    tell: is called with what a user should know: that a checkpoint is damaged, that one could not
        be written, that there is none. Default: a warning.

    One process writes into a folder at a time (`held`). `cost` is what the last one took from
    training: the seconds in which it stood still for it, and those of a processor that wrote it
    meanwhile. `spent` is the sum over all.

    >>> import tempfile
    >>> model, loader = nn.Linear(2, 3), datasets.DataLoader(datasets.spiral(60), 20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoints = nn.Checkpoints(f"{folder}/a", minutes=10)
    ...     adam = nn.optim.Adam(model.parameters())
    ...     history = nn.Trainer(model, adam, checkpoint=checkpoints).fit(loader, epochs=2)
    ...     saved = checkpoints.load()
    >>> saved.figures["epoch"], saved.arrays["model.weight"].shape
    (2, (3, 2))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        minutes: float = 5.0,
        share: float = 0.01,
        keep: int = 2,
        tell: Tell = warn,
    ) -> None:
        self.folder = Path(folder)
        self.minutes = checks.number(self, "minutes", minutes, least=0)
        self.share = checks.positive(self, "share", share)
        self.keep = checks.integer(self, "keep", keep)
        self.tell = tell
        self.cost = 0.0
        self.spent = 0.0
        self._since = time.monotonic()
        self._damaged: set[int] = set()
        self._known: int | None = None  # written or read last
        self._failing = False
        self._writing: _Writing | None = None
        self._holds = 0
        self._lock: Lock | None = None

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.folder)!r}, minutes={self.minutes:g}, share={self.share:g})"

    # --- when -----------------------------------------------------------------------------------

    def expect(self, size: int) -> None:
        """Say how many bytes one will have, from which the cost of the first is guessed."""
        if not self.spent:
            self.cost = FIXED + size / SPEED

    def due(self, in_epoch: bool) -> bool:
        """Whether one is due now, in the middle of an epoch or after it."""
        passed = time.monotonic() - self._since
        cost = self.cost
        if self._writing is not None:
            if self._writing.is_alive():  # it has cost no more than the time since
                cost = passed
            else:
                self.wait()
        return passed * self.share >= cost and not (in_epoch and passed < 60 * self.minutes)

    # --- writing --------------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing into the folder. FolderBusyError where one does.

        At the end, of the outermost where they are nested, all that was begun is written.
        """
        if self._lock is None:
            try:
                self._lock = Lock(self.folder)
            except FolderBusyError as error:
                raise FolderBusyError(
                    error.errno,
                    f"[Checkpoints] another run is writing its checkpoints to "
                    f"{str(self.folder)!r}: choose another folder",
                ) from None
            self._since = time.monotonic()
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                try:
                    self.wait()
                finally:
                    self._lock.close()
                    self._lock = None
                    with contextlib.suppress(OSError):
                        self.folder.rmdir()  # where nothing was written

    def numbers(self) -> list[int]:
        """Those that were written to their end, in order; whether they are whole `load` says."""
        return sorted(number for number, kind in self._files() if kind == "json")

    def own(self) -> bool:
        """Whether this object wrote or read the last one, or there is none."""
        return not (numbers := self.numbers()) or numbers[-1] == self._known

    def write(self, collect: Collect) -> Path | None:
        """One more, of what `collect` returns: figures for JSON, and arrays.

        What stands between the last ones to be kept and this is removed after it. Where it cannot
        be written, that is told, the others stay, and None is returned.
        """
        self.begin(collect)
        return self.wait()

    def begin(self, collect: Collect) -> None:
        """As `write`, but what `collect` returned, which nobody changes, is written meanwhile.

        One at a time: the one before is waited for.
        """
        started = time.monotonic()
        self.wait()
        figures, arrays = collect()
        self._since = time.monotonic()
        self.cost = self._since - started
        self.spent += self.cost
        self._writing = _Writing(lambda: self._write_one(figures, arrays))
        self._writing.start()

    def wait(self) -> Path | None:
        """Until what was begun is written; its path, and None where it could not be.

        What interrupts that, Ctrl-C for one, is raised afterwards.
        """
        writing, started = self._writing, time.monotonic()
        if writing is None:
            return None
        interruption = writing.joined()
        self._writing = None
        cost = time.monotonic() - started + writing.seconds
        self.cost += cost
        self.spent += cost
        if interruption is not None:
            raise interruption
        if isinstance(writing.error, OSError):
            self._tell_failure(writing.error, self._whole_numbers())
        elif writing.error is not None:
            raise writing.error
        else:
            self._failing = False
        return writing.path

    def _whole_numbers(self) -> list[int]:
        return [number for number in self.numbers() if number not in self._damaged]

    def _write_one(self, figures: dict[str, Any], arrays: Arrays) -> Path:
        """All of a checkpoint's work with the disk."""
        numbers = self._whole_numbers()
        number = 1 + max((number for number, _ in self._files()), default=0)
        try:
            path = self._write(number, figures, arrays)
        except OSError as error:
            if error.errno not in FULL or len(numbers) < 2:
                raise
            self._remove_all_but(numbers[-1:])  # one is enough while there is room for two
            path = self._write(number, figures, arrays)
        self._known = number
        self._remove_all_but([*numbers, number][-self.keep :])
        return path

    def _write(self, number: int, figures: dict[str, Any], arrays: Arrays) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        pieces = _safetensors({name: _storable(array) for name, array in arrays.items()})
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        path = self._path(number, "safetensors")
        content = {
            "format": FORMAT,
            "version": VERSION,
            "file": path.name,
            "bytes": sum(map(len, pieces)),
            "sha256": digest.hexdigest(),
            "arrays": {name: [a.dtype.name, list(a.shape)] for name, a in arrays.items()},
            "figures": figures,
        }
        whole = {"sha256_of_the_rest": _digest(content), **content}
        text = json.dumps(whole, indent=1, allow_nan=False).encode()
        try:
            write_file(path, *pieces)
            write_file(self._path(number, "json"), text)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return self._path(number, "json")

    def _tell_failure(self, error: OSError, numbers: list[int]) -> None:
        if self._failing:  # was told when it began
            return
        self._failing = True
        last = "there is none yet"
        if numbers:
            last = f"the last one is {str(self._path(numbers[-1], 'json'))!r}"
        self.tell(
            f"cannot write a checkpoint to {str(self.folder)!r}: {error.strerror or error}; "
            f"{last}, and training goes on"
        )

    # --- reading --------------------------------------------------------------------------------

    def load(self) -> Saved | None:
        """The last one that is whole; None where there is none.

        Of a damaged one that is newer, `tell` is told what is wrong with which file. Raises
        CheckpointError where all are damaged, or the last is of another version.
        """
        self.wait()
        problems = []
        for number in reversed(self.numbers()):
            try:
                saved = self._read(number)
            except _DamagedError as error:
                self._damaged.add(number)
                problems.append(str(error))
                continue
            self._known = number
            for problem in problems:
                self.tell(f"{problem}: going back to {str(saved.path)!r}")
            return saved
        if problems:
            raise CheckpointError(
                f"[Checkpoints] no checkpoint in {str(self.folder)!r} is whole: "
                + "; ".join(problems)
            )
        return None

    def _read(self, number: int) -> Saved:
        path = self._path(number, "json")
        content = _read_figures(path)
        file = self._path(number, "safetensors")
        size = content["bytes"]
        try:
            data = read_file(file, size)
        except OSError as error:
            raise _DamagedError(f"cannot read {str(file)!r} ({error.strerror})") from error
        if len(data) != size:
            raise _DamagedError(f"{str(file)!r} is damaged: it has {len(data):,} bytes of {size:,}")
        if hashlib.sha256(data).hexdigest() != content["sha256"]:
            raise _DamagedError(f"{str(file)!r} is damaged: its SHA-256 is another")
        from safetensors.numpy import load

        try:
            arrays = _restored(load(data), content["arrays"])
        except Exception as error:  # SafetensorError, KeyError: not what `_write` makes
            raise _DamagedError(f"{str(file)!r} is damaged: {error}") from error
        return Saved(path, content["figures"], arrays)

    # --- files ----------------------------------------------------------------------------------

    def _path(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:07d}.{kind}"

    def _files(self) -> list[tuple[int, str]]:
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = (NAME.fullmatch(name) for name in names)
        return [(int(match[1]), match[2]) for match in found if match]

    def _remove_all_but(self, kept: list[int]) -> None:
        for number, kind in sorted(self._files()):  # "json" first: what is half gone is none
            if number not in kept:
                with contextlib.suppress(OSError):
                    self._path(number, kind).unlink()


class _DamagedError(Exception):
    """What is wrong with which file."""


class _Writing(threading.Thread):
    """Writes one checkpoint; `path`, or the `error`, and the processor's `seconds` are there then.

    No daemon: a program that ends waits for it.
    """

    def __init__(self, write: Callable[[], Path]) -> None:
        super().__init__(name="checkpoint", daemon=False)
        self._write = write
        self.path: Path | None = None
        self.error: BaseException | None = None
        self.seconds = 0.0

    def run(self) -> None:
        try:
            self.path = self._write()
        except BaseException as error:
            self.error = error
        self.seconds = time.thread_time()

    def joined(self) -> BaseException | None:
        """Wait for the end; returns what interrupted that."""
        interruption = None
        while self.is_alive():
            try:
                self.join()
            except BaseException as error:
                interruption = error
        return interruption


def number(value: float | None) -> float | str | None:
    """A float as JSON has it: what is not finite as a word, which `float` reads."""
    return value if value is None or math.isfinite(value) else repr(float(value))


def _safetensors(arrays: Arrays) -> list[bytes | memoryview]:
    """The file that `safetensors.numpy.load` reads, in pieces, none of them a copy.

    https://huggingface.co/docs/safetensors: the length of a header, the header, and the bytes of
    all arrays, those of larger elements first. (The library's own `save` copies them twice, and
    no other thread runs meanwhile.)
    """
    entries: dict[str, Any] = {}
    pieces: list[bytes | memoryview] = []
    end = 0
    for name, array in sorted(arrays.items(), key=lambda one: (-one[1].itemsize, one[0])):
        start, end = end, end + array.nbytes
        code = "BOOL"
        if array.dtype.kind != "b":
            code = f"{array.dtype.kind.upper()}{8 * array.itemsize}"  # F32, I64, U8
        entries[name] = {"dtype": code, "shape": array.shape, "data_offsets": [start, end]}
        if array.nbytes:
            pieces.append(array.reshape(-1).view(np.uint8).data)
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return [len(header).to_bytes(8, "little"), header, *pieces]


def _storable(array: np.ndarray) -> np.ndarray:
    array = np.require(array, array.dtype.newbyteorder("<"), "C")
    return array if array.dtype.name in PLAIN else array.reshape(-1).view(np.uint8)


def _restored(stored: dict[str, np.ndarray], said: dict[str, Any]) -> dict[str, np.ndarray]:
    if stored.keys() != said.keys():
        raise ValueError(f"expected arrays {sorted(said)}, got {sorted(stored)}")
    found = {}
    for name, (dtype, shape) in said.items():
        array = stored[name]
        if dtype not in PLAIN:
            array = array.view(resolve_dtype(dtype)).reshape(shape)
        if array.dtype.name != dtype or list(array.shape) != shape:
            raise ValueError(f"expected {name} as {dtype} {shape}, got {array.dtype} {array.shape}")
        found[name] = array
    return found


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_figures(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_file(path, MOST_FIGURES))
    except OSError as error:
        raise _DamagedError(f"cannot read {str(path)!r} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _DamagedError(f"{str(path)!r} is damaged: it does not say that it is a checkpoint")
    said = content.pop("sha256_of_the_rest", None)
    if said != _digest(content):
        raise _DamagedError(f"{str(path)!r} is damaged: its figures do not fit their SHA-256")
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"[Checkpoints] {str(path)!r} has version {content.get('version')!r} of the format, "
            f"this release reads {VERSION}"
        )
    return content
