"""Learning-rate schedules: `schedule(step)` is the learning rate of the step, counted from 0.

A schedule is any callable from a step to a rate. Those here are objects whose arguments are in
their `state_dict`; but for `Plateau` they hold nothing else, so that resuming needs only the step.
After its last step a schedule stays at its last value; a step below 0 is a ValueError.

    optimizer.lr = schedule(step)       # in a loop of one's own, before each optimizer.step()
    Trainer(..., schedule=schedule)     # does so itself
    Scheduler(optimizer, schedule)      # counts steps, as PyTorch's schedulers do

An optimizer's parameter groups keep their ratio to its `lr`. A captured step reads the rate from
device memory: set it outside of the function, before the call.
"""

from .base import LRSchedule, Schedule
from .composed import Chained, Sequential, Warmup
from .cosines import Cosine, CosineRestarts, OneCycle
from .decay import Constant, Exponential, Lambda, Linear, MultiStep, Polynomial, Step
from .plateau import Plateau
from .scheduler import Scheduler

__all__ = [
    "Chained",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "LRSchedule",
    "Lambda",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "Scheduler",
    "Sequential",
    "Step",
    "Warmup",
]
