"""Folders that one process at a time fills, and that are never seen half full.

    with Claim(folder, replaces, last=("metrics.json",)) as claim:
        claim.write("model.safetensors", data)
        claim.write("metrics.json", figures)
        claim.commit()

What is written lies hidden in the folder itself, so that the folder may be a mount point, a link
or the working directory, and keeps its owner and rights:

    .writing/lock    locked while its process lives; what lies beside a lock that nobody holds was
                     left by one that was killed
    .writing/new     is being written
    .writing/whole   the same, complete: what stood in the folder goes to .writing/old
    .writing/enters  the same, after that: it goes to its names in the folder

A commit that is cut short between two renames is finished by whoever comes next.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

STAGING = ".writing"
ATTEMPTS = 1000  # others may remove what was just made, each of them once

_open: list[Claim] = []
_placed: list[Path] = []


class FolderBusyError(OSError):
    """Another process is writing to the folder, or has just written to it."""


def unused(folder: Path) -> Path:
    """``folder``, or the first of ``folder``-2, -3, … that does not exist."""
    number, candidate = 1, folder
    while os.path.lexists(candidate):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def entries(folder: Path) -> list[str]:
    """The names in ``folder``, sorted, without what is being written; none without a folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith(STAGING))


def forget_placed() -> None:
    """Begin anew with what `release_all` returns: for the beginning of a command."""
    _placed.clear()


def release_all() -> list[Path]:
    """Close every claim of this process that is open: for the end of a command.

    Returns the folders that commits have put in their places.
    """
    for claim in list(_open):
        claim.close()
    return list(dict.fromkeys(_placed))


def write_file(path: Path, *data: bytes | memoryview) -> None:
    """The file ``path`` of all ``data``: there in one piece, or not at all.

    After an OSError what stood there is unchanged. Whoever fills the folder does it alone.
    """
    part = path.with_name(f"{STAGING}-{path.name}")
    try:
        _fill(part, *data)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    _sync_folder(path.parent)


class Lock:
    """The right to write into ``folder`` file by file, until `close` or the end of the process.

    The folder is made if need be. What a process that was killed had half written is removed.
    Raises FolderBusyError where another one holds it, OSError where it cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{STAGING}-lock"
        for _ in range(ATTEMPTS):
            folder.mkdir(parents=True, exist_ok=True)
            fresh = not os.path.lexists(self.path)
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue
            if _locked(handle, self.path, fresh):
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), os.stat(self.path)):
                        break
                os.close(handle)  # a file that its owner has removed since
                continue
            os.close(handle)
            raise FolderBusyError(errno.EBUSY, "another process is writing to it", str(folder))
        else:
            raise FolderBusyError(errno.EBUSY, "other processes lock it all the time", str(folder))
        self._handle: int | None = handle
        for name in os.listdir(folder):
            if name.startswith(STAGING) and name != self.path.name:
                _remove(folder / name)

    def close(self) -> None:
        """Let go of the folder."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether a `Claim` holds ``folder`` now."""
    lock = folder / STAGING / "lock"
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _locked(handle, lock, True)
    finally:
        os.close(handle)


