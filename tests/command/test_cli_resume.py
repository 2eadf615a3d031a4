"""`tinygrad-cupy train --resume`: the run that would have been, whatever ended it before."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from support.command_runs import (
    RUN_FILES,
    TRAIN,
    UNFINISHED,
    failed,
    files_of,
    metrics_of,
    run,
    skip_drawing,
    train_quietly,
)
from support.killed_runs import after_each_epoch, cut, losses, same_weights
from tinygrad_cupy import folders, nn
from tinygrad_cupy.command.progress import CtrlC

Capture = pytest.CaptureFixture[str]
EPOCHS = ("--epochs", "3")


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing ended."""
    with pytest.MonkeyPatch.context() as patch:
        skip_drawing(patch)
        return train_quietly(tmp_path_factory.mktemp("whole") / "run", *EPOCHS)


def test_a_killed_run_goes_on_to_the_same_bits(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    out = tmp_path / "run"
    cut(monkeypatch, (*TRAIN, *EPOCHS, "--checkpoint-minutes", "7", "--out", out), 2, 5)
    assert {name for name in files_of(out) if name != ".writing"} == UNFINISHED
    assert failed(run(capsys, "predict", out, "x.png")) == (
        f"error: the run in {str(out)!r} has not ended, and has no weights: go on with "
        f"tinygrad-cupy train --resume {out}"
    )
    line = failed(run(capsys, *TRAIN, "--out", out))
    assert line.endswith(f"--overwrite, or go on with it: --resume {out}")
    result = run(capsys, "train", "--resume", out)
    assert (result.code, result.err) == (0, "")
    assert files_of(out) == RUN_FILES
    assert same_weights(out, whole)
    assert losses(out) == losses(whole)
    assert metrics_of(out)["test_loss"] == metrics_of(whole)["test_loss"]
    content = json.loads((out / "run.json").read_text())
    assert content["asked"]["model"] == "small"
    assert content["settings"]["checkpoint_minutes"] == 7
    assert "checkpoint-minutes = 7.0\n" in (out / "settings.toml").read_text()
    assert run(capsys, "train", "--resume", out, "--checkpoint-minutes", "9").code == 0
    content = json.loads((out / "run.json").read_text())
    assert content["asked"]["checkpoint_minutes"] == 9


@pytest.mark.slow
def test_a_run_over_an_older_one_goes_on_hidden_in_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    out = train_quietly(tmp_path / "run", "--seed", "7")
    before = metrics_of(out)
    words = (*TRAIN, *EPOCHS, "--out", out, "--overwrite")
    cut(monkeypatch, words, 2, 2)
    assert metrics_of(out) == before
    result = run(capsys, "train", "--resume", out, "--model", "small", *EPOCHS)
    assert (result.code, result.err) == (0, "")
    assert files_of(out) == RUN_FILES
    assert same_weights(out, whole)
    cut(monkeypatch, words, 1, 2)  # and is not lost to one that begins anew
    result = run(capsys, *TRAIN, "--epochs", "1", "--out", out, "--overwrite")
    aside = tmp_path / "run-recovered"
    assert result.err.startswith(f"note: a run into {out} was killed; what it left is in {aside}")
    assert run(capsys, "train", "--resume", aside).code == 0
    assert same_weights(aside, whole)


@pytest.mark.slow
def test_ctrl_c_and_on(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    out, stop = tmp_path / "run", CtrlC.on_step_end

    def interrupt(ctrl_c: CtrlC, trainer: nn.Trainer, step: nn.Step) -> None:
        if (step.epoch, step.index) == (2, 4):
            signal.raise_signal(signal.SIGTERM)
        stop(ctrl_c, trainer, step)

    with monkeypatch.context() as patch:
        patch.setattr(CtrlC, "on_step_end", interrupt)
        result = run(capsys, *TRAIN, *EPOCHS, "--out", out)
    assert (result.code, metrics_of(out)["stopped"]) == (143, "terminated")
    last = max((out / "checkpoints").glob("*.json"))
    figures = json.loads(last.read_text())["figures"]
    assert (figures["epoch"], figures["step"]) == (1, 4)  # nothing was lost
    assert run(capsys, "train", "--resume", out).code == 0
    assert files_of(out) == RUN_FILES
    assert metrics_of(out)["stopped"] == "finished"
    assert same_weights(out, whole)
    assert losses(out) == losses(whole)


@pytest.mark.slow
def test_more_epochs(capsys: Capture, tmp_path: Path, whole: Path) -> None:
    out = train_quietly(tmp_path / "run")
    assert run(capsys, "train", "--resume", out, *EPOCHS).code == 0
    assert same_weights(out, whole)
    assert json.loads((out / "run.json").read_text())["settings"]["epochs"] == 3


@pytest.mark.slow
def test_without_a_checkpoint_it_begins_anew_and_says_so(capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = (*TRAIN, "--epochs", "1", "--resume", out)
    result = run(capsys, *words)
    note = f"note: there is no checkpoint in {str(out)!r}: the run begins anew\n"
    assert (result.code, result.err) == (0, note)
    assert run(capsys, *words).err == ""  # all of it was done
    for path in (out / "checkpoints").iterdir():
        path.unlink()
    assert run(capsys, "train", "--resume", out).err == note


@pytest.mark.slow
def test_damaged_checkpoints(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        after_each_epoch(patch)
        out = train_quietly(tmp_path / "run", "--epochs", "2")
    first, last = sorted((out / "checkpoints").glob("*.safetensors"))
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    result = run(capsys, "train", "--resume", out)
    assert result.code == 0
    assert result.err == (
        f"note: {str(last)!r} is damaged: its SHA-256 is another: going back to "
        f"{str(first.with_suffix('.json'))!r}\n"
    )
    for path in (out / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"")
    line = failed(run(capsys, "train", "--resume", out))
    assert line.startswith(f"error: [Checkpoints] no checkpoint in {str(out / 'checkpoints')!r} is")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--model", "medium"), "--model: medium now, and small when the run in "),
        (("--seed", "3"), "--seed: 3 now, and 0 when the run in "),
        (("--lr", "0.5"), "--lr: 0.5 now, and 0.002 when the run in "),
        (("--epochs", "2"), "--epochs: may be raised, but not lowered: 2 now, and 3 when the run"),
        (("--no-jit",), "--no-jit: given now, and not given when the run in "),
        (("--patience", "2"), "--patience: 2 now, and not given when the run in "),
        (("--dataset", "mnist"), "--dataset: mnist now, and digits when the run in "),
    ],
)
def test_options_that_contradict_the_run(
    capsys: Capture, whole: Path, options: tuple[str, ...], text: str
) -> None:
    line = failed(run(capsys, "train", "--resume", whole, *options), code=2)
    assert line.startswith(f"error: {text}")
    assert repr(str(whole)) in line


@pytest.mark.slow
def test_options_said_again_may_be_what_they_were(capsys: Capture, whole: Path) -> None:
    words = ("--lr", "0.002", "--batch-size", "128", "--seed", "0", "--device", "cpu")
    assert run(capsys, *TRAIN, "--resume", whole, *words).code == 0


def test_options_that_do_not_go_together(capsys: Capture, tmp_path: Path, whole: Path) -> None:
    for options in (("--out", tmp_path), ("--overwrite",)):
        line = failed(run(capsys, "train", "--resume", whole, *options), code=2)
        assert line == f"error: {options[0]}: a run goes on in its own folder, that of --resume"
    line = failed(run(capsys, *TRAIN, "--checkpoint-minutes", "-1"), code=2)
    assert line == "error: --checkpoint-minutes: expected a number of at least 0, got -1"


@pytest.mark.slow
def test_other_data(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    record = json.loads((whole / "run.json").read_text())
    record["data"]["checksums"]["train"] = "00000000"
    out = train_quietly(tmp_path / "run")
    (out / "run.json").write_text(json.dumps(record))
    line = failed(run(capsys, "train", "--resume", out))
    assert line.startswith(
        f"error: --resume: the data is not that of the run in {str(out)!r}: chec"
    )


def test_what_cannot_be_resumed(capsys: Capture, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    file = other / "notes.txt"
    old = train_quietly(tmp_path / "old")
    (old / "run.json").unlink()
    for place, text in (
        (other, f"{str(other)!r} holds no run; train into another --out"),
        (file, f"{str(file)!r} is a file, not a folder"),
        (old, f"{str(old)!r} holds what an earlier release left, without checkpoints; train"),
    ):
        line = failed(run(capsys, *TRAIN, "--resume", place))
        assert line.startswith(f"error: --resume: {text}")
    (old / "run.json").write_text('{"format": "tinygrad_cupy run", "version": 9}')
    line = failed(run(capsys, *TRAIN, "--resume", old))
    assert line == f"error: cannot read {str(old / 'run.json')!r}: expected version 1, got 9"
    with folders.Claim(tmp_path / "busy", lambda path: False):
        line = failed(run(capsys, *TRAIN, "--resume", tmp_path / "busy"))
    assert line.startswith("error: --resume: another run is writing to ")


def test_a_full_disk_costs_checkpoints_alone(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "run", folders._fill

    def fill(path: Path, *data: bytes | memoryview) -> None:
        if path.parent.name == "checkpoints":
            raise OSError(28, "No space left on device")
        real(path, *data)

    monkeypatch.setattr(folders, "_fill", fill)
    result = run(capsys, *TRAIN, "--epochs", "1", "--out", out)
    assert result.code == 0
    assert result.err == (
        f"note: cannot write a checkpoint to {str(out / 'checkpoints')!r}: No space left on "
        "device; there is none yet, and training goes on\n"
    )
    assert files_of(out) == RUN_FILES - {"checkpoints"}


@pytest.mark.slow
def test_an_error_leaves_nothing_where_no_checkpoint_was(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(ctrl_c: CtrlC, trainer: nn.Trainer, *rest: object) -> None:
        if trainer.steps_taken == steps:
            raise RuntimeError("no")

    steps = 3
    monkeypatch.setattr(CtrlC, "on_step_end", fail)
    failed(run(capsys, *TRAIN, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    after_each_epoch(monkeypatch)
    steps = 15  # in the second epoch
    out = tmp_path / "run"
    result = run(capsys, *TRAIN, "--out", out)
    failed(result)
    text = f"note: the run's checkpoint is in {out}; go on with --resume {out}"
    assert result.err.splitlines()[0] == text
    assert files_of(out) == UNFINISHED
    np.testing.assert_equal(len(list((out / "checkpoints").iterdir())), 2)


def test_a_run_that_cannot_go_on_is_as_it_was(capsys: Capture, tmp_path: Path) -> None:
    """Its settings are written anew once the checkpoint was found to fit; who writes, is said."""
    out = train_quietly(tmp_path / "run")
    for path in (out / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"damaged")
    before = {name: (out / name).read_bytes() for name in ("run.json", "settings.toml")}
    line = failed(run(capsys, "train", "--resume", out, "--epochs", "9"))
    assert "no checkpoint in " in line
    assert {name: (out / name).read_bytes() for name in before} == before
    with folders.Claim(out, lambda path: False):
        line = failed(run(capsys, *TRAIN, "--out", out))
    assert line.startswith("error: --out: another run is writing to ")
    assert not folders.is_held(out)
