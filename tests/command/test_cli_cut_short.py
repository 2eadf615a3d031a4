"""`tinygrad-cupy train`, cut short by Ctrl-C or a loss that is no number: what it leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import tinygrad_cupy as tg
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
from tinygrad_cupy import datasets, nn
from tinygrad_cupy.command.progress import CtrlC
from tinygrad_cupy.nn.batches import Loader

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)


# --- Ctrl-C -------------------------------------------------------------------------------------


class InterruptAt(nn.Callback):
    """Sends this process what Ctrl-C sends, `times` times, at step (epoch, index)."""

    def __init__(self, epoch: int, index: int, times: int = 1) -> None:
        self.epoch, self.index, self.times = epoch, index, times

    def on_step_end(self, trainer: nn.Trainer, step: nn.Step) -> None:
        if (step.epoch, step.index) == (self.epoch, self.index):
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> "type[InterruptAt]":
    """Makes every training run of the command interrupt itself: interrupt_at(epoch, index)."""

    class Interrupting(InterruptAt):
        def __init__(self, epoch: int, index: int, times: int = 1) -> None:
            super().__init__(epoch, index, times)
            make = CtrlC.on_step_end

            def on_step_end(ctrl_c: CtrlC, trainer: nn.Trainer, step: nn.Step) -> None:
                self.on_step_end(trainer, step)
                make(ctrl_c, trainer, step)

            monkeypatch.setattr(CtrlC, "on_step_end", on_step_end)

    return Interrupting


def test_ctrl_c_keeps_the_finished_epochs(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupt_at(3, 5)
    out = tmp_path / "run"
    result = run(capsys, *TRAIN, "--out", out)
    assert failed(result, 130) == (
        f"interrupted: after 2 finished epochs; the weights of epoch 2 are in {out}; go on with "
        f"--resume {out}"
    )
    assert result.err.splitlines()[0] == (
        "stopping after this step, then testing the weights of epoch 2; Ctrl-C again to skip"
    )
    assert files_of(out) == RUN_FILES
    metrics = metrics_of(out)
    assert (metrics["epochs"], metrics["kept_epoch"]) == (2, 2)
    assert metrics["stopped"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_the_weights_after_ctrl_c_are_those_of_the_last_epoch(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    whole = train_quietly(tmp_path / "whole", "--epochs", "2")
    interrupt_at(3, 5)
    run(capsys, *TRAIN, "--out", tmp_path / "cut")
    name = "model.safetensors"
    assert (whole / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


@pytest.mark.slow
def test_ctrl_c_in_the_first_epoch_keeps_what_there_is(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    interrupt_at(1, 5)
    out = tmp_path / "run"
    line = failed(run(capsys, *TRAIN, "--out", out), 130)
    assert line == (
        "interrupted: after 0 finished epochs; no epoch had finished: the weights of the last "
        f"step are in {out}; go on with --resume {out}"
    )
    assert files_of(out) == RUN_FILES
    metrics = metrics_of(out)
    assert (metrics["epochs"], metrics["seconds_per_epoch"]) == (0, None)


def test_a_second_ctrl_c_leaves_the_last_finished_epoch(
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupt_at: type[InterruptAt],
) -> None:
    monkeypatch.setattr(nn.Checkpoints, "due", lambda checkpoints, in_epoch: False)
    interrupt_at(2, 3, times=2)
    out = tmp_path / "run"
    line = failed(run(capsys, *TRAIN, "--out", out), 130)
    assert line == f"interrupted: the weights of the last finished epoch, not tested, are in {out}"


def test_a_second_ctrl_c_leaves_what_can_be_used_and_go_on(
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupt_at: type[InterruptAt],
) -> None:
    monkeypatch.setattr(nn.Checkpoints, "due", lambda checkpoints, in_epoch: not in_epoch)
    interrupt_at(2, 3, times=2)
    out = tmp_path / "run"
    assert failed(run(capsys, *TRAIN, "--out", out), 130) == (
        f"interrupted: the weights of the last finished epoch, not tested, are in {out}; go on "
        f"with --resume {out}"
    )
    assert files_of(out) == {"model.safetensors", "history.csv"} | UNFINISHED
    assert len((out / "history.csv").read_text().splitlines()) == 2
    note = (
        f"the run in {str(out)!r} has not ended: these are the weights after 1 of 30 epochs, not "
        f"tested; go on with tinygrad-cupy train --resume {out}"
    )
    result = run(capsys, "evaluate", out, "--json")
    assert (result.code, result.err) == (0, f"note: {note}\n")
    assert json.loads(result.out)["accuracy"] > 0.3
    with pytest.warns(UserWarning, match=re.escape(f"[load_run] {note}")):
        loaded = tg.load_run(out)
    assert (loaded.classes[3], loaded.settings["epochs"]) == ("3", 30)
    Image.fromarray(datasets.digits()[1].images[0, 0]).save(tmp_path / "3.png")
    result = run(capsys, "predict", out, tmp_path / "3.png")
    assert (result.code, result.err) == (0, f"note: {note}\n")
    (out / "run.json").write_text('{"description": {}}')
    line = failed(run(capsys, "predict", out, tmp_path / "3.png"))
    assert line.endswith(f"has not ended: go on with tinygrad-cupy train --resume {out}")


def test_a_second_ctrl_c_before_an_epoch_finished_leaves_nothing(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    interrupt_at(1, 3, times=2)
    result = run(capsys, *TRAIN, "--out", tmp_path / "run")
    assert failed(result, 130) == "interrupted: nothing was written"
    assert not (tmp_path / "run").exists()


def test_a_second_ctrl_c_skips_the_test(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(trainer: nn.Trainer, loader: Loader) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(nn.Trainer, "evaluate", interrupt)
    out = tmp_path / "run"
    result = run(capsys, *TRAIN, "--epochs", "1", "--out", out)
    assert failed(result, 130) == (
        f"interrupted: the weights of the last finished epoch, not tested, are in {out}; go on "
        f"with --resume {out}"
    )
    assert result.err.splitlines()[0] == "testing the weights of epoch 1; Ctrl-C again to skip"
    assert files_of(out) == {"model.safetensors", "history.csv"} | UNFINISHED


@pytest.mark.slow
def test_ctrl_c_after_training_waits_for_the_folder(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = nn.Trainer.evaluate

    def interrupt(trainer: nn.Trainer, loader: Loader) -> nn.Evaluation:
        signal.raise_signal(signal.SIGINT)
        return evaluate(trainer, loader)

    monkeypatch.setattr(nn.Trainer, "evaluate", interrupt)
    out = tmp_path / "run"
    line = failed(run(capsys, *TRAIN, "--epochs", "1", "--out", out), 130)
    assert line == f"interrupted: after 1 finished epoch; the weights of epoch 1 are in {out}"
    assert files_of(out) == RUN_FILES
    assert metrics_of(out)["stopped"] == "finished"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="has no SIGINT for a single process")
def test_ctrl_c_from_outside(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tinygrad_cupy.cli", *TRAIN, "--epochs", "10000"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:  # wait for the line of the second epoch
        if line.split()[:1] == ["2"]:
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("stopping after this step, then testing the weights of epoch ")
    assert "\ninterrupted: after " in err
    assert "Traceback" not in err
    assert files_of(tmp_path / "run") == RUN_FILES
    assert metrics_of(tmp_path / "run")["epochs"] >= 2


# --- a loss that is no number -------------------------------------------------------------------


@pytest.mark.slow
def test_a_loss_that_turns_nan_leaves_the_last_good_weights(
    capsys: Capture, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    line = failed(run(capsys, *TRAIN, "--lr", "1e30", "--out", out))
    assert line.startswith("error: the loss became ")
    assert "in epoch 1, step 2 of 11" in line
    assert "(--lr was 1e+30)" in line
    assert line.endswith(f"no epoch had finished: the untrained weights are in {out}")
    assert files_of(out) == RUN_FILES - {"checkpoints"}
    weights = load_file(out / "model.safetensors")
    assert all(np.isfinite(array).all() for array in weights.values())
    assert metrics_of(out)["stopped"] == "diverged"


@pytest.mark.slow
def test_nan_after_good_epochs(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate explodes in epoch 3: the weights of epoch 2 stay."""

    class Exploding(nn.Trainer):
        def fit(self, *arguments: object, **options: object) -> nn.History:
            self.schedule = lambda step: 1e30 if step == 22 else 0.002
            return super().fit(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("tinygrad_cupy.command.experiment.Trainer", Exploding)
    out = tmp_path / "run"
    line = failed(run(capsys, *TRAIN, "--out", out))
    assert "in epoch 3, step 2 of 11" in line
    assert line.endswith(f"the weights of epoch 2 are in {out}")
    assert metrics_of(out)["test_accuracy"] > 0.3


# --- a run that is there already ----------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_is_cut_short_replaces_none(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    folder = train_quietly(tmp_path / "run")
    before = metrics_of(folder)
    interrupt_at(2, 2)
    line = failed(run(capsys, *TRAIN, "--out", folder, "--overwrite"), 130)
    kept = tmp_path / "run-interrupted"
    assert line.endswith(f"the weights of epoch 1 are in {kept}; go on with --resume {kept}")
    line = failed(run(capsys, *TRAIN, "--lr", "1e30", "--out", folder, "--overwrite"))
    assert line.endswith(f"are in {tmp_path / 'run-diverged'}")
    assert metrics_of(folder) == before
    assert files_of(tmp_path / "run-interrupted") == RUN_FILES
