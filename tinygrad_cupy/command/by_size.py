"""The runs of a sweep by their batch size: means over the seeds, and how far these scatter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .experiment import Run


@dataclass(frozen=True)
class BySize:
    """The runs of one batch size, one for each seed."""

    runs: tuple[Run, ...]

    @property
    def batch_size(self) -> int:
        """Images per training step."""
        return self.runs[0].settings.batch_size

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy of each seed."""
        return [run.test.accuracy for run in self.runs]

    @property
    def accuracy(self) -> float:
        """The mean test accuracy."""
        return float(np.mean(self.accuracies))

    @property
    def loss(self) -> float:
        """The mean test loss."""
        return float(np.mean([run.test.loss for run in self.runs]))

    @property
    def seconds_per_epoch(self) -> float | None:
        """The mean over the seeds."""
        return self.mean(lambda run: run.seconds_per_epoch)

    @property
    def images_per_second(self) -> float | None:
        """The mean over the seeds."""
        return self.mean(lambda run: run.metrics["images_per_second"])

    @property
    def seconds(self) -> float:
        """The mean training time."""
        return float(np.mean([run.history.seconds for run in self.runs]))

    @property
    def epochs(self) -> float:
        """The mean number of epochs."""
        return float(np.mean([len(run.history) for run in self.runs]))

    @property
    def kept_epoch(self) -> float:
        """The mean number of the epoch whose weights were kept."""
        return float(np.mean([run.history.kept_epoch for run in self.runs]))

    @property
    def standard_error(self) -> float:
        """Of the accuracy: between K seeds s / √K; of a single run √(p (1 - p) / n), n images."""
        if len(self.runs) > 1:
            return spread(self.accuracies) / math.sqrt(len(self.runs))
        p, n = self.accuracy, len(self.runs[0].data.test)
        return math.sqrt(p * (1 - p) / n)

    def mean(self, figure: Callable[[Run], float | None]) -> float | None:
        """The mean of a figure over the seeds that have it; None where none has."""
        known = self.known(figure)
        return float(np.mean(known)) if known else None

    def known(self, figure: Callable[[Run], float | None]) -> list[float]:
        """A figure of each seed that has it."""
        return [value for run in self.runs if (value := figure(run)) is not None]


def by_size(runs: Sequence[Run]) -> list[BySize]:
    """The runs by batch size, ascending, the seeds of each ascending."""
    ordered = sorted(runs, key=lambda run: (run.settings.batch_size, run.settings.seed))
    sizes = dict.fromkeys(run.settings.batch_size for run in ordered)
    return [
        BySize(tuple(run for run in ordered if run.settings.batch_size == size)) for size in sizes
    ]


def spread(values: Sequence[float]) -> float:
    """The standard deviation, estimated from a sample; 0 of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
