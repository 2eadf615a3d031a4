"""What goes wrong once a run is trained, and that the run is kept all the same."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from safetensors.numpy import load_file

from support.command_runs import (
    RUN_FILES,
    SWEPT_FILES,
    TRAIN,
    UNFINISHED,
    failed,
    files_of,
    metrics_of,
    run,
    skip_drawing,
)
from tinygrad_cupy import folders, nn
from tinygrad_cupy.command import pictures, run_folder
from tinygrad_cupy.command.keeping import Drawing

Capture = pytest.CaptureFixture[str]
ONE = (*TRAIN, "--epochs", "1", "--quiet")
SWEEP = ("sweep", "--dataset", "digits", "--device", "cpu", "--epochs", "1", "--quiet")
LOGS = {"settings.toml", "metrics.jsonl"}  # which stand before the run has ended
NUMBERS = {"metrics.json", "history.csv", "model.safetensors", *LOGS}
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_drawing(monkeypatch)


def raising(error: BaseException) -> Any:
    def function(*arguments: object, **options: object) -> None:
        raise error

    return function


class FillsUp:
    """A disk below `place` that takes no file, from the `first` one on that is named `name`.

    What stands before step 1 is there: without it nothing would begin.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Path, name: str = "") -> None:
        real = folders._fill

        def fill(path: Path, *data: bytes | memoryview) -> None:
            # Reserved files are all zeros.
            before = path.name.endswith(("run.json", "settings.toml"))
            real_data = b"".join(data).strip(b"\0") and not before
            if place in path.parents and name in path.name and real_data:
                raise FULL
            real(path, *data)

        monkeypatch.setattr(folders, "_fill", fill)


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "error", [FULL, ValueError("'nonsense' is no valid value for backend"), MemoryError()]
)
def test_a_picture_that_cannot_be_drawn(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(pictures, "draw_mistakes", raising(error))
    out = tmp_path / "run"
    reason = "No space left on device" if error is FULL else repr(error)
    assert failed(run(capsys, *ONE, "--out", out)) == (
        f"error: mistakes.png could not be drawn ({reason}); the run is in {out}"
    )
    assert files_of(out) == RUN_FILES - {"mistakes.png"}


@pytest.mark.slow
def test_a_picture_is_whole_or_absent(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, *arguments: object) -> None:
        path.write_bytes(b"half")
        raise FULL

    monkeypatch.setattr(pictures, "draw_curves", half)
    out = tmp_path / "study"
    line = failed(run(capsys, *SWEEP, "--batch-sizes", "128,256", "--out", out))
    assert line == (
        "error: batch-128/curves.png, batch-256/curves.png could not be drawn (No space left on "
        f"device); the report on batch size 128, 256 is in {out}"
    )
    assert files_of(out / "batch-128") == SWEPT_FILES - {"curves.png"}


@pytest.mark.slow
def test_plotting_settings_of_the_user_cost_nothing(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    assert run(capsys, *ONE, "--out", tmp_path / "run").code == 0
    assert files_of(tmp_path / "run") == RUN_FILES
    assert os.environ["MPLBACKEND"] == "nonsense"
    monkeypatch.undo()  # draw in earnest
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    monkeypatch.setenv("PATH", "")  # there is no LaTeX
    drawing = Drawing(tmp_path)
    drawing.draw("c.png", lambda own, part: own.draw_confusion(part, np.eye(2), ("a", "b"), "C"))
    assert drawing.missing == {}
    assert matplotlib.rcParams["text.usetex"]


@pytest.mark.slow
def test_ctrl_c_twice_while_pictures_are_drawn(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "draw_confusion", raising(KeyboardInterrupt()))
    out = tmp_path / "run"
    assert failed(run(capsys, *ONE, "--out", out), 130) == (
        f"interrupted: while pictures were drawn; the weights and figures are in {out}"
    )
    assert files_of(out) == NUMBERS | UNFINISHED | {"curves.png"}


# --- weights and figures ------------------------------------------------------------------------


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json"])
def test_a_disk_that_fills_up(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The room was there when training began; whatever happens to it, there are other disks."""
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(elsewhere))
    FillsUp(monkeypatch, out, name)
    line = failed(run(capsys, *ONE, "--out", out))
    (kept,) = elsewhere.iterdir()
    assert line == (
        f"error: --out: cannot write to {str(out)!r}: No space left on device; the run is in {kept}"
    )
    assert files_of(kept) == NUMBERS - {"metrics.jsonl"}
    assert metrics_of(kept)["epochs"] == 1
    nn.models.build("small").load_state_dict(load_file(kept / "model.safetensors"))
    assert files_of(out) == UNFINISHED  # it can go on there


@pytest.mark.slow
def test_every_disk_full(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", raising(FULL))
    FillsUp(monkeypatch, tmp_path)
    line = failed(run(capsys, *ONE, "--out", tmp_path / "run"))
    assert line.startswith(f"error: --out: cannot write to {str(tmp_path / 'run')!r}: No space")
    assert line.endswith(f"or {os.getcwd()!r}: the run is lost")


@pytest.mark.slow
def test_a_full_disk_and_a_working_directory_that_is_gone(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    FillsUp(monkeypatch, tmp_path / "run")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    failed(run(capsys, *ONE, "--out", tmp_path / "run"))
    (kept,) = (tmp_path / "temporary").iterdir()
    assert files_of(kept) == NUMBERS - {"metrics.jsonl"}


def test_no_room_is_known_before_training(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_fill", raising(FULL))
    monkeypatch.setattr(nn.Trainer, "fit", raising(AssertionError("it trains")))
    for words, place in ((ONE, "run"), ((*SWEEP, "--batch-sizes", "64"), "study")):
        out = tmp_path / place
        line = failed(run(capsys, *words, "--out", out))
        assert line.startswith(f"error: --out: cannot write to '{out}")
        assert line.endswith(": No space left on device")
        assert not out.exists()


@pytest.mark.slow
def test_a_test_that_fails_leaves_the_weights(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Trainer, "evaluate", raising(RuntimeError("no")))
    out = tmp_path / "run"
    text = "error: RuntimeError('no'); the weights, not tested, are in "
    assert failed(run(capsys, *ONE, "--out", out)) == f"{text}{out}"
    assert files_of(out) == {"model.safetensors", "history.csv", *LOGS} | UNFINISHED
    line = failed(run(capsys, *ONE, "--out", out, "--overwrite"))
    assert line == f"{text}{tmp_path / 'run-untested'}"
    assert files_of(tmp_path / "run-untested") == files_of(out)
    line = failed(run(capsys, *SWEEP, "--batch-sizes", "64", "--out", tmp_path / "study"))
    assert line == f"{text}{tmp_path / 'study-untested'}"
    assert files_of(tmp_path / "study-untested") == {"model.safetensors", "history.csv", *LOGS}


# --- sweeps -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_run_of_a_sweep_is_there_at_once(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = nn.Trainer.fit

    def fit_or_fail(trainer: nn.Trainer, loader: Any, *rest: Any) -> nn.History:
        if loader.batch_size == 256:
            assert files_of(out / "batch-128") == NUMBERS
            raise RuntimeError("no")
        return fit(trainer, loader, *rest)

    monkeypatch.setattr(nn.Trainer, "fit", fit_or_fail)
    out = tmp_path / "study"
    line = failed(run(capsys, *SWEEP, "--batch-sizes", "128,256", "--out", out))
    assert line == f"error: RuntimeError('no'); the report on batch size 128 is in {out}"
    assert files_of(out / "batch-128") == SWEPT_FILES


@pytest.mark.slow
def test_a_report_that_cannot_be_written(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    words = (*SWEEP, "--batch-sizes", "128", "--out", out, "--overwrite")
    for kept in (out, tmp_path / "study-unfinished"):
        with monkeypatch.context() as patch:
            FillsUp(patch, out, "report.md")
            assert failed(run(capsys, *words)) == (
                f"error: cannot write the report to {str(out)!r}: No space left on device; "
                f"the runs are in {kept / 'batch-128'}"
            )
        assert files_of(kept / "batch-128") == NUMBERS


# --- names --------------------------------------------------------------------------------------


def test_names_that_are_no_text_are_written_and_read_back() -> None:
    assert (
        run_folder.json_bytes({"classes": ["grün"]})
        == '{\n  "classes": [\n    "grün"\n  ]\n}\n'.encode()
    )
    assert run_folder.json_bytes(["\udcff"]) == b'[\n  "\\udcff"\n]\n'
