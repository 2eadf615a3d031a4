"""What a training run shows while it runs: a line for each epoch, and a bar below."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .callbacks import Callback
from .history import EpochRecord, History, Step

if TYPE_CHECKING:
    from rich.console import Console

    from .trainer import Trainer

REFRESH_SECONDS = 0.1
NOTEBOOK_SECONDS = 0.5  # each is a message to the browser
BAR = 20  # letters of a notebook's
HEADER = "epoch     loss  accuracy  val loss  val accuracy  seconds  images/s"


class ProgressBar(Callback):
    """A line per epoch, and on a terminal a live bar: loss, accuracy, images per second, time left.

    console: rich's, default one of standard output; in a notebook the bar is drawn with letters.
    On a GPU the loss and accuracy shown are those of the last epoch: reading them at every step
    would make the device wait.
    """

    only_first = True

    def __init__(self, console: Console | None = None) -> None:
        self.notebook = console is None and in_notebook()
        self.console: Any = console
        self.bar: Any = None
        self.task: Any = None
        self.figures = ""
        self.shown_at = 0.0
        self.epoch_started = 0.0
        self._drawn = 0  # letters of a notebook's bar that stand on its line

    def on_fit_start(self, trainer: Trainer) -> None:
        self.epoch_started = time.perf_counter()
        self._begin()
        names = [name for name, _ in trainer.metrics.named]
        self._print(HEADER + "".join(f"  {name:>10}  {'val ' + name:>14}" for name in names))
        if self._live:
            self.bar.start()

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        now = time.perf_counter()
        wait = NOTEBOOK_SECONDS if self.notebook else REFRESH_SECONDS
        if not (self._live or self.notebook) or now - self.shown_at < wait:
            return
        self.shown_at = now
        if step.meter.on_cpu:
            loss, accuracy, *_ = step.meter.read()
            self.figures = _figures(loss, accuracy)
        rate = sum(step.meter.counts) / (now - self.epoch_started)
        figures = f"{self.figures}{rate:,.0f} images/s"
        if self.notebook:
            full = BAR * step.index // step.count
            bar = f"{'█' * full}{'·' * (BAR - full)}"
            self._draw(f"epoch {step.epoch}/{step.epochs} {bar} {figures}")
            return
        self.bar.update(
            self.task,
            total=step.epochs * step.count,
            completed=(step.epoch - 1) * step.count + step.index,
            epoch=f"{step.epoch}/{step.epochs}",
            figures=figures,
        )

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        self.figures = _figures(record.train_loss, record.train_accuracy)
        validation = " " * 24
        if record.val_loss is not None and record.val_accuracy is not None:
            validation = f"{record.val_loss:10.4f}{_share(record.val_accuracy):>14}"
        metrics = "".join(
            f"  {_number(record.metrics.get(f'train_{name}')):>10}"
            f"  {_number(record.metrics.get(f'val_{name}')):>14}"
            for name, _ in trainer.metrics.named
        )
        self._print(
            f"{record.epoch:5d}{record.train_loss:9.4f}{_share(record.train_accuracy):>10}"
            f"{validation}{record.seconds:9.1f}{record.images_per_second:10,.0f}{metrics}"
        )
        self.epoch_started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        if self._live:
            self.bar.stop()
        self._draw("")

    @property
    def _live(self) -> bool:
        return self.bar is not None and self.console.is_terminal

    def _begin(self) -> None:
        """Make the bar; rich is loaded no sooner than there is something to show."""
        if self.notebook or self.bar is not None:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = self.console or Console()
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=None, epoch="1", figures="starting")

    def _print(self, line: str) -> None:
        if self.notebook:
            self._draw("")
            print(line, flush=True)
        else:
            self.console.print(line, highlight=False, soft_wrap=True)

    def _draw(self, text: str) -> None:
        """Write over a notebook's bar."""
        if self.notebook and (text or self._drawn):
            print(f"\r{text:<{self._drawn}}", end="" if text else "\r", flush=True)
            self._drawn = len(text)


def shows_progress(asked: bool | None, callbacks: Iterable[object]) -> bool:
    """Whether a `Trainer` is to add a `ProgressBar` to its callbacks."""
    if asked is False or any(isinstance(one, ProgressBar) for one in callbacks):
        return False
    return bool(asked) or in_notebook() or _is_terminal()


def in_notebook() -> bool:
    """Whether this runs in a kernel of Jupyter, whose output is no terminal but is looked at."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _is_terminal() -> bool:
    try:
        return sys.stdout is not None and sys.stdout.isatty()
    except (OSError, ValueError):  # it is closed
        return False


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _figures(loss: float, accuracy: float) -> str:
    shown = "" if math.isnan(accuracy) else f"accuracy {accuracy:6.2%}  "
    return f"loss {loss:.4f}  {shown}"
