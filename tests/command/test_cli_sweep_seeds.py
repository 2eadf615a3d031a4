"""`tinygrad-cupy sweep --seeds`: every batch size from several seeds, means and error bars."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.command_runs import failed, files_of, metrics_of, run, skip_drawing
from support.made_up_runs import made_up
from tinygrad_cupy.command import pictures, report
from tinygrad_cupy.command.by_size import by_size, spread
from tinygrad_cupy.command.experiment import Run

Capture = pytest.CaptureFixture[str]


def runs_of(batch_size: int, rights: list[int], seconds: float = 1.0) -> list[Run]:
    return [
        replace(one, settings=replace(one.settings, seed=seed, among_seeds=True))
        for seed, one in enumerate(made_up(batch_size, right, seconds, 10) for right in rights)
    ]


def test_means_and_their_spread() -> None:
    runs = [*runs_of(64, [970, 950, 960]), *runs_of(32, [990, 980, 985])]
    small, large = by_size(runs)
    assert (small.batch_size, large.batch_size) == (32, 64)
    assert small.accuracy == pytest.approx(0.985)
    assert spread(small.accuracies) == pytest.approx(0.005)
    assert small.standard_error == pytest.approx(0.005 / np.sqrt(3))
    assert spread([0.3]) == 0


def test_the_report_has_means_and_says_what_the_seeds_tell() -> None:
    runs = [*runs_of(32, [990, 980, 985]), *runs_of(64, [970, 950, 960], seconds=2.0)]
    text = report.report(runs)
    assert "Each batch size was trained from 3 seeds, 0, 1 and 2" in text
    assert "| 98.50 ± 0.50% |" in text
    assert "--seed 0 --seeds 3`" in text
    assert "(batch-32-seed-2/curves.png)" in text
    accuracy = report.findings(runs)[0]
    assert "32 is the most accurate with 98.50%, 64 the least with 96.00%" in accuracy
    assert (
        "2.50 points is more than twice the standard error of such a difference (0.65" in accuracy
    )
    close = [*runs_of(32, [990, 980, 985]), *runs_of(64, [989, 979, 984])]
    assert "these seeds do not tell these batch sizes apart" in report.findings(close)[0]


def test_the_picture_has_error_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path: drawn.append(figure))
    for values in ([[1.0, 3.0], [2.0, 4.0]], [[1.0], [2.0]]):
        pictures.draw_by_batch_size(tmp_path / "x.png", [32, 64], {"time": values}, "Title")
    with_bars, without = (figure.axes[0].containers[0] for figure in drawn)
    (bars,) = with_bars.lines[2]
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [2 - 2**0.5, 2 + 2**0.5])
    assert without.lines[2] == ()


@pytest.mark.slow
def test_a_sweep_over_seeds(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_drawing(monkeypatch)
    out = tmp_path / "study"
    words = (
        "sweep", "--dataset", "digits", "--device", "cpu", "--epochs", "1", "--quiet", "--seed",
        "3", "--seeds", "2", "--batch-sizes", "128,256", "--out", out,
    )  # fmt: skip
    assert run(capsys, *words).code == 0
    folders = {f"batch-{size}-seed-{seed}" for size in (128, 256) for seed in (3, 4)}
    assert {name for name in files_of(out) if name.startswith("batch-")} == folders
    assert metrics_of(out / "batch-128-seed-4")["seed"] == 4
    with (out / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["batch_size"], row["seed"]) for row in rows] == [
        ("128", "3"), ("128", "4"), ("256", "3"), ("256", "4"),
    ]  # fmt: skip
    links = re.findall(r"\]\(([^)]+)\)", (out / "report.md").read_text(encoding="utf-8"))
    assert all((out / link).exists() for link in links)
    # A run by itself, from its settings, is the same run: the seed divides the data as well.
    settings = out / "batch-256-seed-4" / "settings.toml"
    again = tmp_path / "again"
    assert run(capsys, "train", "--config", settings, "--quiet", "--out", again).code == 0
    name = "model.safetensors"
    assert (again / name).read_bytes() == (settings.parent / name).read_bytes()
    (out / "batch-128-seed-3" / "notes.txt").write_text("mine")
    assert "(batch-128-seed-3/notes.txt)" in failed(run(capsys, *words, "--overwrite"))
