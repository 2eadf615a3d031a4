"""`tinygrad-cupy sweep --resume`: a study that was killed goes on in the run where it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.command_runs import SWEPT_FILES, failed, files_of, metrics_of, run, skip_drawing
from support.killed_runs import after_each_epoch, cut, losses, same_weights
from tinygrad_cupy import nn
from tinygrad_cupy.cli import main

Capture = pytest.CaptureFixture[str]
SWEEP = (
    "sweep", "--dataset", "digits", "--device", "cpu", "--epochs", "2", "--quiet",
    "--batch-sizes", "128,256", "--model", "small",
)  # fmt: skip
SWEEP_FILES = {"sweep.csv", "report.md", "validation_curves.png", "summary.png", "sweep.json"}
RUNS = ("batch-128", "batch-256")


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study that nothing ended."""
    out = tmp_path_factory.mktemp("whole") / "study"
    with pytest.MonkeyPatch.context() as patch:
        skip_drawing(patch)
        assert main([*SWEEP, "--out", str(out)]) == 0
    return out


def assert_as(out: Path, whole: Path) -> None:
    """The same weights, figures and findings; times apart."""
    assert files_of(out) == SWEEP_FILES | set(RUNS)
    for name in RUNS:
        assert files_of(out / name) == SWEPT_FILES
        assert same_weights(out / name, whole / name)
        assert losses(out / name) == losses(whole / name)
        assert metrics_of(out / name)["test_loss"] == metrics_of(whole / name)["test_loss"]
        texts = [(folder / name / "metrics.jsonl").read_text() for folder in (out, whole)]
        steps = [[json.loads(line)["step"] for line in text.splitlines()] for text in texts]
        assert steps[0] == steps[1]
    tables = [(folder / "sweep.csv").read_text().splitlines() for folder in (out, whole)]
    for one, other in zip(*tables, strict=True):
        assert one.split(",")[:5] == other.split(",")[:5]


def test_a_killed_sweep_goes_on_in_the_run_where_it_was(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    out = tmp_path / "study"
    cut(monkeypatch, (*SWEEP, "--out", out), 2, 4, count=6)  # batch size 256
    assert files_of(out) == {"sweep.json", "batch-128", "in-progress", ".writing"}
    assert list((out / "in-progress" / "batch-256" / "checkpoints").glob("*.json"))
    first = (out / "batch-128" / "metrics.json").read_bytes()
    assert failed(run(capsys, *SWEEP, "--out", out)).endswith(f"or go on with it: --resume {out}")
    assert failed(run(capsys, "train", "--resume", out)) == (
        f"error: --resume: {str(out)!r} is a sweep; go on with tinygrad-cupy sweep --resume {out}"
    )
    trained: list[int] = []
    fit = nn.Trainer._held_fit

    def noted(trainer: nn.Trainer, *rest: Any) -> nn.History:
        trained.append(trainer.steps_taken)
        return fit(trainer, *rest)

    monkeypatch.setattr(nn.Trainer, "_held_fit", noted)
    result = run(capsys, "sweep", "--resume", out)
    assert (result.code, result.err) == (0, "")
    assert trained == [9]  # six steps and three of the second run; nothing of the first
    assert "was trained before" in result.out
    assert (out / "batch-128" / "metrics.json").read_bytes() == first
    assert_as(out, whole)
    # It was complete: nothing is trained any more, and the report is written anew.
    (out / "report.md").unlink()
    assert run(capsys, "sweep", "--resume", out, "--quiet").out == f"{out}\n"
    assert trained == [9]
    assert_as(out, whole)


@pytest.mark.slow
def test_a_sweep_over_an_older_one_goes_on_hidden_in_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    out = tmp_path / "study"
    assert run(capsys, *SWEEP, "--batch-sizes", "512", "--out", out).code == 0
    cut(monkeypatch, (*SWEEP, "--out", out, "--overwrite"), 1, 3, count=6)
    assert files_of(out) == SWEEP_FILES | {"batch-512", ".writing"}
    assert run(capsys, "sweep", "--resume", out, "--quiet").code == 0
    assert_as(out, whole)


@pytest.mark.slow
def test_a_sweep_killed_before_it_was_one_begins_anew(capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "study"
    words = ("sweep", *SWEEP[1:], "--batch-sizes", "512", "--epochs", "1", "--resume", out)
    result = run(capsys, *words)
    assert result.err == f"note: there is no sweep in {str(out)!r}: it begins anew\n"
    assert (result.code, run(capsys, *words).err) == (0, "")


@pytest.mark.slow
def test_an_error_in_the_first_run(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    """Without a checkpoint nothing is left, with one it is said how to go on."""
    fit = nn.Trainer._finish_epoch

    def fail(trainer: nn.Trainer, *rest: object) -> None:
        fit(trainer, *rest)  # type: ignore[arg-type]
        if trainer.history[-1].epoch == epoch:
            raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(nn.Trainer, "_finish_epoch", fail)
        after_each_epoch(patch)
        epoch, out = 1, tmp_path / "study"
        assert "unexpected RuntimeError" in failed(run(capsys, *SWEEP, "--out", out))
        assert not out.exists()
        epoch = 2
        result = run(capsys, *SWEEP, "--out", out)
        assert result.err.startswith(f"note: the run's checkpoint is in {out}; go on with --resume")
    assert run(capsys, "sweep", "--resume", out, "--quiet").code == 0
    assert_as(out, whole)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--batch-sizes", "64"), "--batch-sizes: 64 now, and 128,256 when the sweep in "),
        (("--seeds", "2"), "--seeds: 2 now, and 1 when the sweep in "),
        (("--epochs", "3"), "--epochs: 3 now, and 2 when the run in "),
        (("--lr", "1"), "--lr: 1.0 now, and 0.002 when the run in "),
        (("--out", "x"), "--out: a run goes on in its own folder, that of --resume"),
    ],
)
def test_other_options_are_refused(
    capsys: Capture, whole: Path, words: tuple[str, ...], text: str
) -> None:
    line = failed(run(capsys, "sweep", "--resume", whole, *words), code=2)
    assert line.startswith(f"error: {text}")


def test_what_is_no_sweep(capsys: Capture, tmp_path: Path, whole: Path) -> None:
    place = whole / "batch-128"
    line = failed(run(capsys, "sweep", "--resume", place))
    assert line.endswith(f"is a run of a sweep; go on with tinygrad-cupy sweep --resume {whole}")
    (tmp_path / "run.json").write_text("{}")
    line = failed(run(capsys, "sweep", "--resume", tmp_path))
    assert line.endswith(f"is a single run; go on with tinygrad-cupy train --resume {tmp_path}")
    (tmp_path / "run.json").rename(tmp_path / "sweep.json")
    assert failed(run(capsys, "sweep", "--resume", tmp_path)).startswith("error: cannot read ")
