"""What is said of a training run: of a step, of an epoch, of the whole and why it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from .meter import Meter


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


class StopTraining(Exception):
    """Raise it in `Callback.on_step_end` or `on_epoch_end` to end the run cleanly.

    The argument becomes `History.stopped`. Raised in the middle of an epoch, the weights go back
    to those of the last finished epoch; where none has finished they stay as they are.
    """


@dataclass(frozen=True)
class EpochRecord:
    """The figures of one finished epoch.

    `train_loss` and `train_accuracy` are means over the epoch's images as they were met in
    training (dropout on, weights moving); the validation figures come from the weights at the
    epoch's end and are None without a validation set. `seconds` is the training part alone.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass
class History:
    """The records of a `Trainer.fit`, in order, and how it ended.

    `stopped` is "finished" (all epochs ran), "early" (patience ran out), "diverged" (a loss that
    is not a number), or the reason that a callback gave. `kept_epoch` is the epoch whose weights
    the model holds now; 0 means that no epoch had finished. `seconds` is the whole wall time,
    validation included.
    """

    records: list[EpochRecord] = field(default_factory=list)
    stopped: str = "finished"
    kept_epoch: int = 0
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self.records)

    def __getitem__(self, index: int) -> EpochRecord:
        return self.records[index]

    def column(self, name: str) -> list[float | None]:
        """One figure over the epochs, e.g. ``history.column("val_loss")``."""
        return [getattr(record, name) for record in self.records]

    @staticmethod
    def columns() -> tuple[str, ...]:
        """The names of an epoch's figures, in order."""
        return tuple(column.name for column in dataclasses.fields(EpochRecord))