class Claim:
    """The right to write ``folder``, from its making until `close`.

    folder: is made if need be, and removed again where nothing came of it.
    replaces: whether `commit` may replace this entry of the folder. Others stay.
    last: names that are moved into the folder after all others, and out of it before them.
    precious: file names or patterns. What a killed process left is deleted, unless it holds such a
        file: then it is moved to ``recovered``, a new folder beside ``folder``.
    at_once: names that are there from the beginning, not only after a `commit`: they are written
        into ``live``. That is the folder itself, or what will be in it where that holds something.
    again: go on with what a killed process wrote, that is, with the first of ``at_once``.

    Raises FolderBusyError where another process holds the folder, OSError where it cannot be made
    or written.
    """

    def __init__(
        self,
        folder: Path,
        replaces: Callable[[Path], bool],
        last: Sequence[str] = (),
        precious: Sequence[str] = (),
        at_once: Sequence[str] = (),
        again: bool = False,
    ) -> None:
        self.folder, self.replaces, self.last = folder, replaces, tuple(last)
        self.at_once, self.live = tuple(at_once), folder
        self.staging = folder / STAGING
        self.new, self._whole = self.staging / "new", self.staging / "whole"
        self._enters, self._old = self.staging / "enters", self.staging / "old"
        self.recovered: Path | None = None
        self._lock: int | None = None
        self._moves: list[tuple[Path, Path]] = []
        # Before anything is made, so that whatever interrupts finds what to undo.
        self._made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
        _open.append(self)
        try:
            self._acquire()
            self._finish_commit()
            stands = again and self._goes_on()
            self._clear_leftovers(() if again else precious, keeps_new=stands)
            self.new.mkdir(exist_ok=True)
            if stands or (entries(folder) and not again):
                self.live = self.new
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- writing --------------------------------------------------------------------------------

    def reserve(self, name: str, size: int) -> None:
        """Take ``size`` bytes of the disk for the file ``name``, which `write` then fills."""
        part = self._part(name)
        part.parent.mkdir(parents=True, exist_ok=True)
        _fill(part, bytes(size))

    def write(self, name: str, data: bytes) -> None:
        """The file ``name`` of the new content: there in one piece, or not at all."""
        part = self._part(name)
        part.parent.mkdir(parents=True, exist_ok=True)
        _fill(part, data)
        os.replace(part, self.new / name)

    def commit(self) -> Path:
        """Replace what stands in the folder by what was written; returns the folder.

        After an OSError what stood there is back.
        """
        self._finish_new()
        self._moves.clear()
        try:
            self._move(self.new, self._whole)
            self._finish_commit()
        except OSError:
            for source, target in reversed(self._moves):
                with contextlib.suppress(OSError):
                    os.replace(target, source)
            raise
        _placed.append(self.folder)
        _sync_folder(self.folder)
        return self.folder

    @property
    def replacing(self) -> bool:
        """Whether something else stands in the folder, that a `commit` would replace."""
        return self.live is self.new

    def commit_beside(self, suffix: str, part: str = "") -> Path:
        """Make what was written a new folder beside the claimed one, which stays as it is.

        part: a folder of the new content, to be moved alone.
        """
        beside = self._move_beside(suffix, part)
        _placed.append(beside)
        return beside

    def _move_beside(self, suffix: str, part: str = "") -> Path:
        self._finish_new()
        source = self.new / part
        while True:
            beside = unused(_beside(self.folder, suffix))
            try:
                os.rename(source, beside)
                return beside
            except OSError as error:
                if error.errno == errno.EXDEV:  # the claimed folder is a mount point
                    return Path(shutil.copytree(source, beside))
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise

    def commit_part(self, name: str) -> Path:
        """Move ``name`` of the new content into the claimed one: a folder where it is free."""
        if (self.new / name).is_dir():
            _sync_folder(self.new / name)
        os.replace(self.new / name, self.folder / name)
        _placed.append(self.folder)
        return self.folder / name

    def close(self) -> None:
        """Let go of the folder. What was written and not committed is removed."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                if self._finish_commit():
                    _placed.append(self.folder)
            for path in (self.new, self._old):
                shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(self.staging / "lock")
            lock, self._lock = self._lock, None
            os.close(lock)
        for path in (self.staging, *self._made):
            with contextlib.suppress(OSError):
                path.rmdir()  # where something is in it, it stays
        if self in _open:
            _open.remove(self)

    def _finish_new(self) -> None:
        for part in list(self.new.rglob("*.part")):  # reserved, and not needed
            part.unlink()
        _sync_folder(self.new)

    # --- taking hold ----------------------------------------------------------------------------

    def _part(self, name: str) -> Path:
        return self.new / f"{name}.part"

    def _acquire(self) -> None:
        for _ in range(ATTEMPTS):
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = True
            try:
                self.staging.mkdir()
            except FileExistsError:
                fresh = False
            except FileNotFoundError:  # another process made the folder, and has just removed it
                continue
            try:
                self._lock = os.open(self.staging / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue
            if not _locked(self._lock, self.staging / "lock", fresh):
                lock, self._lock = self._lock, None
                os.close(lock)
                raise FolderBusyError(errno.EBUSY, "another process is writing to it")
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._lock), os.stat(self.staging / "lock")):
                    return
            lock, self._lock = self._lock, None
            os.close(lock)  # a file that its owner has removed since
        raise FolderBusyError(errno.EBUSY, "other processes make and remove it all the time")

    def _goes_on(self) -> bool:
        return any((self.new / name).exists() for name in self.at_once[:1])

    def _clear_leftovers(self, precious: Sequence[str], keeps_new: bool) -> None:
        if any(any(self.new.rglob(pattern)) for pattern in precious):
            self.recovered = self._move_beside("-recovered")
        for name in os.listdir(self.folder):
            if name.startswith(STAGING) and name != STAGING:
                _remove(self.folder / name)
        for name in os.listdir(self.staging):
            if name != "lock" and not (keeps_new and name == self.new.name):
                _remove(self.staging / name)

    def _finish_commit(self) -> bool:
        """From wherever it was cut short; whether anything was under way."""
        if self._whole.is_dir():
            self._old.mkdir(exist_ok=True)
            stay = (
                ()
                if any((self._whole / name).exists() for name in self.at_once[:1])
                else (self.at_once)
            )
            for name in self._in_order(entries(self.folder))[::-1]:
                if name not in stay and self.replaces(self.folder / name):
                    self._move(self.folder / name, self._old / name)
            self._move(self._whole, self._enters)
        entering = self._enters.is_dir()
        if entering:
            for name in self._in_order(os.listdir(self._enters)):
                self._move(self._enters / name, self.folder / name)
            with contextlib.suppress(OSError):
                self._enters.rmdir()
        return entering

    def _move(self, source: Path, target: Path) -> None:
        os.replace(source, target)
        self._moves.append((source, target))

    def _in_order(self, names: Sequence[str]) -> list[str]:
        return sorted(names, key=lambda name: (name in self.last, name))


def _beside(folder: Path, suffix: str) -> Path:
    if folder.name in ("", ".", ".."):  # its name is known to the system alone
        folder = folder.resolve()
    return folder.with_name(folder.name + suffix)


def _locked(handle: int, path: Path, fresh: bool) -> bool:
    """Whether this process now has the lock; it goes with the process, however that ends."""
    if fcntl is None:
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if not fresh:  # a disk without locks: nobody knows whether its owner lives
            raise OSError(
                error.errno, f"it cannot be locked, and {path.parent.name} may be in use"
            ) from error
    return True


def _fill(path: Path, *data: bytes | memoryview) -> None:
    """Write over what is there, so that space once taken is used again."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with open(handle, "r+b", buffering=0) as file:
        for piece in data:
            view = memoryview(piece)
            while view:
                view = view[file.write(view) :]
        file.truncate()
        os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
