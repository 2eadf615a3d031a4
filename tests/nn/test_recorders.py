"""What a run leaves of each step, the curves of its history, and the bar that it shows."""

from __future__ import annotations

import builtins
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import Tensor, manual_seed, nn
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn.meter import Meter
from tinygrad_cupy.nn.progress import ProgressBar, in_notebook, shows_progress

RNG = np.random.default_rng(0)


class Batches:
    """(x, y) of classes, in batches of 8."""

    def __init__(self, count: int = 3) -> None:
        self.batches = [
            (RNG.standard_normal((8, 4)).astype(np.float32), RNG.integers(0, 3, 8))
            for _ in range(count)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((Tensor(x), Tensor(y)) for x, y in self.batches)


def trainer(*callbacks: Any, lr: float = 0.1, **options: Any) -> nn.Trainer:
    model = nn.Linear(4, 3)
    optimizer = nn.optim.SGD(model.parameters(), lr=lr)
    return nn.Trainer(model, optimizer, callbacks=callbacks, **options)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_line_for_each_step_and_epoch(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "metrics.jsonl"
    schedule = nn.schedules.Exponential(0.1, 0.9)
    own = trainer(nn.MetricsWriter(path, seconds), schedule=schedule)
    history = own.fit(Batches(), Batches(1), epochs=2)
    lines = lines_of(path)
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert [line["epoch"] for line in steps] == [1, 1, 1, 2, 2, 2]
    assert [line["learning_rate"] for line in steps] == [schedule(n) for n in range(6)]
    assert np.mean([line["loss"] for line in steps[:3]]) == pytest.approx(history[0].train_loss)
    assert np.mean([line["accuracy"] for line in steps[3:]]) == history[1].train_accuracy
    epoch = lines[-1]
    assert epoch["val_loss"] == history[1].val_loss
    assert epoch["train_accuracy"] == history[1].train_accuracy


def test_steps_are_fetched_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    rows = Meter.rows

    def counted(meter: Any, count: int) -> np.ndarray:
        reads.append(count)
        return rows(meter, count)

    monkeypatch.setattr(Meter, "rows", counted)
    trainer(nn.MetricsWriter(tmp_path / "m.jsonl", seconds=1e9)).fit(Batches(), epochs=2)
    assert reads == [3, 3]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with np.errstate(all="ignore"), pytest.raises(nn.DivergedError):
        trainer(nn.MetricsWriter(path), lr=1e38).fit(Batches(), epochs=2)
    assert lines_of(path)[-1]["loss"] is None
    assert "NaN" not in path.read_text(encoding="utf-8")


def test_a_second_fit_goes_on_and_a_resumed_one_drops_what_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    own = trainer(nn.MetricsWriter(path))
    own.fit(Batches(), epochs=1)
    own.fit(Batches(), epochs=1)
    assert [line["step"] for line in lines_of(path)] == [1, 2, 3, 3, 4, 5, 6, 6]
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 7, "ep')  # the process was killed
    own.steps_taken = 4
    own.fit(Batches(1), epochs=1)
    assert [line["step"] for line in lines_of(path)] == [1, 2, 3, 3, 4, 5, 5]
    trainer(nn.MetricsWriter(path)).fit(Batches(1), epochs=1)
    assert [line["step"] for line in lines_of(path)] == [1, 1]


def test_steps_that_a_killed_process_had_not_written_come_from_the_checkpoint(
    tmp_path: Path,
) -> None:
    class Killed(nn.Callback):
        def on_step_end(self, trainer: nn.Trainer, step: nn.Step) -> None:
            if trainer.steps_taken == 9:
                raise SystemExit

    data = ArrayDataset(
        RNG.standard_normal((48, 4)).astype(np.float32), RNG.integers(0, 3, 48), ("a", "b", "c")
    )
    path, lines = tmp_path / "m.jsonl", []
    schedule = nn.schedules.Exponential(0.1, 0.9)
    for name, killed in (("whole", None), ("cut", Killed()), ("cut", None)):
        manual_seed(0)
        checkpoints = nn.Checkpoints(tmp_path / name, minutes=0, share=1, tell=lambda text: None)
        callbacks = [nn.MetricsWriter(path), *([killed] if killed else [])]
        own = trainer(*callbacks, schedule=schedule, checkpoint=checkpoints)
        loader = DataLoader(data, 8, shuffle=True)
        if killed:
            with pytest.raises(SystemExit):
                own.resume(loader, epochs=2)
            path.write_text("".join(path.read_text().splitlines(True)[:7]))  # six steps, an epoch
        else:
            own.resume(loader, epochs=2)
            steps = [line for line in lines_of(path) if "loss" in line]
            lines.append(steps)
    assert [line["step"] for line in lines[1]] == list(range(1, 13))
    assert lines[1] == lines[0]


# --- TensorBoard --------------------------------------------------------------------------------


def test_tensorboard_is_given_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SummaryWriter:
        def __init__(self, logdir: str, purge_step: int) -> None:
            written.append(("open", logdir, purge_step))

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            written.append((tag, value, step))

        def flush(self) -> None: ...

        def close(self) -> None:
            written.append(("close", "", 0))

    written: list[tuple[str, Any, int]] = []
    library = types.ModuleType("tensorboardX")
    library.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", library)
    history = trainer(nn.TensorBoard(tmp_path / "log")).fit(Batches(), Batches(1), epochs=1)
    assert written[0] == ("open", str(tmp_path / "log"), 1)
    assert [step for tag, _, step in written if tag == "step/loss"] == [1, 2, 3]
    assert ("train/loss", history[0].train_loss, 3) in written
    assert ("val/accuracy", history[0].val_accuracy, 3) in written
    assert written[-1][0] == "close"


def test_a_log_that_tensorboard_reads(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    trainer(nn.TensorBoard(tmp_path)).fit(Batches(), Batches(1), epochs=1)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert path.name.startswith("events.out.tfevents.")
    assert content.count(b"step/loss") == 3
    assert b"val/accuracy" in content


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"\[TensorBoard\] needs tensorboardX: pip install"):
        nn.TensorBoard(tmp_path)


# --- the history --------------------------------------------------------------------------------


def test_a_history_is_drawn(tmp_path: Path) -> None:
    history = trainer(metrics={"top2": nn.metrics.TopKAccuracy(2)}).fit(
        Batches(), Batches(1), epochs=2
    )
    axes = history.plot(tmp_path / "curves.png")
    assert [one.get_ylabel() for one in axes] == ["loss", "accuracy (%)", "top2"]
    assert [len(one.lines) for one in axes] == [2, 2, 2]
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert nn.History().plot(tmp_path / "none.svg")


def test_a_history_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frame:
        def __init__(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
            self.rows, self.columns = rows, columns

        def set_index(self, name: str) -> Frame:
            self.index = name
            return self

    history = trainer(metrics={"top2": nn.metrics.TopKAccuracy(2)}).fit(Batches(), epochs=2)
    pandas = types.ModuleType("pandas")
    pandas.DataFrame = Frame  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pandas", pandas)
        table = history.to_pandas()
    assert table.index == "epoch"
    assert table.columns == [*nn.History.columns(), "train_top2"]
    assert [row["train_loss"] for row in table.rows] == history.column("train_loss")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"\[History\] to_pandas needs pandas: pip install"):
        history.to_pandas()


# --- the bar ------------------------------------------------------------------------------------


def test_where_progress_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not shows_progress(None, [])  # no terminal
    assert shows_progress(True, [])
    assert not shows_progress(True, [ProgressBar()])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert shows_progress(None, [])
    assert not shows_progress(False, [])
    monkeypatch.setattr(sys, "stdout", None)
    assert not shows_progress(None, [])


def test_a_trainer_shows_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    own = trainer(progress=True, metrics={"top2": nn.metrics.TopKAccuracy(2)})
    own.fit(Batches(), Batches(1), epochs=2)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["epoch", "loss", "accuracy"]
    assert header.endswith("val top2")
    assert (first.split()[0], second.split()[0]) == ("1", "2")
    trainer().fit(Batches(), epochs=1)
    assert capsys.readouterr().out == ""


def test_a_notebook_has_a_bar_of_letters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr("tinygrad_cupy.nn.progress.NOTEBOOK_SECONDS", 0.0)
    assert in_notebook()
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    trainer().fit(Batches(2), epochs=1)
    out = capsys.readouterr().out
    assert "\repoch 1/1 ██████████·········· loss" in out
    assert out.splitlines()[-1].split()[0] == "1"
