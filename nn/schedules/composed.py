"""Schedules made of others: behind a warm-up, multiplied, one after the other."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any

from tinygrad_cupy.nn import checks

from .base import LRSchedule, linear, milestones_of, of


class Warmup(LRSchedule):
    """`steps` steps up to the first rate of `schedule`, and then `schedule` from its step 0.

    With how="linear" the rate is that first one times start + (1 - start) * step / steps, with
    how="constant" times `start` (0.1). Goyal et al., "Accurate, large minibatch SGD" (2017).

    >>> schedule = nn.schedules.Warmup(nn.schedules.Step(1.0, every=2), steps=4, start=0.0)
    >>> [schedule(step) for step in range(8)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.1, 0.1]
    """

    def __init__(
        self, schedule: LRSchedule, steps: int, start: float = 0.1, how: str = "linear"
    ) -> None:
        self.schedule = of(self, schedule)
        self.steps = checks.integer(self, "steps", steps)
        self.start = checks.fraction(self, "start", start)
        self.how = checks.choice(self, "how", how, ("linear", "constant"))

    def rate(self, step: int) -> float:
        if step >= self.steps:
            return self.schedule(step - self.steps)
        share = self.start if self.how == "constant" else linear(self.start, 1, step / self.steps)
        return self.schedule(0) * share

    def observe(self, value: Any) -> None:
        self.schedule.observe(value)


class Chained(LRSchedule):
    """The product of the rates of several schedules: give all but one a rate of about 1.

    >>> fall = nn.schedules.Exponential(1.0, 0.5)
    >>> schedule = nn.schedules.Chained([fall, nn.schedules.Linear(1.0, steps=2, start=0.5)])
    >>> [schedule(step) for step in range(4)]
    [0.5, 0.375, 0.25, 0.125]
    """

    def __init__(self, schedules: Sequence[LRSchedule]) -> None:
        self.schedules = [of(self, one) for one in schedules]
        if not self.schedules:
            raise ValueError("[Chained] expected at least one schedule, got none")

    def rate(self, step: int) -> float:
        return math.prod(one(step) for one in self.schedules)

    def observe(self, value: Any) -> None:
        for one in self.schedules:
            one.observe(value)


class Sequential(LRSchedule):
    """One schedule after the other: the next begins, at its step 0, at each of `milestones`.

    >>> parts = [nn.schedules.Constant(0.5), nn.schedules.Exponential(1.0, 0.5)]
    >>> schedule = nn.schedules.Sequential(parts, milestones=[2])
    >>> [schedule(step) for step in range(5)]
    [0.5, 0.5, 1.0, 0.5, 0.25]
    """

    def __init__(self, schedules: Sequence[LRSchedule], milestones: Sequence[int]) -> None:
        self.schedules = [of(self, one) for one in schedules]
        self.milestones = milestones_of(self, milestones)
        if len(self.milestones) != len(self.schedules) - 1:
            raise ValueError(
                f"[Sequential] expected one milestone between each two of {len(self.schedules)} "
                f"schedules, got {len(self.milestones)}"
            )

    def rate(self, step: int) -> float:
        index = bisect.bisect_right(self.milestones, step)
        return self.schedules[index](step - (self.milestones[index - 1] if index else 0))

    def observe(self, value: Any) -> None:
        for one in self.schedules:
            one.observe(value)
