"""What a training run shows while it runs, and how Ctrl-C reaches it."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..nn import Callback, EpochRecord, History, Step, StopTraining, Trainer
from .signals import Stop

REFRESH_SECONDS = 0.1
INTERRUPTED = "interrupted"  # History.stopped after Ctrl-C


class ProgressBar(Callback):
    """A line per epoch, and on a terminal a live bar: loss, accuracy, images per second, time left.

    On a GPU the loss and accuracy shown are those of the last epoch: reading them at every step
    would make the device wait.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=None, epoch="1", figures="starting")
        self.figures = ""
        self.shown_at = 0.0
        self.epoch_started = 0.0

    def on_fit_start(self, trainer: Trainer) -> None:
        self.epoch_started = time.perf_counter()
        self._print("epoch     loss  accuracy  val loss  val accuracy  seconds  images/s")
        if self.console.is_terminal:
            self.bar.start()

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        now = time.perf_counter()
        if not self.console.is_terminal or now - self.shown_at < REFRESH_SECONDS:
            return
        self.shown_at = now
        if step.meter.on_cpu:
            loss, accuracy, *_ = step.meter.read()
            self.figures = _figures(loss, accuracy)
        rate = sum(step.meter.counts) / (now - self.epoch_started)
        self.bar.update(
            self.task,
            total=step.epochs * step.count,
            completed=(step.epoch - 1) * step.count + step.index,
            epoch=f"{step.epoch}/{step.epochs}",
            figures=f"{self.figures}{rate:,.0f} images/s",
        )

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        self.figures = _figures(record.train_loss, record.train_accuracy)
        validation = " " * 24
        if record.val_loss is not None and record.val_accuracy is not None:
            validation = f"{record.val_loss:10.4f}{record.val_accuracy:14.2%}"
        self._print(
            f"{record.epoch:5d}{record.train_loss:9.4f}{record.train_accuracy:10.2%}"
            f"{validation}{record.seconds:9.1f}{record.images_per_second:10,.0f}"
        )
        self.epoch_started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


class CtrlC(Callback, Stop):
    """``with CtrlC() as ctrl_c``: the first Ctrl-C is noted, the second one drops everything.

    As a callback it ends training after the step under way; what comes after training, which takes
    seconds, is finished. `asked` says whether Ctrl-C came, or SIGTERM or SIGHUP: the number.
    """

    def __init__(self) -> None:
        super().__init__(patient=True)

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        if self.asked:
            raise StopTraining(INTERRUPTED)

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        if self.asked:
            raise StopTraining(INTERRUPTED)


def _figures(loss: float, accuracy: float) -> str:
    return f"loss {loss:.4f}  accuracy {accuracy:6.2%}  "
