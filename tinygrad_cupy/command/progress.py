"""What a training run shows while it runs, and how Ctrl-C reaches it."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..nn import Callback, EpochRecord, History, Step, StopTraining, Trainer
from .signals import WORDS, Stop

REFRESH_SECONDS = 0.1


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
        for record in trainer.history:  # of a run that goes on
            self._print_record(record)
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
        self._print_record(record)
        self.epoch_started = time.perf_counter()

    def _print_record(self, record: EpochRecord) -> None:
        validation = " " * 24
        if record.val_loss is not None and record.val_accuracy is not None:
            validation = f"{record.val_loss:10.4f}{record.val_accuracy:14.2%}"
        self._print(
            f"{record.epoch:5d}{record.train_loss:9.4f}{record.train_accuracy:10.2%}"
            f"{validation}{record.seconds:9.1f}{record.images_per_second:10,.0f}"
        )

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


class CtrlC(Callback, Stop):
    """``with CtrlC() as ctrl_c``: the first Ctrl-C is noted, the second one raises at once.

    As a callback it ends training after the step under way; what comes after training, which takes
    seconds, is finished. That is said on standard error when the first one comes. `asked` says
    whether Ctrl-C came, or SIGTERM or SIGHUP: the number. `dropped` is what a second one ends, in
    words, where that is not a test.
    """

    def __init__(self, dropped: str = "") -> None:
        super().__init__(patient=True)
        self.dropped = dropped
        self.stage = "training"
        self.kept_epoch = 0

    def noted(self) -> None:
        """Say what happens now."""
        kept = f"the weights of epoch {self.kept_epoch}" if self.kept_epoch else "the weights"
        if self.dropped:
            text = f"stopping after this step; Ctrl-C again to drop {self.dropped}"
        elif self.stage == "training":
            text = f"stopping after this step, then testing {kept}; Ctrl-C again to skip"
        elif self.stage == "testing":
            text = f"testing {kept}; Ctrl-C again to skip"
        else:
            text = f"{self.stage}; Ctrl-C again to skip"
        if sys.stderr is not None:
            begin = "\n" if sys.stderr.isatty() else ""  # behind the bar
            with suppress(RuntimeError):  # in the middle of printing something else
                print(f"{begin}{text}", file=sys.stderr, flush=True)

    def on_fit_start(self, trainer: Trainer) -> None:
        self.stage, self.kept_epoch = "training", trainer.history.kept_epoch

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        self._stop_if_asked()

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        self.kept_epoch = trainer.history.kept_epoch
        self._stop_if_asked()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        self.stage, self.kept_epoch = "testing", history.kept_epoch

    def _stop_if_asked(self) -> None:
        if self.asked:
            raise StopTraining(WORDS[self.asked])


def _figures(loss: float, accuracy: float) -> str:
    return f"loss {loss:.4f}  accuracy {accuracy:6.2%}  "
