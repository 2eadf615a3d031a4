"""Where what can be made again is kept (downloads, decoded pictures, compiled code), how a file
comes there in one piece, and which files there are believed.

Compiled code runs as the user who loads it. So it lies in folders that are this user's own and that
nobody else can write to, under names that end in the hash of what the file holds.
"""

import atexit
import contextlib
import functools
import hashlib
import logging
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

ABANDONED = 3600.0  # seconds after which nobody is still at work on a hidden file
LARGEST = 1 << 28  # bytes of a file of compiled code

# Names that Windows lacks; 0 says nothing to `os.open`.
_CAREFULLY = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def cache_dir() -> Path:
    """The folder for files that can be made again; it need not exist yet.

    $XDG_CACHE_HOME/tinygrad_cupy where that is set to an absolute path, else what the platform asks
    for: %LOCALAPPDATA% on Windows, ~/Library/Caches on macOS, ~/.cache elsewhere. Who has no home
    folder has one of his own among the temporary files.

    >>> datasets.cache_dir().name
    'tinygrad_cupy'
    """
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if configured.is_absolute():
        return configured / "tinygrad_cupy"
    try:
        base = _base_of_platform()
    except RuntimeError:  # $HOME is not set, and the password file does not know this user
        base = Path()
    if base.is_absolute():
        return base / "tinygrad_cupy"
    return Path(_temporary_files()) / f"tinygrad_cupy-{getattr(os, 'getuid', int)()}"


def _base_of_platform() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path.home() / ".cache"


def _temporary_files() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none can be written to
        return os.path.join(os.sep, "tmp")


@functools.cache
def say_once(text: str) -> None:
    """One line to the user, through the logger "tinygrad_cupy": on stderr unless it is set up."""
    logging.getLogger("tinygrad_cupy").warning("%s", text)


# --- folders ------------------------------------------------------------------------------------


def private_folder(name: str) -> Path:
    """The folder ``name`` of the cache, made where it is not there yet, safe to load code from.

    It belongs to this user, and nobody else can write to it; an own folder that others may write to
    is tightened. What writers that were killed left there is cleared.

    Raises ``OSError``: it cannot be made, or it, or a folder that it lies in, is somebody else's.
    """
    folder = Path(os.path.realpath(cache_dir() / name))
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix":
        own = (folder, Path(os.path.realpath(cache_dir())))
        for each in (folder, *folder.parents):
            _check_own(each) if each in own else _check_above(each)
    _clear(folder)
    return folder


def _check_own(folder: Path) -> None:
    handle = os.open(folder, _CAREFULLY | os.O_DIRECTORY)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid():
            raise PermissionError(
                f"[{folder}] expected a folder of this user ({os.geteuid()}), it belongs to user "
                f"{status.st_uid}"
            )
        if status.st_mode & 0o022:
            os.fchmod(handle, stat.S_IMODE(status.st_mode) & ~0o022)
            if os.fstat(handle).st_mode & 0o022:
                raise PermissionError(f"[{folder}] others may write to it, which cannot be changed")
    finally:
        os.close(handle)


def _check_above(folder: Path) -> None:
    """Only this user, the system, and groups that they chose may rename what lies in ``folder``."""
    status = os.lstat(folder)
    if status.st_uid not in (0, os.geteuid(), os.lstat(os.sep).st_uid):
        raise PermissionError(
            f"[{folder}] expected a folder of this user ({os.geteuid()}) or of the system, it "
            f"belongs to user {status.st_uid}"
        )
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise PermissionError(f"[{folder}] anybody may write to it, and rename what lies in it")


@functools.cache
def _clear(folder: Path) -> None:
    """Remove what writers that were killed left behind."""
    try:
        for entry in os.scandir(folder):
            hidden = entry.name.startswith(".")
            if hidden and entry.stat(follow_symlinks=False).st_mtime < time.time() - ABANDONED:
                remove(Path(entry.path))
    except OSError:  # others clear it as well, or it cannot be written to
        return


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; what cannot be, stays."""
    try:
        path.unlink()
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


@functools.cache
def temporary_folder() -> Path:
    """A private folder that goes when this process ends. Raises ``OSError``."""
    folder, owner = Path(tempfile.mkdtemp(prefix="tinygrad_cupy-")), os.getpid()

    def end() -> None:
        if os.getpid() == owner:  # not a child that was forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return folder


# --- files --------------------------------------------------------------------------------------


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Fill `path` through `write(file)`, so that others see the old file or the whole new one.

    The bytes go to a temporary file beside it, which takes its place once they are on the disk: a
    power cut does not change that. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk, where the system has a call for it."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some file systems have none for folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_own(path: Path) -> bytes | None:
    """What a file holds that this user wrote and nobody else can; None where it is another thing.

    Links are not followed, devices not opened.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        handle = os.open(path, _CAREFULLY)
    except OSError:
        return None
    try:
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if os.name == "posix" and (
                status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_nlink != 1
            ):
                return None
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
                return None
            return file.read()
    except OSError:
        return None


def kept(folder: str, key: str, suffix: str) -> tuple[Path, bytes] | None:
    """The file that `keep` wrote, and what it holds; one that holds something else is removed."""
    try:
        found = sorted(private_folder(folder).glob(f"{key}-*{suffix}"))
    except OSError:
        return None
    for path in found:
        data = read_own(path)
        if data is not None and path.name == _name(key, data, suffix):
            return path, data
        remove(path)
    return None


def keep(folder: str, key: str, suffix: str, data: bytes) -> Path | None:
    """Store ``data`` in a folder of the cache for `kept`; where it lies.

    Where it cannot be stored, that is said, and the answer is None.
    """
    try:
        path = private_folder(folder) / _name(key, data, suffix)
        write_atomically(path, lambda file: file.write(data))
    except OSError as error:
        say_once(
            f"[cache] compiled code cannot be kept in {cache_dir() / folder}, and is made anew by "
            f"every process ({error}): $XDG_CACHE_HOME names another place"
        )
        return None
    return path


def _name(key: str, data: bytes, suffix: str) -> str:
    """What a file is called: which other file it might be taken for is part of its hash."""
    return f"{key}-{hashlib.sha256(key.encode() + data).hexdigest()[:32]}{suffix}"


# --- in memory ----------------------------------------------------------------------------------


def in_memory(name: str, data: bytes) -> Path:
    """The path of a file that only this process has and that needs no disk. Raises ``OSError``.

    It stays open: loaders know what they have loaded by its path, and would take the next file
    under this number for it.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no files in memory")
    handle = os.memfd_create(name)
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(data)
        path = Path(f"/proc/self/fd/{handle}")
        path.stat()  # /proc need not be there
    except BaseException:
        os.close(handle)
        raise
    return path


def on_disk(name: str, data: bytes) -> Path:
    """The path of such a file in this process's `temporary_folder`. Raises ``OSError``."""
    handle, path = tempfile.mkstemp(suffix=name, dir=temporary_folder())
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError:
        remove(Path(path))
        raise
    return Path(path)
