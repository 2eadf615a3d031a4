"""Loss and accuracy of an epoch, gathered on the device so that no step waits for the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.tensor import Tensor


class Reading(NamedTuple):
    """Mean loss and accuracy over all predictions of a `Meter`, and the loss of each step."""

    loss: float
    accuracy: float
    losses: np.ndarray

    def first_bad_step(self) -> int | None:
        """The index of the first loss that is not finite, or None."""
        bad = np.flatnonzero(~np.isfinite(self.losses))
        return int(bad[0]) if bad.size else None


class Meter:
    """Loss and right answers of each step, left on the device until somebody reads them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.counts: list[int] = []  # predictions per step, known without asking the device
        self.values: Any = None  # (2, steps): losses, right answers

    def add(self, loss: Tensor, logits: Tensor, target: Tensor) -> None:
        if self.values is None:
            self.values = backend.full((2, self.steps), 0.0, np.float32, loss.device)
        column = len(self.counts)
        self.values[0, column] = loss.data
        self.values[1, column] = (logits.data.argmax(axis=1) == target.data).sum()
        self.counts.append(target.size)

    @property
    def on_cpu(self) -> bool:
        """Whether `read` is free: on a GPU it waits for the device."""
        return self.values is None or not backend.is_cuda(self.values)

    def last_loss(self) -> float:
        return float(self.values[0, len(self.counts) - 1])

    def read(self) -> Reading:
        """What was added so far; one host read."""
        losses, right = backend.to_numpy(self.values[:, : len(self.counts)]).astype(np.float64)
        return Reading(
            float(np.average(losses, weights=self.counts)),
            float(right.sum() / sum(self.counts)),
            losses,
        )
