"""What watches or stops a training run: a base to override."""

from __future__ import annotations

from .history import EpochRecord, History, Step
from .history import StopTraining as StopTraining  # for those who import it from here
from .trainer import Trainer


class Callback:
    """Override what you need; every method does nothing by default."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        """After an optimizer step (which on a GPU may still be running)."""

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        """After an epoch's training and validation."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """At the very end, also when an error ended the run."""
