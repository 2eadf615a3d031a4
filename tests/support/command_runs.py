"""What the tests of the command share: running it in this process, and one small trained run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tinygrad_cupy.cli import main

TRAIN = ("train", "--dataset", "digits", "--model", "small", "--device", "cpu")
SWEPT_FILES = {
    "metrics.json", "history.csv", "curves.png", "confusion_matrix.png", "mistakes.png",
    "model.safetensors", "settings.toml", "metrics.jsonl",
}  # fmt: skip
UNFINISHED = {
    "run.json",
    "checkpoints",
    "settings.toml",
    "metrics.jsonl",
}  # what a run needs to go on
RUN_FILES = SWEPT_FILES | UNFINISHED
SAID = ("note: ", "stopping after this step", "testing the weights", "drawing pictures")


@dataclass(frozen=True)
class Result:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Result:
    """The command with these arguments."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return Result(code, out, err)


def failed(result: Result, code: int = 1) -> str:
    """The one line on stderr of a run that must have failed."""
    assert result.code == code
    assert "Traceback" not in result.err + result.out
    *before, line = result.err.splitlines()
    assert all(one.startswith(SAID) for one in before)
    assert line.startswith("interrupted: " if code == 130 else "error: ")
    return line


def train_quietly(folder: Path, *options: str) -> Path:
    """A run folder, trained for an epoch or as the options say."""
    words: Sequence[str] = (*TRAIN, "--epochs", "1", "--quiet", "--out", str(folder), *options)
    assert main(words) == 0
    return folder


def metrics_of(folder: Path) -> dict[str, Any]:
    """metrics.json of a run folder."""
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found


def skip_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures empty: saving them takes most of the time of a short run."""
    monkeypatch.setattr(
        "tinygrad_cupy.command.pictures._save", lambda figure, path: path.write_bytes(b"")
    )


def files_of(folder: Path) -> set[str]:
    """Names of everything in a folder, hidden files too."""
    return {path.name for path in folder.iterdir()}
