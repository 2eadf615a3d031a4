"""Files of known names and sizes out of a .tar.gz, in memory: nothing is written anywhere.

So no name in it leads out of a folder, and no link is followed. What is unpacked is counted as it
is read.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path

from .dataset import DataError

MOST_BYTES = 1 << 28  # unpacked, half as much again as the largest archive here
MOST_MEMBERS = 1000
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
BROKEN = (
    *(tarfile.TarError, OSError, EOFError, zlib.error, ValueError, KeyError, IndexError),
    *(OverflowError, RecursionError),
)


class _Limited:
    """A stream that gives `MOST_BYTES` at most."""

    def __init__(self, stream: gzip.GzipFile, path: Path) -> None:
        self.stream, self.path, self.given = stream, path, 0

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.given += len(content)
        if self.given > MOST_BYTES:
            raise DataError(f"[{self.path}] expected at most {MOST_BYTES:,} bytes unpacked")
        return content


def read_members(stored: bytes, sizes: dict[str, int], path: Path) -> dict[str, bytes]:
    """The files of these names, each of exactly its size, in an archive's bytes.

    Raises DataError when one is missing, comes twice, is no regular file or has another size, and
    when the archive is damaged or too large.
    """
    try:
        return _read_members(stored, sizes, path)
    except DataError:
        raise
    except BROKEN as error:
        raise DataError(
            f"[{path}] expected an intact .tar.gz, got a corrupt one ({error})"
        ) from error


def _read_members(stored: bytes, sizes: dict[str, int], path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with gzip.GzipFile(fileobj=io.BytesIO(stored)) as plain:
        stream = _Limited(plain, path)
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
            for number, member in enumerate(archive):
                if number == MOST_MEMBERS:
                    raise DataError(f"[{path}] expected at most {MOST_MEMBERS} files in it")
                name = member.name.removeprefix("./")
                if name not in sizes:
                    continue
                if name in found or member.type not in PLAIN or member.size != sizes[name]:
                    raise DataError(
                        f"[{path}] expected {name} once, as a file of {sizes[name]:,} bytes"
                    )
                content = archive.extractfile(member)
                found[name] = b"" if content is None else content.read()
        while stream.read(1 << 16):  # to the end, where gzip has its own check
            pass
    missing = [
        name for name, size in sizes.items() if name not in found or len(found[name]) != size
    ]
    if missing:
        raise DataError(f"[{path}] expected {', '.join(sizes)} in it, missing: {missing[0]}")
    return found
