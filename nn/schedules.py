"""Learning-rate schedules: `schedule(step)` is the learning rate of the step, counted from 0.

A schedule is any callable from a step to a rate; it holds no state, so that resuming needs only the
step. After its last step a schedule stays at its last value.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from . import checks

Schedule = Callable[[int], float]


class Constant:
    """The same rate at every step."""

    def __init__(self, lr: float) -> None:
        self.lr = checks.positive(self, "lr", lr)

    def __call__(self, step: int) -> float:
        return self.lr


class Cosine:
    """Half a cosine from `lr` down to `final_lr` over `steps` steps, after a linear warm-up.

    lr(t) = final_lr + (lr - final_lr) * (1 + cos(pi * (t - warmup) / (steps - warmup))) / 2;
    in the `warmup` steps before (0 by default) lr(t) = lr * (t + 1) / (warmup + 1).
    Loshchilov and Hutter, "SGDR" (2016), without restarts.
    """

    def __init__(self, lr: float, steps: int, warmup: int = 0, final_lr: float = 0.0) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.steps = checks.integer(self, "steps", steps)
        self.warmup = checks.integer(self, "warmup", warmup, least=0)
        self.final_lr = checks.number(self, "final_lr", final_lr, least=0)
        if self.warmup >= self.steps:
            raise ValueError(f"[Cosine] warmup must be below steps, got {warmup} of {steps} steps")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / (self.warmup + 1)
        share = (step - self.warmup) / (self.steps - self.warmup)
        return _cosine(self.lr, self.final_lr, share)


class OneCycle:
    """Up from max_lr / div_factor to `max_lr`, then down to that start / final_div_factor.

    The rise takes the first `rise` (0.3) of the `steps`; both ways follow half a cosine, or a
    straight line with anneal="linear". The step that reaches each end is that of PyTorch's
    OneCycleLR. Smith and Topin, "Super-convergence" (2017).
    """

    def __init__(
        self,
        max_lr: float,
        steps: int,
        rise: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal: str = "cos",
    ) -> None:
        self.max_lr = checks.positive(self, "max_lr", max_lr)
        self.steps = checks.integer(self, "steps", steps)
        self.rise = checks.fraction(self, "rise", rise)
        self.first_lr = self.max_lr / checks.positive(self, "div_factor", div_factor)
        divisor = checks.positive(self, "final_div_factor", final_div_factor)
        self.last_lr = self.first_lr / divisor
        self._between = {"cos": _cosine, "linear": _linear}[
            checks.choice(self, "anneal", anneal, ("cos", "linear"))
        ]

    def __call__(self, step: int) -> float:
        peak = self.rise * self.steps - 1
        if step < peak:
            return self._between(self.first_lr, self.max_lr, step / peak)
        peak = max(peak, 0)
        share = (step - peak) / (self.steps - 1 - peak) if self.steps - 1 > peak else 1.0
        return self._between(self.max_lr, self.last_lr, share)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * min(share, 1.0)
