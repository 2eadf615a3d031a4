"""The files of checkpoints: whole or not there, checked, the last two kept, and seldom enough."""

from __future__ import annotations

import errno
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from tinygrad_cupy import folders, nn
from tinygrad_cupy.nn.checkpoint import number

ARRAYS: dict[str, np.ndarray] = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.count": np.array(3, np.int64),
    "b.narrow": np.arange(3).astype(ml_dtypes.bfloat16),
    "b.complex": np.array([[1 + 2j]], np.complex128),
    "b.none": np.zeros((0, 4)),
    "b.flag": np.array(True),
    "b.seed": np.array([2**64 - 1], np.uint64),
}


def write(checkpoints: nn.Checkpoints, epoch: int = 1) -> Path | None:
    return checkpoints.write(lambda: ({"epoch": epoch, "best": number(np.inf)}, ARRAYS))


def told(folder: Path, **options: Any) -> tuple[nn.Checkpoints, list[str]]:
    texts: list[str] = []
    return nn.Checkpoints(folder, tell=texts.append, **options), texts


def test_figures_and_arrays_come_back(tmp_path: Path) -> None:
    path = write(nn.Checkpoints(tmp_path / "c"))
    saved = nn.Checkpoints(tmp_path / "c").load()
    assert saved is not None
    assert saved.path == path == tmp_path / "c" / "0000001.json"
    assert saved.figures == {"epoch": 1, "best": "inf"}
    assert saved.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        found = saved.arrays[name]
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
    assert load_file(path.with_suffix(".safetensors"))["a.count"] == 3  # anyone can read it


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = nn.Checkpoints(tmp_path)
    for epoch in range(5):
        write(checkpoints, epoch)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"000000{n}.{kind}" for n in (4, 5) for kind in ("json", "safetensors")}
    assert nn.Checkpoints(tmp_path).numbers() == [4, 5]


def test_there_is_none(tmp_path: Path) -> None:
    checkpoints, texts = told(tmp_path / "c")
    assert checkpoints.load() is None
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "0000001.safetensors").write_bytes(b"what was killed")
    assert checkpoints.load() is None
    assert texts == []
    assert write(checkpoints) == tmp_path / "c" / "0000002.json"


