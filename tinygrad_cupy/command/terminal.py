"""Standard output and error that may be full, closed, narrow, or unable to show a letter."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from ..printing import printable

# What takes the place of signs that the terminal's encoding lacks; letters become escapes.
SUBSTITUTES = {
    "·": "-", "•": "*", "×": "x", "→": "->", "–": "-", "—": "-", "…": "...", "µ": "u", "μ": "u",
    "²": "^2", "‘": "'", "’": "'", "“": '"', "”": '"', "│": "|", "┃": "|", "║": "|", "─": "-",
    "━": "-", "═": "-", "╸": "-", "╺": "-", "█": "#", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
}  # fmt: skip
WIDTHS = range(20, 1001)  # of a terminal; outside of these nothing can be read, or memory runs out


class Guarded:
    """A stream whose writing never raises; `problem` says why something could not be written.

    What its encoding lacks is written otherwise. `stream` is None where the process was started
    with it closed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.problem: OSError | None = None
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.errors = getattr(stream, "errors", None) or "strict"

    def write(self, text: str) -> int:
        """Write, unless something could not be written before."""
        with self._noting(bool(text)) as stream:
            if stream is not None:
                try:
                    stream.write(text)
                except UnicodeEncodeError:
                    stream.write(fit(text, self.encoding))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are, where the stream takes any."""
        self.flush()
        binary = getattr(self.stream, "buffer", None)
        if binary is None:
            self.write(data.decode("utf-8", "backslashreplace"))
            return
        with self._noting() as stream:
            if stream is not None:
                binary.write(data)

    def flush(self) -> None:
        """Bring what was written to the other side."""
        with self._noting(False) as stream:
            if stream is not None:
                stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with suppress(OSError, ValueError):
            return self.stream is not None and self.stream.isatty()
        return False

    def fileno(self) -> int:
        """The descriptor below; raises OSError where there is none."""
        if self.stream is None:
            raise OSError(errno.EBADF, "it is closed")
        return self.stream.fileno()

    def writable(self) -> bool:
        """True."""
        return True

    def drop(self) -> None:
        """Send what could not be written nowhere, or the interpreter would try again at its end."""
        if self.problem is not None:
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.fileno())
                os.close(nowhere)

    @contextmanager
    def _noting(self, wanted: bool = True) -> Iterator[TextIO | None]:
        """The stream, or None where it takes nothing; what goes wrong with it is the problem."""
        if self.stream is None and wanted and self.problem is None:
            self.problem = OSError(errno.EBADF, "it is closed")
        try:
            yield self.stream if self.problem is None else None
        except OSError as error:
            self.problem = error
        except ValueError:  # "I/O operation on closed file"
            self.problem = OSError(errno.EBADF, "it is closed")


def fit(text: str, encoding: str) -> str:
    """`text` with whatever `encoding` lacks written in ASCII."""

    def fitted(character: str) -> str:
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            escape = character.encode("ascii", "backslashreplace").decode()
            return SUBSTITUTES.get(character, "+" if "─" <= character <= "╿" else escape)
        return character

    return "".join(map(fitted, text))


@contextmanager
def guarded() -> Iterator[tuple[Guarded, Guarded]]:
    """Standard output and error, guarded while the block runs; and a width that can be used."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    out, err = Guarded(sys.stdout), Guarded(sys.stderr)
    widths = {name: os.environ[name] for name in _unusable_widths()}
    for name in widths:
        del os.environ[name]
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out, err
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
        os.environ.update(widths)
        out.drop()
        err.drop()


def print_path(path: Path) -> None:
    """The path alone on a line, for a script to read: every byte of it as it is."""
    if isinstance(sys.stdout, Guarded):
        sys.stdout.write_bytes(os.fsencode(path) + b"\n")
    else:
        print(printable(path))


def output_problem() -> str | None:
    """Why standard output did not take all that was printed so far, if it did not."""
    if not isinstance(sys.stdout, Guarded):
        return None
    sys.stdout.flush()
    problem = sys.stdout.problem
    return None if problem is None else problem.strerror or str(problem)


def reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    return isinstance(getattr(sys.stdout, "problem", None), BrokenPipeError)


def _fill_descriptors() -> None:
    """Where 0, 1 or 2 was closed, a file opened later would get that number, and be printed to."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)


def _unusable_widths() -> Iterator[str]:
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        value = os.environ.get(name)
        smallest = 1 if name == "LINES" else WIDTHS.start
        if value is not None and not (
            value.isascii() and value.isdigit() and smallest <= int(value[:9]) < WIDTHS.stop
        ):
            yield name
