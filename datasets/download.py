"""Fetch files from the first mirror that serves them: resumable, checked, and put in place whole.

A file grows as `NAME.part`; once its content passes the check it is written beside and moved to its
name. A broken download goes on where it stopped, at whichever mirror answers next.
"""

import http.client
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tinygrad_cupy.cache import write_atomically

from .dataset import DataError

CONTACT_SECONDS = 5.0  # for all mirrors together: without a network it is known after this long
STALL_SECONDS = 10.0  # how long a download under way may stand still
CHUNK = 1 << 16

Check = Callable[[bytes, Path], object]  # raises DataError when these are not the bytes wanted


class DownloadError(DataError):
    """No mirror could be reached, or none served the file intact."""


def fetch(files: dict[str, Check], folder: Path, mirrors: Sequence[str]) -> None:
    """Download `files` (name -> check of its bytes) into `folder`, asking the mirrors in turn.

    Files that are there and pass their check stay. Raises DownloadError, which says what each
    mirror answered; without a network that takes CONTACT_SECONDS at most.
    """
    wanted = [name for name, check in files.items() if not _is_intact(folder / name, check)]
    if not wanted:
        return
    alive = _reachable(mirrors, wanted[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            _fetch_one(folder / name, files[name], alive)
    except OSError as error:  # of this disk: what a mirror does wrong is handled below
        raise DownloadError(f"[{folder}] cannot keep a download here: {error}") from error


def _is_intact(path: Path, check: Check) -> bool:
    try:
        check(path.read_bytes(), path)
    except (OSError, DataError):
        return False
    return True


def _reachable(mirrors: Sequence[str], name: str) -> list[str]:
    """The mirrors that answer at all, in the order given.

    All are asked at once, each in a thread: looking up a host's name can block for longer than
    any timeout that a socket knows.
    """
    answers: dict[str, str | None] = {}  # mirror -> why it is out, None when it is in

    def ask(mirror: str) -> None:
        request = urllib.request.Request(mirror + name, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=CONTACT_SECONDS):
                answers[mirror] = None
        except urllib.error.HTTPError as error:
            error.close()
            answers[mirror] = None  # a server is there; what it says to GET is what counts
        except (OSError, http.client.HTTPException) as error:
            answers[mirror] = _reason(error)

    threads = [threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    deadline = time.monotonic() + CONTACT_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = f"no answer within {CONTACT_SECONDS:g} seconds"
    failures = {mirror: answers.get(mirror, silent) for mirror in mirrors}
    alive = [mirror for mirror in mirrors if failures[mirror] is None]
    if not alive:
        reasons = "; ".join(f"{_host(mirror)}: {failures[mirror]}" for mirror in mirrors)
        raise DownloadError(f"[{name}] no mirror can be reached ({reasons})")
    return alive


def _fetch_one(path: Path, check: Check, mirrors: Sequence[str]) -> None:
    part = path.with_name(path.name + ".part")
    content = _from_first_intact(path.name, part, check, mirrors)
    # Written anew instead of moved: another process may still be appending to the part.
    write_atomically(path, lambda file: file.write(content))
    part.unlink(missing_ok=True)


def _from_first_intact(name: str, part: Path, check: Check, mirrors: Sequence[str]) -> bytes:
    failures = []
    for mirror in mirrors:
        resumed = part.exists()
        try:
            _receive(mirror + name, part)
            try:
                return _checked(part, check)
            except DataError:
                if not resumed:
                    raise
            _receive(mirror + name, part)  # from the beginning: the old part may have been wrong
            return _checked(part, check)
        except (_MirrorError, DataError) as error:
            failures.append(f"{_host(mirror)}: {error}")
    raise DownloadError(f"[{name}] no mirror served it intact ({'; '.join(failures)})")


def _checked(part: Path, check: Check) -> bytes:
    """The bytes of a finished part; one that fails its check is removed."""
    content = part.read_bytes()
    try:
        check(content, part)
    except DataError:
        part.unlink(missing_ok=True)
        raise
    return content


class _MirrorError(Exception):
    """A request to one mirror failed; the next may do."""


def _receive(url: str, part: Path) -> None:
    """Bring `part` to its full length, asking only for the bytes it still lacks."""
    start = part.stat().st_size if part.exists() else 0
    response = _open(url, start)
    if response is None:
        return  # nothing is left to send; the check decides about the part
    with response:
        if response.status != 206 or _range_start(response) != start:
            start = 0  # this server sends the file from its beginning
        with part.open("ab" if start else "wb") as file:
            while chunk := _read(response):
                file.write(chunk)
        received = part.stat().st_size
        length = response.headers["Content-Length"]
        if length is not None and received != start + int(length):
            raise _MirrorError(
                f"the connection ended after {received} of {start + int(length)} bytes"
            )


def _open(url: str, start: int) -> http.client.HTTPResponse | None:
    """The answer to a request for the bytes from `start` on; None when there are none."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=STALL_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            return None
        raise _MirrorError(_reason(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorError(_reason(error)) from error
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorError(_reason(error)) from error


def _range_start(response: http.client.HTTPResponse) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__
