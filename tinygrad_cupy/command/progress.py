"""What a training run shows while it runs, and how Ctrl-C reaches it."""

from __future__ import annotations

import sys
from contextlib import suppress

from ..nn import Callback, EpochRecord, History, Step, StopTraining, Trainer
from ..nn.progress import ProgressBar as ProgressBar
from .signals import WORDS, Stop


class CtrlC(Callback, Stop):
    """``with CtrlC() as ctrl_c``: the first Ctrl-C is noted, the second one raises at once.

    As a callback it ends training after the step under way; what comes after training, which takes
    seconds, is finished. That is said on standard error when the first one comes. `asked` says
    whether Ctrl-C came, or SIGTERM or SIGHUP: the number. `dropped` is what a second one ends, in
    words, where that is not a test.
    """

    def __init__(self, dropped: str = "", silent: bool = False) -> None:
        super().__init__(patient=True)
        self.silent = silent
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
        if sys.stderr is not None and not self.silent:
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
