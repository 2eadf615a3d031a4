"""Schedules along half a cosine: down once, with restarts, and up and down."""

from __future__ import annotations

from tinygrad_cupy.nn import checks

from .base import LRSchedule, cosine, linear


class Cosine(LRSchedule):
    """Half a cosine from `lr` down to `final_lr` over `steps` steps, after a linear warm-up.

    lr(t) = final_lr + (lr - final_lr) * (1 + cos(pi * (t - warmup) / (steps - warmup))) / 2;
    in the `warmup` steps before (0 by default) lr(t) = lr * (t + 1) / (warmup + 1).
    Loshchilov and Hutter, "SGDR" (2016), without restarts.

    >>> schedule = nn.schedules.Cosine(1.0, steps=12, warmup=2)
    >>> [round(schedule(step), 3) for step in (0, 1, 2, 7, 12)]
    [0.333, 0.667, 1.0, 0.5, 0.0]
    """

    def __init__(self, lr: float, steps: int, warmup: int = 0, final_lr: float = 0.0) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.steps = checks.integer(self, "steps", steps)
        self.warmup = checks.integer(self, "warmup", warmup, least=0)
        self.final_lr = checks.number(self, "final_lr", final_lr, least=0)
        if self.warmup >= self.steps:
            raise ValueError(f"[Cosine] warmup must be below steps, got {warmup} of {steps} steps")

    def rate(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / (self.warmup + 1)
        share = (step - self.warmup) / (self.steps - self.warmup)
        return cosine(self.lr, self.final_lr, share)


class CosineRestarts(LRSchedule):
    """Half a cosine from `lr` down to `final_lr` over `period` steps, then again from `lr`.

    Each period is `factor` times as long as the one before. Loshchilov and Hutter, "SGDR:
    stochastic gradient descent with warm restarts" (2016).

    >>> schedule = nn.schedules.CosineRestarts(1.0, period=2, factor=2)
    >>> [round(schedule(step), 3) for step in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """

    def __init__(self, lr: float, period: int, factor: int = 1, final_lr: float = 0.0) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.period = checks.integer(self, "period", period)
        self.factor = checks.integer(self, "factor", factor)
        self.final_lr = checks.number(self, "final_lr", final_lr, least=0)

    def rate(self, step: int) -> float:
        period = self.period
        if self.factor == 1:
            step %= period
        while step >= period:
            step -= period
            period *= self.factor
        return cosine(self.lr, self.final_lr, step / period)


class OneCycle(LRSchedule):
    """Up from max_lr / div_factor to `max_lr`, then down to that start / final_div_factor.

    The rise takes the first `rise` (0.3) of the `steps`; both ways follow half a cosine, or a
    straight line with anneal="linear". The step that reaches each end is that of PyTorch's
    OneCycleLR. With rise=1 there is no way down: the last step has `max_lr`. Of two or three steps
    one has `max_lr`, and a single step has it too. `div_factor` is at least 1, and the end is not
    above the peak. Smith and Topin, "Super-convergence" (2017).

    >>> schedule = nn.schedules.OneCycle(1.0, steps=10)
    >>> [round(schedule(step), 3) for step in (0, 2, 9)]
    [0.04, 1.0, 0.0]
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
        self.div_factor = checks.number(self, "div_factor", div_factor, least=1)
        self.final_div_factor = checks.positive(self, "final_div_factor", final_div_factor)
        self.first_lr = self.max_lr / self.div_factor
        self.last_lr = self.first_lr / self.final_div_factor
        if self.last_lr > self.max_lr:
            raise ValueError(
                f"[OneCycle] div_factor * final_div_factor must be at least 1, or the end is above "
                f"max_lr, got {div_factor} and {final_div_factor}"
            )
        self._peak = self._peak_step()
        self.anneal = checks.choice(self, "anneal", anneal, ("cos", "linear"))

    def rate(self, step: int) -> float:
        between = cosine if self.anneal == "cos" else linear
        if step < self._peak:
            return between(self.first_lr, self.max_lr, step / self._peak)
        way = self.steps - 1 - self._peak
        return between(self.max_lr, self.last_lr, (step - self._peak) / way if way else 0.0)

    def _peak_step(self) -> float:
        """Where the rise ends; within few steps a whole one, or none of them would be there."""
        last = self.steps - 1
        peak = min(max(self.rise * self.steps - 1, 0.0), last)
        return peak if self.steps > 3 or peak in (0, last) else last - 1.0
