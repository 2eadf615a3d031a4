"""Schedules that stay, fall in steps, or follow a line, a power or a function."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

from tinygrad_cupy.nn import checks

from .base import LRSchedule, linear, milestones_of


class Constant(LRSchedule):
    """The same rate at every step.

    >>> schedule = nn.schedules.Constant(0.1)
    >>> schedule(0), schedule(1000)
    (0.1, 0.1)
    """

    def __init__(self, lr: float) -> None:
        self.lr = checks.positive(self, "lr", lr)

    def rate(self, step: int) -> float:
        return self.lr


class Step(LRSchedule):
    """lr * gamma^(step // every): a fall by `gamma` (0.1) after each `every` steps.

    >>> schedule = nn.schedules.Step(1.0, every=10, gamma=0.5)
    >>> [schedule(step) for step in (0, 9, 10, 20)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, lr: float, every: int, gamma: float = 0.1) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.every = checks.integer(self, "every", every)
        self.gamma = checks.number(self, "gamma", gamma, least=0)

    def rate(self, step: int) -> float:
        return float(self.lr * self.gamma ** (step // self.every))


class MultiStep(LRSchedule):
    """lr * gamma^k, k the number of `milestones` (steps, in rising order) that are reached.

    >>> schedule = nn.schedules.MultiStep(1.0, milestones=[10, 30], gamma=0.5)
    >>> [schedule(step) for step in (0, 10, 20, 30)]
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, lr: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.milestones = milestones_of(self, milestones)
        self.gamma = checks.number(self, "gamma", gamma, least=0)

    def rate(self, step: int) -> float:
        return float(self.lr * self.gamma ** bisect.bisect_right(self.milestones, step))


class Exponential(LRSchedule):
    """lr * gamma^step.

    >>> schedule = nn.schedules.Exponential(1.0, gamma=0.5)
    >>> [schedule(step) for step in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, lr: float, gamma: float) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.gamma = checks.number(self, "gamma", gamma, least=0)

    def rate(self, step: int) -> float:
        return float(self.lr * self.gamma**step)


class Polynomial(LRSchedule):
    """final_lr + (lr - final_lr) * (1 - step / steps)^power, a straight line with power 1.

    >>> schedule = nn.schedules.Polynomial(1.0, steps=4, power=2)
    >>> [schedule(step) for step in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """

    def __init__(self, lr: float, steps: int, power: float = 1.0, final_lr: float = 0.0) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.steps = checks.integer(self, "steps", steps)
        self.power = checks.positive(self, "power", power)
        self.final_lr = checks.number(self, "final_lr", final_lr, least=0)

    def rate(self, step: int) -> float:
        left = 1 - min(step, self.steps) / self.steps
        return float(self.final_lr + (self.lr - self.final_lr) * left**self.power)


class Linear(LRSchedule):
    """A straight line from lr * start to lr * end over `steps` steps, PyTorch's LinearLR.

    >>> schedule = nn.schedules.Linear(1.0, steps=4, start=0.5)
    >>> [schedule(step) for step in range(6)]
    [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]
    """

    def __init__(self, lr: float, steps: int, start: float = 1 / 3, end: float = 1.0) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.steps = checks.integer(self, "steps", steps)
        self.start = checks.number(self, "start", start, least=0)
        self.end = checks.number(self, "end", end, least=0)

    def rate(self, step: int) -> float:
        return self.lr * linear(self.start, self.end, step / self.steps)


class Lambda(LRSchedule):
    """lr * function(step). The function is no part of a state_dict: give it anew.

    >>> schedule = nn.schedules.Lambda(1.0, lambda step: 1 / (1 + step))
    >>> [schedule(step) for step in (0, 1, 3)]
    [1.0, 0.5, 0.25]
    """

    unsaved = ("function",)

    def __init__(self, lr: float, function: Callable[[int], float]) -> None:
        self.lr = checks.positive(self, "lr", lr)
        self.function = function

    def rate(self, step: int) -> float:
        return self.lr * self.function(step)
