"""`tinygrad-cupy train`: the run folder, what is shown, and what an unfinished run leaves."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from command_runs import (
    RUN_FILES,
    TRAIN,
    failed,
    files_of,
    metrics_of,
    run,
    skip_drawing,
    train_quietly,
)
from tinygrad_cupy import datasets, nn
from tinygrad_cupy.cli import main
from tinygrad_cupy.command.progress import CtrlC, ProgressBar
from tinygrad_cupy.nn import optim
from tinygrad_cupy.nn.trainer import Loader

Capture = pytest.CaptureFixture[str]

NAMED = {
    "dataset", "model", "device", "seed", "epochs", "batch_size", "parameters", "test_accuracy",
    "test_loss", "val_accuracy", "train_seconds", "seconds_per_epoch", "images_per_second",
    "versions",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_quietly(tmp_path_factory.mktemp("runs") / "run", "--epochs", "3")


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)  # `trained` has real pictures


# --- the run folder -----------------------------------------------------------------------------


def test_the_run_folder_is_complete(trained: Path) -> None:
    assert files_of(trained) == RUN_FILES


def test_metrics(trained: Path) -> None:
    metrics = metrics_of(trained)
    assert metrics.keys() >= NAMED
    assert (metrics["dataset"], metrics["model"], metrics["device"]) == ("digits", "small", "cpu")
    assert (metrics["seed"], metrics["epochs"], metrics["batch_size"]) == (0, 3, 128)
    assert metrics["parameters"] == 8 * 9 + 8 + 1568 * 10 + 10
    assert metrics["images"] == {"train": 1294, "val": 144, "test": 359}
    assert 0.5 < metrics["test_accuracy"] <= 1
    assert "digits" in metrics["dataset_reason"]
    assert metrics["versions"]["numpy"] == np.__version__
    assert metrics["per_class"].keys() == set("0123456789")
    assert metrics["per_class"]["0"].keys() == {"precision", "recall", "f1"}


def test_history_has_a_row_per_epoch(trained: Path) -> None:
    with (trained / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["val_accuracy"]) == metrics_of(trained)["val_accuracy"]
    assert float(rows[2]["train_loss"]) < float(rows[0]["train_loss"])


@pytest.mark.parametrize("name", ["curves.png", "confusion_matrix.png", "mistakes.png"])
def test_pictures_are_pictures(trained: Path, name: str) -> None:
    with Image.open(trained / name) as picture:
        assert min(picture.size) > 400
        assert picture.convert("L").getcolors(20) is None  # more shades than so many


def test_the_weights_are_those_that_were_tested(trained: Path) -> None:
    model = nn.models.build("small")
    model.load_state_dict(load_file(trained / "model.safetensors"))
    _, test = datasets.digits()
    trainer = nn.Trainer(model, optim.SGD(model.parameters(), lr=0.1))
    result = trainer.evaluate(datasets.DataLoader(test, 256))
    assert result.accuracy == metrics_of(trained)["test_accuracy"]


def test_the_same_seed_gives_the_same_bits(trained: Path, tmp_path: Path) -> None:
    again = train_quietly(tmp_path / "again", "--epochs", "3")
    other = train_quietly(tmp_path / "other", "--epochs", "3", "--seed", "1")
    name = "model.safetensors"
    assert (again / name).read_bytes() == (trained / name).read_bytes()
    assert (other / name).read_bytes() != (trained / name).read_bytes()


def test_no_jit_gives_the_same_bits(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = []
    plain = nn.Trainer.__init__

    def spy(*args: Any, **kwargs: Any) -> None:
        options.append(kwargs["jit"])
        plain(*args, **kwargs)

    monkeypatch.setattr(nn.Trainer, "__init__", spy)
    other = train_quietly(tmp_path / "other", "--epochs", "3", "--no-jit")
    train_quietly(tmp_path / "with", "--epochs", "1")
    assert options == [False, True]
    name = "model.safetensors"
    assert (other / name).read_bytes() == (trained / name).read_bytes()


def test_patience_keeps_the_best_weights(tmp_path: Path) -> None:
    """A rate so high that the validation loss soon rises."""
    folder = train_quietly(tmp_path / "run", "--epochs", "25", "--patience", "1", "--lr", "0.1")
    metrics = metrics_of(folder)
    assert metrics["stopped"] == "early"
    assert metrics["epochs"] == metrics["kept_epoch"] + 1 < 25
    with (folder / "history.csv").open(newline="") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert losses.index(min(losses)) + 1 == metrics["kept_epoch"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_other_optimizers(tmp_path: Path, optimizer: str) -> None:
    metrics = metrics_of(train_quietly(tmp_path / "run", "--optimizer", optimizer))
    assert metrics["optimizer"] == optimizer
    assert metrics["test_loss"] < 2.3


def test_class_folders_of_any_names(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`data png` writes what `train` reads; here with the classes renamed, few of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = run(capsys, "data", "png", tmp_path / "png", "--dataset", "digits")
    assert result.code == 0
    assert files_of(tmp_path / "png") == {"train", "test"}
    assert files_of(tmp_path / "png" / "test") == set("0123456789")
    for part in ("train", "test"):
        for old in range(2, 10):
            folder = tmp_path / "png" / part / str(old)
            for picture in folder.iterdir():
                picture.unlink()
            folder.rmdir()
        (tmp_path / "png" / part / "0").rename(tmp_path / "png" / part / "naught $1")
        (tmp_path / "png" / part / "1").rename(tmp_path / "png" / part / "[one]")
    words = ("--dataset", str(tmp_path / "png"), "--batch-size", "16", "--epochs", "4")
    metrics = metrics_of(train_quietly(tmp_path / "run", *words))
    assert (metrics["dataset"], metrics["classes"]) == ("png", ["[one]", "naught $1"])
    assert metrics["test_accuracy"] > 0.9
    assert run(capsys, "data", "png", tmp_path / "png", "--dataset", "digits").code == 1


# --- what is shown ------------------------------------------------------------------------------


def test_it_says_the_data_first_and_ends_with_a_table(capsys: Capture, tmp_path: Path) -> None:
    result = run(capsys, *TRAIN, "--epochs", "2", "--out", tmp_path / "run")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "dataset: The embedded digits, as asked."
    assert "small on cpu" in lines[1]
    assert lines[2].split() == [
        "epoch", "loss", "accuracy", "val", "loss", "val", "accuracy", "seconds", "images/s",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[3:5]] == ["1", "2"]
    assert any(line.startswith("test accuracy ") for line in lines[5:])
    assert lines[-1].startswith("run folder")


def test_quiet_prints_the_folder_only(capsys: Capture, tmp_path: Path) -> None:
    result = run(capsys, *TRAIN, "--epochs", "1", "--quiet", "--out", tmp_path / "run")
    assert (result.code, result.out, result.err) == (0, f"{tmp_path / 'run'}\n", "")


def test_the_default_folder_is_new_every_time(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {run(capsys, *TRAIN, "--epochs", "1", "--quiet").out.strip() for _ in range(2)}
    assert len(folders) == 2
    assert all(files_of(tmp_path / folder) == RUN_FILES for folder in folders)
    assert all(Path(folder).parent == Path("runs") for folder in folders)


def test_the_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_cupy.command.progress.REFRESH_SECONDS", 0.0)
    train, _ = datasets.digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    shown = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar = ProgressBar(shown)
    trainer = nn.Trainer(model, optim.SGD(model.parameters(), lr=0.1), callbacks=[bar])
    trainer.fit(datasets.DataLoader(train, 128), epochs=2)
    assert bar.bar.tasks[0].completed == bar.bar.tasks[0].total == 24
    assert bar.bar.tasks[0].fields["epoch"] == "2/2"
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue()
    for word in ("epoch", "loss", "accuracy", "images/s", "left"):
        assert word in text


# --- runs that are cut short --------------------------------------------------------------------


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
        f"interrupted: after 2 finished epochs; the weights of epoch 2 are in {out}"
    )
    assert files_of(out) == RUN_FILES
    metrics = metrics_of(out)
    assert (metrics["epochs"], metrics["kept_epoch"]) == (2, 2)
    assert metrics["stopped"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before


def test_the_weights_after_ctrl_c_are_those_of_the_last_epoch(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    whole = train_quietly(tmp_path / "whole", "--epochs", "2")
    interrupt_at(3, 5)
    run(capsys, *TRAIN, "--out", tmp_path / "cut")
    name = "model.safetensors"
    assert (whole / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_ctrl_c_in_the_first_epoch_keeps_what_there_is(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    interrupt_at(1, 5)
    out = tmp_path / "run"
    line = failed(run(capsys, *TRAIN, "--out", out), 130)
    assert line.endswith(f"no epoch had finished: the weights of the last step are in {out}")
    assert files_of(out) == RUN_FILES
    metrics = metrics_of(out)
    assert (metrics["epochs"], metrics["seconds_per_epoch"]) == (0, None)


def test_a_second_ctrl_c_drops_everything(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    interrupt_at(2, 3, times=2)
    result = run(capsys, *TRAIN, "--out", tmp_path / "run")
    assert failed(result, 130) == "interrupted: nothing was written"
    assert not (tmp_path / "run").exists()


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
    assert err.startswith("interrupted: after ")
    assert "Traceback" not in err
    assert files_of(tmp_path / "run") == RUN_FILES
    assert metrics_of(tmp_path / "run")["epochs"] >= 2


def test_a_loss_that_turns_nan_leaves_the_last_good_weights(
    capsys: Capture, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    line = failed(run(capsys, *TRAIN, "--lr", "1e30", "--out", out))
    assert line.startswith("error: the loss became ")
    assert "in epoch 1, step 2 of 11" in line
    assert "(--lr was 1e+30)" in line
    assert line.endswith(f"no epoch had finished: the untrained weights are in {out}")
    assert files_of(out) == RUN_FILES
    weights = load_file(out / "model.safetensors")
    assert all(np.isfinite(array).all() for array in weights.values())
    assert metrics_of(out)["stopped"] == "diverged"


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


# --- the folder that is written to --------------------------------------------------------------


def test_a_folder_that_is_not_empty(capsys: Capture, trained: Path) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir()}
    line = failed(run(capsys, *TRAIN, "--out", trained))
    assert line == (
        f"error: --out: {str(trained)!r} is not empty; choose another folder, "
        "or replace that run with --overwrite"
    )
    assert {path: path.read_bytes() for path in trained.iterdir()} == before


def test_overwrite_replaces_a_run(tmp_path: Path) -> None:
    folder = train_quietly(tmp_path / "run")
    train_quietly(folder, "--seed", "7", "--overwrite")
    assert metrics_of(folder)["seed"] == 7
    assert files_of(folder) == RUN_FILES
    assert files_of(tmp_path) == {"run"}


def test_overwrite_spares_what_is_no_run(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("a year of work")
    line = failed(run(capsys, *TRAIN, "--out", tmp_path, "--overwrite"))
    assert "holds files that are not a run's (thesis.tex)" in line
    assert files_of(tmp_path) == {"thesis.tex"}
    line = failed(run(capsys, *TRAIN, "--out", tmp_path))
    assert line.endswith("is not empty; choose another folder")


def test_a_run_that_fails_leaves_the_old_one(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train_quietly(tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinygrad_cupy.command.pictures.draw_mistakes", fail)
    line = failed(run(capsys, *TRAIN, "--epochs", "1", "--out", folder, "--overwrite"))
    assert "No space left on device" in line
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_is_cut_short_replaces_none(
    capsys: Capture, tmp_path: Path, interrupt_at: type[InterruptAt]
) -> None:
    folder = train_quietly(tmp_path / "run")
    before = metrics_of(folder)
    interrupt_at(2, 2)
    line = failed(run(capsys, *TRAIN, "--out", folder, "--overwrite"), 130)
    assert line.endswith(f"the weights of epoch 1 are in {tmp_path / 'run-interrupted'}")
    line = failed(run(capsys, *TRAIN, "--lr", "1e30", "--out", folder, "--overwrite"))
    assert line.endswith(f"are in {tmp_path / 'run-diverged'}")
    assert metrics_of(folder) == before
    assert files_of(tmp_path / "run-interrupted") == RUN_FILES


def test_a_file_in_the_way(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    line = failed(run(capsys, *TRAIN, "--out", tmp_path / "out"))
    assert line == f"error: --out: {str(tmp_path / 'out')!r} is a file, not a folder"
    line = failed(run(capsys, *TRAIN, "--out", tmp_path / "out" / "deeper"))
    assert line.startswith("error: --out: cannot write to ")


# --- on a GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_gpu_learns_the_same(capsys: Capture, tmp_path: Path) -> None:
    words = ("train", "--dataset", "digits", "--model", "small", "--epochs", "3")
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        assert run(capsys, *words, "--device", device, "--out", out).err == ""
    cpu, cuda = (metrics_of(tmp_path / device) for device in ("cpu", "cuda"))
    assert cuda["device"] == "cuda:0"
    assert cuda["test_loss"] == pytest.approx(cpu["test_loss"], rel=0.02)


@pytest.mark.gpu
def test_out_of_gpu_memory(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "tinygrad_cupy.cli", "train", "--dataset", "digits",
        "--batch-size", "1024", "--device", "cuda", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    environment = os.environ | {"CUPY_GPU_MEMORY_LIMIT": "30000000"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.stderr == (
        "error: out of memory on cuda:0 with --batch-size 1024 and --model medium: "
        "choose a smaller batch\n"
    )
    assert result.returncode == 1
    assert not (tmp_path / "run").exists()


# --- slow ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_defaults_on_the_digits_reach_97_percent(tmp_path: Path) -> None:
    accuracies = []
    for seed in range(5):
        words = ("train", "--dataset", "digits", "--quiet", "--seed", str(seed))
        assert main([*words, "--out", str(tmp_path / str(seed))]) == 0
        accuracies.append(metrics_of(tmp_path / str(seed))["test_accuracy"])
    assert np.mean(accuracies) >= 0.97, accuracies