DAMAGES = {
    "cut": (".safetensors", lambda b: b[:-1], "is damaged: it has "),
    "longer": (".safetensors", lambda b: b + b"x", "expected at most"),
    "a bit": (".safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "its SHA-256 is another"),
    "gone": (".safetensors", None, "No such file"),
    "half": (".json", lambda b: b[: len(b) // 2], "is damaged: "),
    "a figure": (
        ".json",
        lambda b: b.replace(b'"epoch": 2', b'"epoch": 9'),
        "do not fit their SHA",
    ),
    "another": (".json", lambda b: b"[]", "does not say that it is a checkpoint"),
    "empty": (".json", lambda b: b"", "is damaged: "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_one_the_file_is_named_and_the_one_before_taken(
    tmp_path: Path, damage: str
) -> None:
    for epoch in (1, 2):
        write(nn.Checkpoints(tmp_path), epoch)
    kind, change, text = DAMAGES[damage]
    path = tmp_path / f"0000002{kind}"
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    checkpoints, texts = told(tmp_path)
    saved = checkpoints.load()
    assert saved is not None
    assert saved.figures["epoch"] == 1
    (line,) = texts
    assert repr(str(path)) in line
    assert text in line
    assert line.endswith(f": going back to {str(tmp_path / '0000001.json')!r}")
    write(checkpoints, 3)
    assert checkpoints.numbers() == [1, 3]  # the damaged one is none of the last two


def test_all_damaged(tmp_path: Path) -> None:
    write(nn.Checkpoints(tmp_path))
    (tmp_path / "0000001.safetensors").write_bytes(b"")
    with pytest.raises(nn.CheckpointError, match=r"no checkpoint in .* is whole: .*0000001.safete"):
        nn.Checkpoints(tmp_path).load()


def test_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(nn.Checkpoints(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("tinygrad_cupy.nn.checkpoint.VERSION", 2)
        write(nn.Checkpoints(tmp_path))
    with pytest.raises(nn.CheckpointError, match=r"0000002.json' has version 2 of the format, thi"):
        nn.Checkpoints(tmp_path).load()


# --- a disk that is full ------------------------------------------------------------------------


def full(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A folder that holds so many files at most."""
    real = folders._fill

    def fill(path: Path, *data: bytes | memoryview) -> None:
        if len([one for one in path.parent.iterdir() if not one.name.startswith(".")]) >= most:
            path.write_bytes(data[0][:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, *data)

    monkeypatch.setattr(folders, "_fill", fill)


def test_where_it_cannot_be_written_the_last_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, texts = told(tmp_path)
    write(checkpoints)
    with monkeypatch.context() as patch:
        full(patch, 2)
        assert write(checkpoints, 2) is None
        assert write(checkpoints, 3) is None
    (line,) = texts
    assert line == (
        f"cannot write a checkpoint to {str(tmp_path)!r}: No space left on device; the last one "
        f"is {str(tmp_path / '0000001.json')!r}, and training goes on"
    )
    saved = checkpoints.load()
    assert saved is not None
    assert saved.figures["epoch"] == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert write(checkpoints, 4) is not None


def test_with_room_for_two_the_older_one_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, texts = told(tmp_path)
    full(monkeypatch, 4)
    for epoch in range(1, 6):
        assert write(checkpoints, epoch) is not None
    assert (checkpoints.numbers(), texts) == ([4, 5], [])


# --- when ---------------------------------------------------------------------------------------


def test_when_one_is_due(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    checkpoints = nn.Checkpoints(tmp_path, minutes=5)

    def after(seconds: float) -> tuple[bool, bool]:
        now[0] += seconds
        return checkpoints.due(in_epoch=False), checkpoints.due(in_epoch=True)

    assert after(1) == (True, False)
    assert after(299) == (True, True)

    def slow() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        now[0] += 4
        return {}, ARRAYS

    monkeypatch.setattr(time, "thread_time", lambda: 0.5)  # of a processor, to write it
    checkpoints.write(slow)
    assert checkpoints.cost == 4.5
    assert after(301) == (False, False)  # 300 seconds, but 4.5 are more than 1 % of them
    assert after(150) == (True, True)


def test_the_first_costs_what_its_size_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    checkpoints = nn.Checkpoints(tmp_path)
    checkpoints.expect(500_000_000)
    assert checkpoints.cost == pytest.approx(2.01)
    now[0] += 200
    assert not checkpoints.due(in_epoch=False)
    now[0] += 2
    assert checkpoints.due(in_epoch=False)
    write(checkpoints)
    checkpoints.expect(10**12)  # it is known by now
    assert checkpoints.cost < 2


# --- written meanwhile --------------------------------------------------------------------------


class Slow:
    """A disk that takes nothing before `on` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on, real = threading.Event(), folders._fill

        def fill(path: Path, *data: bytes | memoryview) -> None:
            assert self.on.wait(10)
            real(path, *data)

        monkeypatch.setattr(folders, "_fill", fill)


def test_training_goes_on_while_one_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow, checkpoints = Slow(monkeypatch), nn.Checkpoints(tmp_path)
    with checkpoints.held(), checkpoints.held():
        checkpoints.begin(lambda: ({"epoch": 1}, ARRAYS))
        assert checkpoints.cost < 5
        assert not checkpoints.due(in_epoch=False)  # one is under way
        assert checkpoints.numbers() == []
        slow.on.set()
        checkpoints.begin(lambda: ({"epoch": 2}, ARRAYS))
        assert checkpoints.numbers()[0] == 1  # the second waited for it, and may be there too
    assert checkpoints.numbers() == [1, 2]  # who held the folder waited for it
    assert checkpoints.wait() is None
    assert checkpoints.own()


def test_what_interrupts_the_waiting_is_raised_when_it_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow, checkpoints = Slow(monkeypatch), nn.Checkpoints(tmp_path)
    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if not slow.on.is_set():
            slow.on.set()
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    checkpoints.begin(lambda: ({}, ARRAYS))
    with pytest.raises(KeyboardInterrupt):
        checkpoints.wait()
    assert checkpoints.numbers() == [1]


def test_an_error_that_is_not_the_disks_is_raised(tmp_path: Path) -> None:
    checkpoints = nn.Checkpoints(tmp_path)
    checkpoints.begin(lambda: ({"epoch": np.nan}, ARRAYS))
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints.wait()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"minutes": -1}, "[Checkpoints] minutes must be a number of at least 0, got -1"),
        ({"share": 0}, "[Checkpoints] share must be a number above 0, got 0"),
        ({"keep": 0}, "[Checkpoints] keep must be an integer of at least 1, got 0"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        nn.Checkpoints("c", **options)


def test_the_figures_are_json_that_anyone_reads(tmp_path: Path) -> None:
    write(nn.Checkpoints(tmp_path))
    content = json.loads((tmp_path / "0000001.json").read_text(), parse_constant=pytest.fail)
    assert content["format"] == "tinygrad_cupy checkpoint"
    assert content["arrays"]["b.narrow"] == ["bfloat16", [3]]
