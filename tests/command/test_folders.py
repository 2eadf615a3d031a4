"""A folder that one process fills: claimed, committed, cut short, left behind."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygrad_cupy import folders
from tinygrad_cupy.folders import STAGING, Claim, FolderBusyError


def anything(path: Path) -> bool:
    return True


def claim(folder: Path, replaces: Callable[[Path], bool] = anything) -> Claim:
    return Claim(folder, replaces, last=("figures",), precious=("weights",))


def contents(folder: Path) -> dict[str, str]:
    """Every file below, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def filled(folder: Path, text: str) -> Path:
    with claim(folder) as held:
        for name in ("weights", "figures", "extra" if text == "old" else "more"):
            held.write(name, text.encode())
        held.commit()
    return folder


OLD = {"weights": "old", "figures": "old", "extra": "old"}
NEW = {"weights": "new", "figures": "new", "more": "new"}


def let_die(held: Claim) -> None:
    """What the system does for a process that is killed: its lock goes, nothing else."""
    assert held._lock is not None
    os.close(held._lock)
    held._lock = None
    folders._open.remove(held)


# --- taking, writing, letting go ----------------------------------------------------------------


def test_what_is_committed_stands_in_the_folder(tmp_path: Path) -> None:
    assert contents(filled(tmp_path / "deep" / "run", "old")) == OLD
    assert contents(filled(tmp_path / "deep" / "run", "new")) == NEW
    assert os.listdir(tmp_path / "deep") == ["run"]


def test_without_a_commit_nothing_has_happened(tmp_path: Path) -> None:
    with claim(tmp_path / "deep" / "run") as held:
        held.write("weights", b"new")
    assert os.listdir(tmp_path) == []
    folder = filled(tmp_path / "run", "old")
    with claim(folder) as held:
        held.write("weights", b"new")
    assert contents(folder) == OLD


def test_others_are_refused_while_it_is_held(tmp_path: Path) -> None:
    with claim(tmp_path / "run") as held:
        with pytest.raises(FolderBusyError, match="another process is writing to it"):
            claim(tmp_path / "run")
        held.write("weights", b"new")
        held.commit()
        with pytest.raises(FolderBusyError):
            claim(tmp_path / "run")
    claim(tmp_path / "run").close()
    assert contents(tmp_path / "run") == {"weights": "new"}


def test_a_command_that_ends_closes_what_is_open(tmp_path: Path) -> None:
    claim(tmp_path / "run")
    folders.release_all()
    assert os.listdir(tmp_path) == []


def test_what_was_reserved_is_what_is_written_to(tmp_path: Path) -> None:
    with claim(tmp_path / "run") as held:
        held.reserve("weights", 10_000)
        held.reserve("never", 10_000)
        (reserved,) = held.new.glob("weights*")
        before = reserved.stat()
        assert before.st_size == 10_000
        held.write("weights", b"short")
        assert (held.new / "weights").stat().st_ino == before.st_ino
        held.commit()
    assert contents(tmp_path / "run") == {"weights": "short"}


def test_entries_that_are_somebody_elses_stay(tmp_path: Path) -> None:
    folder = filled(tmp_path / "run", "old")
    (folder / "notes").write_text("mine")
    with claim(folder, lambda path: path.name != "notes") as held:
        held.write("weights", b"new")
        held.commit()
    assert contents(folder) == {"weights": "new", "notes": "mine"}


def test_a_folder_beside_gets_a_name_that_is_free(tmp_path: Path) -> None:
    folder = filled(tmp_path / "run", "old")
    for name in ("run-cut", "run-cut-2"):
        with claim(folder) as held:
            held.write("weights", b"new")
            assert held.commit_beside("-cut") == tmp_path / name
        assert contents(tmp_path / name) == {"weights": "new"}
    assert contents(folder) == OLD


def test_a_working_directory_and_a_link_stay_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    number = os.stat(".").st_ino
    with claim(Path()) as held:
        held.write("weights", b"new")
        held.commit()
    assert contents(Path()) == {"weights": "new"}
    with claim(Path()) as held:
        held.write("weights", b"cut")
        assert contents(held.commit_beside("-cut")) == {"weights": "cut"}
    filled(tmp_path / "link", "old")
    assert (os.stat(".").st_ino, contents(Path())) == (number, OLD)
    assert sorted(os.listdir(tmp_path)) == ["link", "real", "real-cut"]


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert contents(filled(tmp_path / "run", "old")) == OLD
    (tmp_path / "run" / STAGING).mkdir()
    with pytest.raises(OSError, match=r"cannot be locked, and \.writing may be in use"):
        claim(tmp_path / "run")


# --- processes that were killed -----------------------------------------------------------------


def test_leftovers_are_cleared(tmp_path: Path) -> None:
    folder = filled(tmp_path / "run", "old")
    held = claim(folder)
    held.reserve("weights", 100)
    let_die(held)
    (folder / f"{STAGING}-picture.png").write_text("half")
    (folder / f"{STAGING}-abc").mkdir()
    claim(folder).close()
    assert contents(folder) == OLD
    assert not any(name.startswith(".") for name in os.listdir(folder))


def test_what_was_precious_is_moved_aside(tmp_path: Path) -> None:
    held = claim(tmp_path / "run")
    held.write("weights", b"new")
    held.reserve("figures", 100)
    let_die(held)
    with claim(tmp_path / "run") as later:
        assert later.recovered == tmp_path / "run-recovered"
    assert contents(tmp_path / "run-recovered") == {"weights": "new"}
    assert sorted(os.listdir(tmp_path)) == ["run", "run-recovered"]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("kind", [Killed, OSError])
def test_a_commit_that_ends_at_any_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """Killed, the next claim finishes it; on an error the old content is back."""
    real, left = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal left
        if left == 0:
            left -= 1
            raise kind(errno.EIO, "Input/output error")
        left -= 1
        real(source, target)

    for moves in range(9):
        folder = filled(tmp_path / f"{moves}", "old")
        held = claim(folder)
        for name in NEW:
            held.write(name, b"new")
        with monkeypatch.context() as patch:
            left = moves
            patch.setattr(os, "replace", replace)
            if moves < 8:
                with pytest.raises(kind):
                    held.commit()
            else:
                held.commit()
        if kind is OSError:
            held.close()
            assert contents(folder) == (OLD if moves < 8 else NEW)
            continue
        figures, weights = (contents(folder).get(name) for name in ("figures", "weights"))
        assert figures is None or figures == weights
        let_die(held)
        claim(folder).close()
        if moves == 0:  # nothing had been moved
            assert contents(folder) == OLD
            assert contents(tmp_path / "0-recovered") == NEW
        else:
            assert contents(folder) == NEW
