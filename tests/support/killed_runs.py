"""What the tests of --resume share: runs that are killed, and whether two came to the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tinygrad_cupy import folders, nn
from tinygrad_cupy.cli import main
from tinygrad_cupy.command.progress import CtrlC


class Killed(BaseException):
    """Ends a run as `kill -9` does: what is looked after at the end of a command is not done."""


def cut(
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    epoch: int,
    index: int,
    count: int = 0,
) -> None:
    """A run that is killed at a step (of epochs of `count`), and checkpoints after every step."""

    def kill(ctrl_c: CtrlC, trainer: nn.Trainer, step: nn.Step) -> None:
        if (step.epoch, step.index) == (epoch, index) and count in (0, step.count):
            raise Killed

    def let_go(claim: folders.Claim) -> None:
        if claim._lock is not None:
            os.close(claim._lock)
            claim._lock = None
            folders._open.remove(claim)

    with monkeypatch.context() as patch:
        patch.setattr(CtrlC, "on_step_end", kill)
        patch.setattr(folders.Claim, "close", let_go)
        for command in ("train", "sweep"):
            patch.setattr(f"tinygrad_cupy.command.{command}.leaving", lambda *_: _nothing())
        patch.setattr(nn.Checkpoints, "due", lambda checkpoints, in_epoch: True)
        with pytest.raises(Killed):
            main([str(word) for word in words])


def after_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint, whatever it costs."""
    monkeypatch.setattr(nn.Checkpoints, "due", lambda checkpoints, in_epoch: not in_epoch)


class _nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def same_weights(one: Path, other: Path) -> bool:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def losses(folder: Path) -> list[str]:
    """history.csv without times."""
    rows = [row.split(",") for row in (folder / "history.csv").read_text().splitlines()]
    return [",".join(row[:6]) for row in rows]
