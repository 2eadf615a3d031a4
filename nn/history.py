"""What is said of a training run: of a step, of an epoch, of the whole and why it ended."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .meter import Meter

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Step:
    """One finished training step; `epoch` and `index` count from 1.

    `meter.read()` gives the epoch's loss and accuracy so far. On a GPU that waits for the device:
    read it seldom there.

    >>> class Printed(nn.Callback):
    ...     def on_step_end(self, trainer, step: nn.Step):
    ...         if step.index == step.count:
    ...             print(f"epoch {step.epoch} of {step.epochs}: {step.count} steps")
    >>> model = nn.Linear(1, 1)
    >>> optimizer = nn.optim.SGD(model.parameters())
    >>> trainer = nn.Trainer(model, optimizer, nn.MSELoss(), callbacks=[Printed()])
    >>> history = trainer.fit(datasets.DataLoader(datasets.sine(20), 5), epochs=2)
    epoch 1 of 2: 4 steps
    epoch 2 of 2: 4 steps
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

    >>> class Stop(nn.Callback):
    ...     def on_epoch_end(self, trainer, record):
    ...         if record.epoch == 2:
    ...             raise nn.StopTraining("it is good enough")
    >>> model = nn.Linear(1, 1)
    >>> optimizer = nn.optim.SGD(model.parameters())
    >>> trainer = nn.Trainer(model, optimizer, nn.MSELoss(), callbacks=[Stop()])
    >>> history = trainer.fit(datasets.DataLoader(datasets.sine(20), 5), epochs=9)
    >>> len(history), history.stopped
    (2, 'it is good enough')
    """


@dataclass(frozen=True)
class EpochRecord:
    """The figures of one finished epoch.

    `train_loss` and `train_accuracy` are means over the epoch's images as they were met in
    training (dropout on, weights moving); the validation figures come from the weights at the
    epoch's end and are None without a validation set. `seconds` is the training part alone.
    `metrics` has what `Trainer(metrics=...)` asked for, as "train_NAME" and "val_NAME".

    >>> record = nn.EpochRecord(1, 0.7, 0.5, 0.6, 0.75, 1e-3, 2.0, 500.0)
    >>> record.val_accuracy, record.learning_rate
    (0.75, 0.001)
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """All figures by their names, those of `metrics` among them."""
        return {name: getattr(self, name) for name in History.columns()} | dict(self.metrics)


@dataclass
class History:
    """The records of a `Trainer.fit`, in order, and how it ended.

    `stopped` is "finished" (all epochs ran), "early" (patience ran out), "diverged" (a loss that
    is not a number), "interrupted" (Ctrl-C), "failed: NAME" of another exception, or the reason
    that a callback gave; of the command also "terminated" and "hung up". `kept_epoch` is the epoch
    whose weights the model holds now; 0 means that no epoch had finished. `seconds` is the whole
    wall time, validation included.

    >>> model = nn.Linear(1, 1)
    >>> trainer = nn.Trainer(model, nn.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    >>> history = trainer.fit(datasets.DataLoader(datasets.sine(20), 5), epochs=3)
    >>> len(history), history.stopped, history.kept_epoch
    (3, 'finished', 3)
    >>> losses = history.column("train_loss")
    >>> losses[-1] < losses[0]
    True
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
        """One figure over the epochs, e.g. ``history.column("val_loss")``; a metric's too.

        None at epochs that have none. AttributeError for a name that no epoch knows.
        """
        if any(name in record.metrics for record in self.records):
            return [record.metrics.get(name) for record in self.records]
        return [getattr(record, name) for record in self.records]

    @staticmethod
    def columns() -> tuple[str, ...]:
        """The names of an epoch's figures, in order; those of its metrics apart."""
        names = (column.name for column in dataclasses.fields(EpochRecord))
        return tuple(name for name in names if name != "metrics")

    def measured(self) -> list[str]:
        """ "loss", of classes "accuracy", and the names of the metrics."""
        names = ["loss"]
        if not self.records or not all(math.isnan(one.train_accuracy) for one in self.records):
            names.append("accuracy")
        metrics = (name for record in self.records for name in record.metrics)
        return list(dict.fromkeys([*names, *(name.partition("_")[2] for name in metrics)]))

    def plot(self, path: str | os.PathLike[str] | None = None) -> list[Axes]:
        """Draw the loss, the accuracy of classes and every metric over the epochs.

        Returns Matplotlib's axes, a panel for each. ``matplotlib.pyplot.show()`` shows the figure,
        a notebook does so by itself; with a `path` it is saved there instead, in the format of the
        path's ending.
        """
        from . import plots

        pyplot: Any = importlib.import_module("matplotlib.pyplot")
        count = len(self.measured())
        columns = min(count, plots.PANELS)
        size = (4.8 * columns, 3.6 * -(-count // columns))
        figure = pyplot.figure(figsize=size, layout="constrained")
        axes = plots.draw_history(figure, self)
        if path is not None:
            figure.savefig(path, dpi=120)
            pyplot.close(figure)
        return axes

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, a row for each epoch, which is its index; metrics have columns too.

        ImportError where pandas, which this package does not ask for, is missing.
        """
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("[History] to_pandas needs pandas: pip install pandas") from error
        rows = [record.figures() for record in self.records]
        columns = list(dict.fromkeys([*self.columns(), *(name for row in rows for name in row)]))
        return pandas.DataFrame(rows, columns=columns).set_index("epoch")
