"""What sets an optimizer's rate step after step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cupy.nn import checks

from .base import LRSchedule, below, value_of

if TYPE_CHECKING:
    from tinygrad_cupy.nn.optim.optimizer import Optimizer


class Scheduler:
    """Sets an optimizer's `lr` step after step, as PyTorch's schedulers do.

    Call `step` after each of the optimizer's. The rate of step 0 is set at once. `schedule` is any
    callable from a step to a rate.

    >>> optimizer = nn.optim.SGD([nn.Parameter([1.0])])
    >>> scheduler = nn.schedules.Scheduler(optimizer, nn.schedules.Step(1.0, every=2, gamma=0.5))
    >>> for _ in range(3):
    ...     scheduler.step()
    >>> optimizer.lr, scheduler.last_step
    (0.5, 3)
    """

    def __init__(self, optimizer: Optimizer, schedule: Callable[[int], float]) -> None:
        self.optimizer, self.schedule = optimizer, schedule
        self.last_step = 0
        optimizer.lr = schedule(0)

    def step(self, value: Any = None) -> None:
        """Go on to the next rate; `value` is what a `Plateau` watches."""
        if value is not None and isinstance(self.schedule, LRSchedule):
            self.schedule.observe(value)
        self.optimizer.lr = self.schedule(self.last_step + 1)
        self.last_step += 1

    def state_dict(self) -> dict[str, np.ndarray]:
        """ "last_step", and the schedule's own state behind "schedule."."""
        result = {"last_step": np.asarray(self.last_step)}
        if isinstance(self.schedule, LRSchedule):
            result |= {f"schedule.{key}": x for key, x in self.schedule.state_dict().items()}
        return result

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue where the one that gave `saved` stood; the optimizer's `lr` is set."""
        step = checks.integer(
            self, "last_step", value_of("Scheduler", "last_step", saved, False), 0
        )
        if isinstance(self.schedule, LRSchedule):
            self.schedule.load_state_dict(below(saved, "schedule."))
        self.last_step = step
        self.optimizer.lr = self.schedule(step)
