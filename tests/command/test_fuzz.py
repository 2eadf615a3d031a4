"""Damaged files of every kind that this package reads: a few here, more with `pytest -m slow`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("needs limits on memory and time", allow_module_level=True)

from fuzz import runner
from fuzz.__main__ import main
from fuzz.mutate import damaged, with_png_checksums
from fuzz.targets import TARGETS, Target, good_pictures

COUNT, MANY = 25, 400


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    (tmp_path / "target").mkdir()
    target, seed = TARGETS[name](tmp_path / "target"), int(rng.integers(1 << 32))
    for case in range(COUNT):
        content = runner.content_of(name, target, seed, case)
        found = runner.outcome(target, tmp_path / "damaged", content)
        again = f"python -m tests.fuzz {name} --seed {seed} --case {case}"
        assert found in ("read", "refused"), f"{again}\n{found}"


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_files(
    capsys: pytest.CaptureFixture[str], rng: np.random.Generator, name: str
) -> None:
    code = main([name, "--count", str(MANY), "--seed", str(rng.integers(1 << 32))])
    text = capsys.readouterr().out
    assert code == 0, text
    assert f"{name}: {MANY:,} files: " in text


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", TARGETS)
def test_good_files_are_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is damaged was sound, so that damage is what is tested."""
    monkeypatch.setattr("fuzz.targets.damaged", lambda rng, content, others: content)
    monkeypatch.setattr("fuzz.targets.strange_json", lambda rng, value: json.dumps(value))
    (tmp_path / "target").mkdir()
    target = TARGETS[name](tmp_path / "target")
    found = [
        runner.outcome(target, tmp_path / "file", target.make(np.random.default_rng([case, 1])))
        for case in range(30)
    ]
    assert set(found) <= {"read", "refused"}
    assert found.count("read") >= 10


def test_what_counts_as_a_fault(tmp_path: Path) -> None:
    def judge(path: Path) -> bool:
        kind = path.read_text()
        if kind == "foreign":
            raise KeyError(kind)
        if kind == "wrong":
            raise AssertionError(kind)
        if kind == "memory":
            raise ValueError(kind) from MemoryError()
        if kind == "control":
            raise ValueError("\x1b[2J")
        if kind == "slow":
            raise runner.TooSlow
        raise ValueError(kind)

    target = Target(lambda rng: b"", judge, ValueError)
    found = {
        kind: runner.outcome(target, tmp_path / "x", kind.encode())
        for kind in ("refused", "foreign", "wrong", "memory", "control", "slow")
    }
    assert found.pop("refused") == "refused"
    assert "KeyError: 'foreign'" in found["foreign"]
    assert "AssertionError: wrong" in found["wrong"]
    assert found["memory"] == "took all memory: memory"
    assert found["control"] == r"a text that does not print: ValueError('\x1b[2J')"
    assert found["slow"].startswith("took more than 5.0 s")


def test_a_case_is_the_same_every_time(tmp_path: Path) -> None:
    target = TARGETS["idx"](tmp_path)
    one, two = (runner.content_of("idx", target, 7, case) for case in (1, 2))
    assert one == runner.content_of("idx", target, 7, 1) != two


def test_checksums_of_a_damaged_png_file_are_set_right() -> None:
    good = good_pictures()[0]
    changed = bytearray(good)
    changed[-1] ^= 1  # of the last checksum
    assert with_png_checksums(bytes(changed)) == good
    assert damaged(np.random.default_rng(0), good, [good]) != good
