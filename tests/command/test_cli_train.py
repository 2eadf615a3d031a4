"""`tinygrad-cupy train`: the run folder, what is shown, and where it may be written."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from support.command_runs import (
    RUN_FILES,
    TRAIN,
    failed,
    files_of,
    metrics_of,
    run,
    skip_drawing,
    train_quietly,
)
from support.idx_files import isolate
from tinygrad_cupy import datasets, nn
from tinygrad_cupy.cli import main
from tinygrad_cupy.command import run_folder
from tinygrad_cupy.command.progress import ProgressBar
from tinygrad_cupy.datasets import mnist_files
from tinygrad_cupy.nn import optim

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


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(trained: Path, tmp_path: Path) -> None:
    again = train_quietly(tmp_path / "again", "--epochs", "3")
    other = train_quietly(tmp_path / "other", "--epochs", "3", "--seed", "1")
    name = "model.safetensors"
    assert (again / name).read_bytes() == (trained / name).read_bytes()
    assert (other / name).read_bytes() != (trained / name).read_bytes()


@pytest.mark.slow
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


@pytest.mark.slow
def test_patience_keeps_the_best_weights(tmp_path: Path) -> None:
    """A rate so high that the validation loss soon rises."""
    folder = train_quietly(tmp_path / "run", "--epochs", "25", "--patience", "1", "--lr", "0.1")
    metrics = metrics_of(folder)
    assert metrics["stopped"] == "early"
    assert metrics["epochs"] == metrics["kept_epoch"] + 1 < 25
    with (folder / "history.csv").open(newline="") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert losses.index(min(losses)) + 1 == metrics["kept_epoch"]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_other_optimizers(tmp_path: Path, optimizer: str) -> None:
    metrics = metrics_of(train_quietly(tmp_path / "run", "--optimizer", optimizer))
    assert metrics["optimizer"] == optimizer
    assert metrics["test_loss"] < 2.3


@pytest.mark.slow
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
    assert lines[-1].split(maxsplit=2) == ["run", "folder", str(tmp_path / "run")]


@pytest.mark.slow
def test_quiet_prints_the_folder_only(capsys: Capture, tmp_path: Path) -> None:
    result = run(capsys, *TRAIN, "--epochs", "1", "--quiet", "--out", tmp_path / "run")
    assert (result.code, result.out, result.err) == (0, f"{tmp_path / 'run'}\n", "")


@pytest.mark.slow
def test_the_default_folder_is_new_every_time(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {run(capsys, *TRAIN, "--epochs", "1", "--quiet").out.strip() for _ in range(2)}
    assert len(folders) == 2
    assert all(files_of(tmp_path / folder) == RUN_FILES for folder in folders)
    assert all(Path(folder).parent == Path("runs") for folder in folders)


@pytest.mark.slow
def test_the_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_cupy.nn.progress.REFRESH_SECONDS", 0.0)
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


# --- the folder that is written to --------------------------------------------------------------


def test_a_folder_that_is_not_empty(capsys: Capture, trained: Path) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    line = failed(run(capsys, *TRAIN, "--out", trained))
    assert line == (
        f"error: --out: {str(trained)!r} is not empty; choose another folder, "
        "or replace that run with --overwrite"
    )
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_old_one(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train_quietly(tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def fail(*arguments: object) -> None:
        raise RuntimeError("no more of this")

    monkeypatch.setattr(nn.Trainer, "fit", fail)
    line = failed(run(capsys, *TRAIN, "--epochs", "1", "--out", folder, "--overwrite"))
    assert "no more of this" in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_second_run_into_the_folder_is_refused(capsys: Capture, tmp_path: Path) -> None:
    for options in ((), ("--overwrite",)):
        with run_folder.claim(tmp_path / "run", "small", overwrite=False):
            line = failed(run(capsys, *TRAIN, "--out", tmp_path / "run", *options))
        assert line == (
            f"error: --out: another run is writing to {str(tmp_path / 'run')!r}; "
            "choose another folder"
        )


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    claims = [run_folder.claim(None, "small", overwrite=False) for _ in range(4)]
    assert len({claim.folder for claim in claims}) == 4
    for claim in claims:
        claim.close()
    assert files_of(tmp_path / "runs") == set()


@pytest.mark.parametrize(
    "names",
    [
        ("report.md",), ("metrics.json", "history.csv"), ("model.safetensors", "config.json"),
        ("batch-32/model.safetensors", "batch-32/notes.txt"), ("batch-32/sub/model.safetensors",),
    ],
)  # fmt: skip
def test_overwrite_takes_nothing_for_a_run_that_is_none(
    capsys: Capture, tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    line = failed(run(capsys, *TRAIN, "--out", tmp_path, "--overwrite"))
    assert line.startswith(f"error: --out: {str(tmp_path)!r} holds files that are not a run's (")
    assert all((tmp_path / name).read_text() == "mine" for name in names)
    assert not (tmp_path / ".writing").exists()


@pytest.mark.slow
def test_files_put_there_during_the_run_are_spared(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train_quietly(tmp_path / "run")
    before = metrics_of(folder)
    evaluate = nn.Trainer.evaluate

    def interfere(trainer: nn.Trainer, loader: Any) -> nn.Evaluation:
        (folder / "notes.txt").write_text("mine")
        return evaluate(trainer, loader)

    monkeypatch.setattr(nn.Trainer, "evaluate", interfere)
    train_quietly(folder, "--seed", "3", "--overwrite")
    assert (folder / "notes.txt").read_text() == "mine"
    assert metrics_of(folder) == before
    assert metrics_of(tmp_path / "run-new")["seed"] == 3


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
def test_the_defaults_on_the_digits_reach_97_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of 35 seconds, each of which reaches a point more: that is less likely by chance
    than a mean of five, were 97 % not what one gets."""
    skip_drawing(monkeypatch)
    for seed in range(2):
        words = ("train", "--dataset", "digits", "--quiet", "--seed", str(seed))
        assert main([*words, "--out", str(tmp_path / str(seed))]) == 0
        assert metrics_of(tmp_path / str(seed))["test_accuracy"] >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [False, True])
def test_digits_for_want_of_mnist_that_is_more_than_no_network_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, quiet: bool
) -> None:
    def fail(*arguments: object) -> None:
        raise datasets.DownloadError("[f] no mirror served it intact (host: HTTP 404)")

    isolate(monkeypatch, tmp_path)
    skip_drawing(monkeypatch)
    monkeypatch.setattr(mnist_files, "fetch", fail)
    words = ("train", "--model", "small", "--device", "cpu", "--epochs", "1")
    result = run(capsys, *words, "--out", tmp_path / "run", *["--quiet"] * quiet)
    assert result.code == 0
    assert " ".join(result.err.split()) == (
        "warning: [dataset] this is not MNIST but 1,797 small digits: "
        "[f] no mirror served it intact (host: HTTP 404)"
    )
    assert "no mirror served it intact" in metrics_of(tmp_path / "run")["dataset_reason"]
