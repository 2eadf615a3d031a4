"""The cache folder: whose it is, what in it is believed, and how a file comes there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygrad_cupy.backend import cache

posix_only = pytest.mark.skipif(os.name != "posix", reason="asks for POSIX permissions")
root_only = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give files away"
)

KEY, DATA = "0123", b"\x7fELF" + bytes(range(256)) * 40


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- where it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", ["cache", "~/.cache", ".", ""])
def test_a_relative_path_in_the_environment_is_no_cache(
    relative: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", relative)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache.cache_dir().as_posix() == "/home/me/.cache/tinygrad_cupy"


@posix_only
def test_who_has_no_home_has_a_folder_among_the_temporary_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache.cache_dir() == tmp_path / f"tinygrad_cupy-{os.getuid()}"
    assert mode(cache.private_folder("native")) == 0o700


# --- whose it is --------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022])
def test_a_new_folder_is_this_users_alone(own_cache: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        folder = cache.private_folder("native")
    finally:
        os.umask(before)
    assert folder == own_cache / "native"
    assert [mode(each) for each in (folder, own_cache, own_cache.parent)] == [0o700] * 3


@posix_only
@pytest.mark.parametrize("found", [0o775, 0o777, 0o1777])
def test_an_own_folder_that_others_may_write_to_is_tightened(own_cache: Path, found: int) -> None:
    (own_cache / "native").mkdir(parents=True)
    for folder in (own_cache, own_cache / "native"):
        folder.chmod(found)
    cache.private_folder("native")
    for folder in (own_cache, own_cache / "native"):
        assert mode(folder) == found & ~0o022


@posix_only
def test_a_folder_that_stays_open_to_others_is_refused(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_cache / "native").mkdir(parents=True)
    (own_cache / "native").chmod(0o777)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)  # a file system that knows no permissions
    with pytest.raises(PermissionError) as caught:
        cache.private_folder("native")
    assert str(caught.value) == (
        f"[{own_cache / 'native'}] others may write to it, which cannot be changed"
    )


@posix_only
def test_a_folder_of_another_user_is_refused(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, me = cache.private_folder("native"), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(PermissionError) as caught:
        cache.private_folder("native")
    assert str(caught.value) == (
        f"[{folder}] expected a folder of this user ({me + 1}), it belongs to user {me}"
    )
    assert cache.kept("native", KEY, ".so") is None


@root_only
@pytest.mark.parametrize("level", ["folder", "cache", "parent"])
def test_what_lies_in_a_folder_of_another_user_is_refused(own_cache: Path, level: str) -> None:
    folder = cache.private_folder("native")
    given = {"folder": folder, "cache": own_cache, "parent": own_cache.parent}[level]
    os.chown(given, 65534, 65534)
    with pytest.raises(PermissionError, match=r"it belongs to user 65534"):
        cache.private_folder("native")


@posix_only
def test_a_parent_to_which_anybody_may_write(own_cache: Path) -> None:
    own_cache.parent.mkdir()
    own_cache.parent.chmod(0o1777)  # as /tmp: nobody can rename what is not his own
    cache.private_folder("native")
    own_cache.parent.chmod(0o777)
    with pytest.raises(PermissionError) as caught:
        cache.private_folder("native")
    assert str(caught.value) == (
        f"[{own_cache.parent}] anybody may write to it, and rename what lies in it"
    )


@posix_only
def test_a_cache_may_lie_behind_a_link(own_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to(tmp_path / "large_disk")  # not there yet
    assert cache.private_folder("native") == tmp_path / "large_disk/tinygrad_cupy/native"


# --- what is believed ---------------------------------------------------------------------------


def zeros_at_the_end(path: Path) -> None:
    path.write_bytes(DATA[:5000] + bytes(len(DATA) - 5000))


def a_bit(path: Path) -> None:
    path.write_bytes(DATA[:99] + bytes([DATA[99] ^ 4]) + DATA[100:])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    os.symlink(path.rename(path.with_name("elsewhere")), path)


def second_name(path: Path) -> None:
    os.link(path, path.with_name("elsewhere"))


def other_key(path: Path) -> None:
    path.write_bytes(b"")
    other = cache.keep("native", "4567", ".so", DATA)
    assert other is not None
    other.rename(path.with_name(other.name.replace("4567", KEY)))


DAMAGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(DATA[: len(DATA) // 2]),
    lambda path: path.write_bytes(DATA + b"\0"),
    zeros_at_the_end,
    a_bit,
    *([folder, pipe, link, second_name, other_key] if os.name == "posix" else []),
    lambda path: path.chmod(0o666),
]


@posix_only
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_believed_and_heals(
    damage: Callable[[Path], object], own_cache: Path
) -> None:
    path = cache.keep("native", KEY, ".so", DATA)
    assert path is not None
    assert cache.kept("native", KEY, ".so") == (path, DATA)
    damage(path)
    assert cache.kept("native", KEY, ".so") is None
    assert cache.keep("native", KEY, ".so", DATA) == path
    assert cache.kept("native", KEY, ".so") == (path, DATA)


@root_only
def test_a_file_of_another_user_is_not_believed(own_cache: Path) -> None:
    path = cache.keep("native", KEY, ".so", DATA)
    assert path is not None
    os.chown(path, 65534, 65534)
    assert cache.kept("native", KEY, ".so") is None
    assert not path.exists()


# --- how it comes there -------------------------------------------------------------------------


@posix_only
def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        done.append("folder" if is_folder else f"file of {os.fstat(handle).st_size}")
        fsync(handle)

    def noted_replace(source: str, target: Path) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    cache.write_atomically(tmp_path / "new" / "file", lambda file: file.write(DATA))
    assert done == [f"file of {len(DATA)}", "name", "folder"]
    assert (tmp_path / "new" / "file").read_bytes() == DATA


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        cache.write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_what_cannot_be_kept_is_said_once(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert [cache.keep("native", key, ".so", DATA) for key in ("1", "2")] == [None, None]
    assert caplog.messages == [
        f"[cache] compiled code cannot be kept in {own_cache}/native, and is made anew by every "
        "process ([Errno 28] No space left on device): $XDG_CACHE_HOME names another place"
    ]


def test_what_killed_writers_left_is_cleared_some_time_later(own_cache: Path) -> None:
    left = own_cache / "native"
    (left / ".making-old").mkdir(parents=True)
    for name in (".old", ".making-old/library.so", ".young", "kept.so"):
        (left / name).touch()
    old = time.time() - cache.ABANDONED - 60
    for name in (".old", ".making-old", "kept.so"):
        os.utime(left / name, (old, old))
    cache.private_folder("native")
    assert sorted(path.name for path in left.iterdir()) == [".young", "kept.so"]


@pytest.mark.slow
@posix_only
def test_a_temporary_folder_goes_with_its_process_and_not_with_its_child() -> None:
    script = (
        "import os, sys\n"
        "from tinygrad_cupy.backend import cache\n"
        "folder = cache.temporary_folder()\n"
        "if os.fork() == 0:\n"
        "    sys.exit()\n"
        "os.wait()\n"
        "print(folder, folder.is_dir())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    name, was_there = done.stdout.split()
    assert was_there == "True"
    assert not Path(name).exists()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="asks for files in memory")
def test_files_in_memory_and_on_disk_hold_what_they_are_given() -> None:
    for place in (cache.in_memory, cache.on_disk):
        first, second = place("a", b"first"), place("a", b"second")
        assert [first.read_bytes(), second.read_bytes()] == [b"first", b"second"]
