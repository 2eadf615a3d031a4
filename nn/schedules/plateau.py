"""A schedule that falls when the loss does not."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_cupy.backend.capture import active
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from .base import LRSchedule


class Plateau(LRSchedule):
    """`lr`, times `factor` when what is watched has not improved for more than `patience` values.

    `observe(value)` says what it is now, after an epoch, say; `Trainer` tells the validation loss
    (the training loss without validation). A value improves with mode="min" when it is below best *
    (1 - threshold), or best - threshold with threshold_mode="abs"; with mode="max" above
    accordingly. After a fall the next `cooldown` values count for nothing. The rate stays at least
    `min_lr`, and falls by less than `eps` are left out. As PyTorch's ReduceLROnPlateau.

    Values decide on the host: `observe` waits for a GPU, and is refused inside a captured function.

    >>> schedule = nn.schedules.Plateau(1.0, factor=0.5, patience=1)
    >>> for loss in (0.9, 0.8, 0.8, 0.8):
    ...     schedule.observe(loss)
    >>> schedule(0)
    0.5
    """

    memory = ("current", "best", "bad", "cooling")

    def __init__(
        self,
        lr: float,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.mode = checks.choice(self, "mode", mode, ("min", "max"))
        self.factor = checks.number(self, "factor", factor, 0, 1)
        self.patience = checks.integer(self, "patience", patience, least=0)
        self.threshold = checks.number(self, "threshold", threshold, least=0)
        modes = ("rel", "abs")
        self.threshold_mode = checks.choice(self, "threshold_mode", threshold_mode, modes)
        self.cooldown = checks.integer(self, "cooldown", cooldown, least=0)
        self.min_lr = checks.number(self, "min_lr", min_lr, least=0)
        self.eps = checks.number(self, "eps", eps, least=0)
        self.current = self.lr
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = 0  # values in a row that were no better; that count for nothing

    def rate(self, step: int) -> float:
        return self.current

    def observe(self, value: Any) -> None:
        """What is watched is now `value`, a number or a Tensor of one element."""
        if active.run is not None:
            active.run.refuse(
                "Plateau decides on the host by a value, which a replay would not",
                "return the value from the function, and call observe there",
            )
        number = float(value.item() if isinstance(value, Tensor) else value)
        self.bad += 1
        if self._improves(number):
            self.best, self.bad = number, 0
        if self.cooling:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.patience:
            lower = max(self.current * self.factor, self.min_lr)
            if self.current - lower > self.eps:
                self.current = lower
            self.cooling, self.bad = self.cooldown, 0

    def _improves(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            return sign * value < sign * self.best - self.threshold
        return sign * value < sign * self.best * (1 - sign * self.threshold)
