"""The file that a download grows in: this process's own, and what a dead process left is taken up.

A part is locked for as long as its process works on it (flock, which ends with the process, however
that ends). So two processes that download one file keep out of each other's way, and a part without
a lock is one that nobody will finish.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: there a part is begun anew and never taken up
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def own_part(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` to collect its bytes in, open for reading and writing.

    The longest part that a process left unfinished, else a new one. When this ends with an
    exception, the part stays for whoever comes next, unless nothing is in it. Raises OSError.
    """
    part, file = _abandoned(path) or _new(path)
    keep = False
    try:
        with file:
            try:
                yield file
            except BaseException:
                keep = os.fstat(file.fileno()).st_size > 0
                raise
    finally:
        if not keep:
            _remove(part)


def remove_abandoned(path: Path) -> None:
    """Remove the parts of `path` that no process works on."""
    for part in _parts(path):
        if (file := _locked(part)) is not None:
            with file:
                _remove(part)


def _new(path: Path) -> tuple[Path, BinaryIO]:
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Path(name), os.fdopen(handle, "r+b")


def _abandoned(path: Path) -> tuple[Path, BinaryIO] | None:
    """The longest part that no process holds, locked; None where there is none."""
    for part in sorted(_parts(path), key=_size, reverse=True):
        if (file := _locked(part)) is not None:
            return part, file
    return None


def _parts(path: Path) -> list[Path]:
    found = [part for part in path.parent.glob("*.part") if part.name.startswith(f"{path.name}.")]
    return [part for part in found if part.is_file()]


def _locked(part: Path) -> BinaryIO | None:
    """The part, opened and locked; None where another process has it or has removed it."""
    if fcntl is None:
        return None
    try:
        file = os.fdopen(os.open(part, _FLAGS), "r+b")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), part.stat()):
            return file  # else it was removed between the two steps
    except OSError:
        pass
    file.close()
    return None


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError):
        part.unlink()
