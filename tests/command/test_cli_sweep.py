"""`tinygrad-cupy sweep`: the study of the batch size, its folder and its report."""

import csv
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support.command_runs import SWEPT_FILES, failed, files_of, metrics_of, run, skip_drawing
from support.made_up_runs import made_up, settings
from tinygrad_cupy import datasets, nn
from tinygrad_cupy.command import report
from tinygrad_cupy.command.progress import CtrlC
from tinygrad_cupy.command.study import COLUMNS
from tinygrad_cupy.command.sweep import parse_batch_sizes
from tinygrad_cupy.nn import History

Capture = pytest.CaptureFixture[str]
SWEEP = ("sweep", "--dataset", "digits", "--device", "cpu", "--epochs", "2", "--quiet")
SWEEP_FILES = {"sweep.csv", "report.md", "validation_curves.png", "summary.png", "sweep.json"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tinygrad_cupy.cli import main

    folder = tmp_path_factory.mktemp("sweeps") / "study"
    assert main([*SWEEP, "--batch-sizes", "256,64", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)  # `study` has real pictures


# --- the folder ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_folder_holds_the_study_and_a_run_per_batch_size(study: Path) -> None:
    assert files_of(study) == SWEEP_FILES | {"batch-64", "batch-256"}
    for size in (64, 256):
        assert files_of(study / f"batch-{size}") == SWEPT_FILES
        metrics = metrics_of(study / f"batch-{size}")
        assert (metrics["batch_size"], metrics["model"], metrics["epochs"]) == (size, "small", 2)
        assert metrics["patience"] == 5


@pytest.mark.slow
def test_sweep_csv_has_the_figures_of_each_run(study: Path) -> None:
    with (study / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["batch_size"] for row in rows] == ["64", "256"]
    for row in rows:
        metrics = metrics_of(study / f"batch-{row['batch_size']}")
        assert float(row["test_accuracy"]) == metrics["test_accuracy"]
        assert float(row["seconds_per_epoch"]) == metrics["seconds_per_epoch"]


@pytest.mark.slow
def test_every_picture_of_the_report_is_there(study: Path) -> None:
    text = (study / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {"summary.png", "validation_curves.png", "batch-64/confusion_matrix.png"} <= set(links)
    for link in links:
        assert not Path(link).is_absolute()
        with Image.open(study / link) as picture:
            assert min(picture.size) > 300
    command = (
        "tinygrad-cupy sweep --batch-sizes 64,256 --dataset digits --model small --epochs 2 "
        "--patience 5 --optimizer adam --lr 0.002 --val-fraction 0.1 --seed 0"
    )
    assert f"`{command}`" in text
    for words in ("## Results", "## Findings", "at most 2 epochs", "seed 0", "1,294 for training"):
        assert words in text


@pytest.mark.slow
def test_overwrite_replaces_a_sweep_but_nothing_else(capsys: Capture, study: Path) -> None:
    words = (*SWEEP, "--batch-sizes", "128", "--out", study)
    assert "is not empty" in failed(run(capsys, *words))
    assert run(capsys, *words, "--overwrite").out == f"{study}\n"
    assert files_of(study) == SWEEP_FILES | {"batch-128"}
    (study / "batch-128" / "notes.txt").write_text("mine")
    assert "(batch-128/notes.txt)" in failed(run(capsys, *words, "--overwrite"))


@pytest.mark.parametrize(("text", "sizes"), [("64, 32,64", [32, 64]), ("1", [1])])
def test_batch_sizes_are_sorted_and_each_once(text: str, sizes: list[int]) -> None:
    assert parse_batch_sizes(text) == sizes


# --- sweeps that are cut short ------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_keeps_the_finished_batch_sizes(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = CtrlC.on_step_end

    def interrupt(ctrl_c: CtrlC, trainer: nn.Trainer, step: nn.Step) -> None:
        if step.count == 6 and step.epoch == 2:  # batch size 256
            signal.raise_signal(signal.SIGINT)
        plain(ctrl_c, trainer, step)

    monkeypatch.setattr(CtrlC, "on_step_end", interrupt)
    out = tmp_path / "study"
    result = run(capsys, *SWEEP, "--batch-sizes", "128,256", "--out", out)
    assert failed(result, 130) == (
        f"interrupted: some batch sizes are missing; the report on batch size 128 is in {out}; go "
        f"on with --resume {out}"
    )
    assert files_of(out) == SWEEP_FILES | {"batch-128", "in-progress"}
    assert "Only batch size 128 finished" in (out / "report.md").read_text(encoding="utf-8")
    other = tmp_path / "other"
    result = run(capsys, *SWEEP, "--batch-sizes", "256", "--out", other)
    assert failed(result, 130) == (
        f"interrupted: no batch size had finished; the checkpoint is in {other}; go on with "
        f"--resume {other}"
    )
    monkeypatch.setattr(CtrlC, "on_step_end", plain)
    for folder, sizes in ((out, {"batch-128", "batch-256"}), (other, {"batch-256"})):
        assert run(capsys, "sweep", "--resume", folder, "--quiet").code == 0
        assert files_of(folder) == SWEEP_FILES | sizes
        assert files_of(folder / "batch-256") == SWEPT_FILES


@pytest.mark.slow
def test_a_batch_size_that_diverges_is_reported(capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "study"
    result = run(capsys, *SWEEP, "--batch-sizes", "128,256", "--lr", "1e30", "--out", out)
    line = failed(result)
    assert line.startswith("error: batch size 128: the loss became ")
    assert line.endswith(f"(--lr was 1e+30); the report on batch size 128, 256 is in {out}")
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "Batch size 128 failed: the loss became " in text
    assert "Batch size 256 failed: the loss became " in text
    assert (out / "sweep.csv").read_text().count("diverged") == 2


@pytest.mark.slow
def test_running_out_of_memory_keeps_the_smaller_batch_sizes(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = nn.Trainer.fit

    def fit_or_fail(trainer: nn.Trainer, loader: datasets.DataLoader, *rest: Any) -> History:
        if loader.batch_size == 256:
            raise MemoryError("Out of memory allocating 1,024 bytes")
        return fit(trainer, loader, *rest)

    monkeypatch.setattr(nn.Trainer, "fit", fit_or_fail)
    out = tmp_path / "study"
    line = failed(run(capsys, *SWEEP, "--batch-sizes", "128,256", "--out", out))
    assert line.startswith("error: out of memory on cpu with --batch-size 256 and --model small")
    assert line.endswith(f"the report on batch size 128 is in {out}")
    assert files_of(out) == SWEEP_FILES | {"batch-128"}
    words = (*SWEEP, "--batch-sizes", "256,512", "--out", out, "--overwrite")
    assert "the report" not in failed(run(capsys, *words))
    assert files_of(out) == SWEEP_FILES | {"batch-128"}


# --- findings -----------------------------------------------------------------------------------


def test_findings_follow_from_the_figures() -> None:
    runs = [made_up(32, 990, 4.0, 10), made_up(64, 989, 2.0, 12), made_up(128, 900, 1.0, 20)]
    accuracy, speed, epochs, choice, mistakes = report.findings(runs)
    assert "batch size 32 is the most accurate with 99.00%, 128 the least with 90.00%" in accuracy
    assert "9.00 points is more than twice the standard error" in accuracy
    assert "1.00 seconds at batch size 128 and 4.00 at 32, 4.0 times as long" in speed
    assert epochs.endswith("batch size 32 stopped after 10 epochs, 128 after 20.")
    assert "(32 and 64), 64 was trained in the shortest time: 24.0 seconds for 98.90%" in choice
    assert "take 0 for 1, 121 of 1500 times" in mistakes


def test_the_command_gives_the_same_run_anywhere() -> None:
    run = made_up(32, 990, 1.0, 10)
    run = replace(run, settings=replace(run.settings, lr=0.0012345678901))
    assert run.settings.dataset == "auto"
    text = report.report([run])
    assert "--dataset 'made up' --model" in text
    assert "--lr 0.0012345678901 --val-fraction 0.1 " in text


def test_findings_do_not_claim_what_the_figures_do_not_show() -> None:
    runs = [made_up(32, 990, 1.0, 50, "finished"), made_up(64, 988, 1.01, 50)]
    accuracy, speed, epochs, *_ = report.findings(runs)
    assert "0.20 points is within twice the standard error" in accuracy
    assert "one seed does not tell these batch sizes apart" in accuracy
    assert speed == "Speed: an epoch takes about 1.01 seconds at every batch size."
    assert "every batch size ran for 50 epochs. At 32 the limit of epochs came before" in epochs


def test_equal_accuracies_and_no_mistakes() -> None:
    first = made_up(32, 1000, 1.0, 3)
    found = report.findings([first, replace(first, settings=settings(64))])
    assert found[0] == "All batch sizes reach the same test accuracy, 100.00%."
    assert found[-1] == "Mistakes: none, at any batch size."
