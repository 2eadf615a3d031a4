"""Fetch files from the first mirror that serves them: resumable, checked, and put in place whole.

A file grows in a part of this process's own (see `part`); once its content passes the check it is
written beside and moved to its name. A broken download goes on where it stopped, at whichever
mirror answers next. Whatever goes wrong with one mirror, the next is asked.
"""

import concurrent.futures
import http.client
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

from tinygrad_cupy.backend.cache import write_atomically

from .dataset import DataError
from .part import own_part, remove_abandoned

CONTACT_SECONDS = 5.0  # for all mirrors together: without a network it is known after this long
STALL_SECONDS = 10.0  # a mirror that has sent less than STALL_BYTES in this time is left
STALL_BYTES = 10_000
MOST_SECONDS = 900.0  # for all files from all mirrors
MOST_BYTES = 64 << 20  # of one file
CHUNK = 1 << 16

T = TypeVar("T")
Check = Callable[[bytes, Path], object]  # raises DataError when these are not the bytes wanted


class DownloadError(DataError):
    """No mirror could be reached, or none served the file intact, or it cannot be kept here."""


class UnreachableError(DownloadError):
    """No mirror could be reached: there is no network, or none that leads there."""


def fetch(
    files: dict[str, Check], folder: Path, mirrors: Sequence[str], most_bytes: int = MOST_BYTES
) -> None:
    """Download `files` (name -> check of its bytes) into `folder`, asking the mirrors in turn.

    Files that are there and pass their check stay. Raises DownloadError, which says what each
    mirror answered: without a network UnreachableError, after CONTACT_SECONDS at most. A mirror
    that sends more than `most_bytes` for a file is given up, as is one that stands still; after
    MOST_SECONDS everything is. Several processes may fetch the same files at once.
    """
    wanted = [name for name, check in files.items() if not _is_intact(folder / name, check)]
    if not wanted:
        return
    deadline = time.monotonic() + MOST_SECONDS
    alive = _reachable(mirrors, wanted[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            path, check = folder / name, files[name]
            with own_part(path) as part:
                content = _from_first_intact(path, part, check, alive, most_bytes, deadline)
                # Written anew instead of moved: others see the old file or the whole new one.
                write_atomically(path, partial(_write, content))
            remove_abandoned(path)
    except OSError as error:  # of this disk: what a mirror does wrong is handled below
        raise DownloadError(f"[{folder}] cannot keep a download here: {error}") from error


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _is_intact(path: Path, check: Check) -> bool:
    try:
        if not path.is_file():  # a pipe of that name would be waited for
            return False
        check(path.read_bytes(), path)
    except (OSError, DataError):
        return False
    return True


def _reachable(mirrors: Sequence[str], name: str) -> list[str]:
    """The mirrors that answer at all, in the order given; all are asked at once."""

    def ask(mirror: str) -> None:
        request = urllib.request.Request(mirror + name, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=CONTACT_SECONDS):
                pass
        except urllib.error.HTTPError as error:
            error.close()  # a server is there; what it says to GET is what counts

    answers = {mirror: _begin(ask, mirror) for mirror in mirrors}
    deadline = time.monotonic() + CONTACT_SECONDS
    failures: dict[str, _MirrorError] = {}
    for mirror, answer in answers.items():
        try:
            _await(answer, deadline - time.monotonic(), CONTACT_SECONDS)
        except _MirrorError as error:
            failures[mirror] = error
    alive = [mirror for mirror in mirrors if mirror not in failures]
    if not alive:
        reasons = "; ".join(f"{_host(mirror)}: {failures[mirror]}" for mirror in mirrors)
        kind = UnreachableError if all(map(_is_silence, failures.values())) else DownloadError
        raise kind(f"[{name}] no mirror can be reached ({reasons})")
    return alive


def _from_first_intact(
    path: Path,
    part: BinaryIO,
    check: Check,
    mirrors: Sequence[str],
    most_bytes: int,
    deadline: float,
) -> bytes:
    """The checked bytes of `path`, collected in `part`."""
    failures = []
    for mirror in mirrors:
        resumed = _size(part) > 0
        try:
            _receive(mirror + path.name, part, most_bytes, deadline)
            try:
                return _checked(path, part, check)
            except DataError:
                if not resumed:
                    raise
            # From the beginning: the old part may have been wrong.
            _receive(mirror + path.name, part, most_bytes, deadline)
            return _checked(path, part, check)
        except (_MirrorError, DataError) as error:
            failures.append(f"{_host(mirror)}: {error}")
    raise DownloadError(f"[{path.name}] no mirror served it intact ({'; '.join(failures)})")


def _checked(path: Path, part: BinaryIO, check: Check) -> bytes:
    """The bytes of a finished part; one that fails its check is emptied."""
    part.seek(0)
    content = part.read()
    try:
        check(content, path)
    except DataError:
        part.truncate(0)
        raise
    return content


class _MirrorError(Exception):
    """A request to one mirror failed; the next may do."""


def _receive(url: str, part: BinaryIO, most_bytes: int, deadline: float) -> None:
    """Bring `part` to its full length, asking only for the bytes it still lacks."""
    start = _size(part)
    response = _open(url, start)
    if response is None:
        return  # nothing is left to send; the check decides about the part
    with response:
        if response.status != 206 or _range_start(response) != start:
            start = 0  # this server sends the file from its beginning
            part.truncate(0)
        length = _length(response)
        if start + (length or 0) > most_bytes:
            part.truncate(0)  # or it would be too long for the next mirror, too
            raise _MirrorError(f"expected {most_bytes} bytes at most, got {start + (length or 0)}")
        part.seek(start)
        received = _copy(response, part, most_bytes, deadline)
        if length is not None and received != start + length:
            raise _MirrorError(f"the connection ended after {received} of {start + length} bytes")


def _copy(
    response: http.client.HTTPResponse, part: BinaryIO, most_bytes: int, deadline: float
) -> int:
    """Append what the mirror sends; how long the part is then."""
    since, seen = time.monotonic(), part.tell()
    while chunk := _asked(response.read1, CHUNK):
        if part.tell() + len(chunk) > most_bytes:
            part.truncate(0)
            raise _MirrorError(f"expected {most_bytes} bytes at most, got more")
        part.write(chunk)
        part.flush()
        now = time.monotonic()
        if now > deadline:
            raise _MirrorError(f"the download took longer than {MOST_SECONDS:g} seconds")
        if now - since > STALL_SECONDS:
            if part.tell() - seen < STALL_BYTES:
                raise _MirrorError(f"only {part.tell() - seen} bytes in {now - since:.0f} seconds")
            since, seen = now, part.tell()
    return part.tell()


def _open(url: str, start: int) -> http.client.HTTPResponse | None:
    """The answer to a request for the bytes from `start` on; None when there are none."""

    def ask(url: str) -> http.client.HTTPResponse | None:
        wanted = {"Range": f"bytes={start}-"} if start else {}
        request = urllib.request.Request(url, headers=wanted)
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(
                request, timeout=STALL_SECONDS
            )
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and start:
                return None
            raise
        return response

    # Headers that come a byte at a time never time out at the socket.
    return _await(_begin(ask, url), 2 * STALL_SECONDS, 2 * STALL_SECONDS)


def _begin(function: Callable[[str], T], url: str) -> "concurrent.futures.Future[T]":
    """Call in a thread: looking up a host's name can block for longer than any socket's timeout."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def call() -> None:
        try:
            future.set_result(function(url))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def _await(future: "concurrent.futures.Future[T]", seconds: float, said: float) -> T:
    try:
        return _asked(future.result, max(0.0, seconds))
    except _MirrorError as error:
        if isinstance(error.__cause__, TimeoutError) and not future.done():
            raise _MirrorError(f"no answer within {said:g} seconds") from error
        raise


def _asked(function: Callable[..., T], *arguments: object) -> T:
    """`function(*arguments)`; whatever a server makes it raise is that mirror's failure.

    Python's HTTP client raises more than OSError: ValueError for an address that a redirect gives,
    UnicodeError for a host's name, and so on.
    """
    try:
        return function(*arguments)
    except Exception as error:
        raise _MirrorError(_reason(error)) from error


def _length(response: http.client.HTTPResponse) -> int | None:
    """How many bytes the mirror says it will send; None when it does not say."""
    said = response.headers["Content-Length"]
    if said is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", said.strip()):
        raise _MirrorError(f"expected a Content-Length in digits, got {said!r}")
    return int(said)


def _range_start(response: http.client.HTTPResponse) -> int | None:
    found = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _is_silence(failure: _MirrorError) -> bool:
    """Whether no network explains it; somebody who has no certificate, or no HTTP, is there."""
    cause = failure.__cause__
    if isinstance(cause, urllib.error.URLError):
        cause = cause.reason if isinstance(cause.reason, BaseException) else cause
    return isinstance(cause, OSError) and not isinstance(cause, ssl.SSLCertVerificationError)


def _size(part: BinaryIO) -> int:
    return part.seek(0, 2)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        text = f"HTTP {error.code} {error.reason}"
    else:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        text = str(cause) or type(cause).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:200]  # a server chose these words
