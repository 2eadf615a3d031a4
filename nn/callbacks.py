"""What watches or stops a training run: a base to override."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .history import EpochRecord, History, Step
from .history import StopTraining as StopTraining  # for those who import it from here

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Override what you need; every method does nothing by default.

    Of several ranks (`tinygrad_cupy.distributed`) each calls its own, but that whose `only_first`
    is true is called on the first alone: one that shows or writes something.

    >>> class Losses(nn.Callback):
    ...     def on_epoch_end(self, trainer, record):
    ...         print(record.epoch, record.train_loss > 0)
    >>> model = nn.Linear(1, 1)
    >>> optimizer = nn.optim.SGD(model.parameters())
    >>> trainer = nn.Trainer(model, optimizer, nn.MSELoss(), callbacks=[Losses()])
    >>> history = trainer.fit(datasets.DataLoader(datasets.sine(20), 5), epochs=2)
    1 True
    2 True
    """

    only_first = False

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_step_end(self, trainer: Trainer, step: Step) -> None:
        """After an optimizer step (which on a GPU may still be running)."""

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        """After an epoch's training and validation."""

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        """At the very end, also when an error ended the run."""
