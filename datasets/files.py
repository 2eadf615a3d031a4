"""Files that somebody else may have written: regular ones only, and only up to a size."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def kind_of(mode: int) -> str:
    """What a mode of `os.stat` says that something is, in a word; "file" for a regular file."""
    return "file" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "special file")


@contextmanager
def open_file(path: Path, most: int) -> Iterator[io.BufferedReader]:
    """Open a regular file of at most `most` bytes for reading.

    Never waits for a FIFO or a device. Raises OSError, whose strerror says what is wrong.
    """
    _check(path, os.stat(path), most)  # before opening: to open a device may already do something
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _check(path, os.fstat(file.fileno()), most)  # what was opened may be another by now
        yield file


def read_file(path: Path, most: int) -> bytes:
    """The bytes of a regular file, at most `most`. Raises OSError, see `open_file`."""
    with open_file(path, most) as file:
        said = os.fstat(file.fileno()).st_size
        content = file.read(said + 1)
        if len(content) > said:  # a file of /proc, or one that grows
            content += file.read(most + 1 - len(content))
    if len(content) > most:
        raise _too_large(path, most, f"{len(content):,} or more")
    return content


def _check(path: Path, found: os.stat_result, most: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        text = f"expected a regular file, got a {kind_of(found.st_mode)}"
        raise OSError(errno.EINVAL, text, str(path))
    if found.st_size > most:
        raise _too_large(path, most, f"{found.st_size:,}")


def _too_large(path: Path, most: int, size: str) -> OSError:
    return OSError(errno.EFBIG, f"expected at most {most:,} bytes, got {size}", str(path))
