"""The one interface through which anything watches or stops a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .history import EpochRecord, History
from .meter import Meter

if TYPE_CHECKING:
    from .trainer import Trainer


class StopTraining(Exception):
    """Raise it in `Callback.on_step_end` or `on_epoch_end` to end the run cleanly.

    The argument becomes `History.stopped`. Raised in the middle of an epoch, the weights go back
    to those of the last finished epoch; where none has finished they stay as they are.
    """


@dataclass(frozen=True, slots=True)
class Step:
    """One finished training step; `epoch` and `index` count from 1.

    `meter.read()` gives the epoch's loss and accuracy so far. On a GPU that waits for the device:
    read it seldom there.
    """

    epoch: int
    epochs: int
    index: int
    count: int  # steps in the epoch
    meter: Meter


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
