"""What a training run leaves of every step: `metrics.jsonl`, and a log that TensorBoard shows.

Losses gather on the device. They are fetched in blocks, at the end of an epoch and every few
seconds of a long one: no step waits for them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from .callbacks import Callback
from .history import EpochRecord, History, Step
from .meter import Meter
from .trainer import Trainer

SECONDS = 10.0  # between two fetches of one epoch


class Recorder(Callback):
    """Base: calls `write_step` for every step, later and in order, and `write_epoch`.

    A figure that does not exist is left out; one that is not finite is NaN or infinite. `close` is
    called at the end, also where an error ended the run.

    >>> class Losses(nn.Recorder):
    ...     def write_step(self, step, epoch, figures):
    ...         losses.append(figures["loss"])
    >>> losses, model = [], nn.Linear(2, 3)
    >>> trainer = nn.Trainer(model, nn.optim.Adam(model.parameters()), callbacks=[Losses()])
    >>> history = trainer.fit(datasets.DataLoader(datasets.spiral(60), 20), epochs=2)
    >>> len(losses)
    6
    """

    only_first = True

    def __init__(self, seconds: float = SECONDS) -> None:
        if not seconds >= 0:
            raise ValueError(
                f"[{type(self).__name__}] expected seconds of at least 0, got {seconds}"
            )
        self.seconds = seconds
        self._meter: Meter | None = None
        self._pending: list[tuple[int, int, float]] = []  # (step, epoch, rate), not fetched
        self._fetched_at = 0.0
        self.last_step = 0  # of those before, the last that was written: `open` may know better

    def write_step(self, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Figures of a step: loss, accuracy of classes, learning_rate. Steps count from 1."""

    def write_epoch(self, step: int, record: EpochRecord) -> None:
        """The figures of an epoch, whose last step was `step`."""

    def open(self, trainer: Trainer) -> None:
        """Before the first step. `trainer.steps_taken` of an earlier run are behind."""

    def close(self) -> None:
        """After the last one."""

    def flush(self) -> None:
        """After each block."""

    def on_fit_start(self, trainer: Trainer) -> None:
        self._meter, self._pending, self._fetched_at = None, [], time.monotonic()
        self.last_step = trainer.steps_taken
        self.open(trainer)

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        if step.meter is not self._meter:
            self._fetch()
            self._meter = step.meter
            self._go_on(trainer, step)
        self._pending.append((trainer.steps_taken, step.epoch, float(trainer.optimizer.lr)))
        if time.monotonic() - self._fetched_at >= self.seconds:
            self._fetch()

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        self._fetch()
        self.write_epoch(trainer.steps_taken, record)
        self.flush()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        # What ended the run may be the device: then its own error is the one to see.
        failing = sys.exc_info()[0] is not None
        with contextlib.suppress(*[Exception] if failing else []):
            self._fetch()
        self.close()

    def _go_on(self, trainer: Trainer, step: Step) -> None:
        """Of an epoch that a checkpoint cut in two, take the steps that were not written before."""
        first = trainer.steps_taken - len(step.meter.counts) + 1
        for missing in range(max(first, self.last_step + 1), trainer.steps_taken):
            schedule = trainer.schedule
            rate = trainer.optimizer.lr if schedule is None else schedule(missing - 1)
            self._pending.append((missing, step.epoch, float(rate)))

    def _fetch(self) -> None:
        """Write all that was not; one host read."""
        pending, self._pending = self._pending, []
        self._fetched_at = time.monotonic()
        if self._meter is None or not pending:
            return
        rows = self._meter.rows(len(pending))
        for (step, epoch, rate), (loss, right, counted) in zip(pending, rows, strict=True):
            figures = {"loss": loss}
            if counted > 0:
                figures["accuracy"] = right / counted
            self.write_step(step, epoch, figures | {"learning_rate": rate})
        self.flush()


class MetricsWriter(Recorder):
    """A line of JSON per step and per epoch, in the file `path`.

    A step has step (from 1, over all epochs), epoch, loss, learning_rate, and of classes accuracy;
    an epoch step, epoch and the figures of its `EpochRecord`, train_loss and so on. A figure that
    is not finite is null. Lines are written in blocks, at an epoch's end and every `seconds` of it.

    The file is new, unless the trainer has taken steps before (a second `fit`, or a run that is
    resumed): then lines of later steps than that are removed, and it goes on behind the others.

    >>> import json, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.jsonl"
    >>> model = nn.Linear(2, 3)
    >>> adam = nn.optim.Adam(model.parameters())
    >>> trainer = nn.Trainer(model, adam, callbacks=[nn.MetricsWriter(path)])
    >>> history = trainer.fit(datasets.DataLoader(datasets.spiral(60), 20), epochs=1)
    >>> sorted(json.loads(path.read_text().splitlines()[0]))
    ['accuracy', 'epoch', 'learning_rate', 'loss', 'step']
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float = SECONDS) -> None:
        super().__init__(seconds)
        self.path = Path(path)
        self._file: TextIO | None = None

    def open(self, trainer: Trainer) -> None:
        kept = list(self._lines_to(trainer.steps_taken)) if trainer.steps_taken else []
        self.last_step = max((json.loads(line)["step"] for line in kept), default=0)
        # Written anew and renamed, so that a process that is killed here takes nothing away.
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_text("".join(kept), encoding="utf-8", newline="\n")
        os.replace(part, self.path)
        self._file = self.path.open("a", encoding="utf-8", newline="\n")

    def write_step(self, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        self._write({"step": step, "epoch": epoch, **figures})

    def write_epoch(self, step: int, record: EpochRecord) -> None:
        self._write({"step": step, **record.figures()})

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _write(self, figures: Mapping[str, Any]) -> None:
        if self._file is not None:
            line = json.dumps({name: _finite(value) for name, value in figures.items()})
            self._file.write(f"{line}\n")

    def _lines_to(self, step: int) -> Iterable[str]:
        """Those of the file that are of steps to this one; a line cut short is none."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if json.loads(line)["step"] <= step and line.endswith("\n"):
                        yield line


class TensorBoard(Recorder):
    """The same figures as events in `folder`, for ``tensorboard --logdir FOLDER``.

    Tags: step/loss, step/accuracy, step/learning_rate; train/loss, val/accuracy and so on of
    epochs. Written by tensorboardX, the extra `tensorboard` of this package; ImportError, naming
    it, where it is missing.

    >>> log = nn.TensorBoard("logs/first")  # doctest: +SKIP
    >>> trainer = nn.Trainer(model, adam, callbacks=[log])  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str], seconds: float = SECONDS) -> None:
        super().__init__(seconds)
        self.folder = Path(folder)
        try:
            self._library = importlib.import_module("tensorboardX")
        except ImportError as error:
            raise ImportError(
                "[TensorBoard] needs tensorboardX: pip install 'tinygrad-cupy[tensorboard]'"
            ) from error
        self._writer: Any = None

    def open(self, trainer: Trainer) -> None:
        self._writer = self._library.SummaryWriter(
            logdir=str(self.folder), purge_step=trainer.steps_taken + 1
        )

    def write_step(self, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"step/{name}", value, step)

    def write_epoch(self, step: int, record: EpochRecord) -> None:
        for name, value in record.figures().items():
            part, _, figure = name.partition("_")
            if part in ("train", "val") and value is not None and not math.isnan(value):
                self._writer.add_scalar(f"{part}/{figure}", value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
