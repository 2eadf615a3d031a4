"""Schedules against PyTorch's schedulers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.peers import import_torch
from tinygrad_cupy import Tensor
from tinygrad_cupy.nn import optim, schedules

torch = import_torch()
S = torch.optim.lr_scheduler

CASES: dict[str, tuple[Any, Any]] = {
    "Constant": (schedules.Constant(0.1), lambda o: S.ConstantLR(o, factor=1.0)),
    "Step": (schedules.Step(0.1, 7, 0.5), lambda o: S.StepLR(o, 7, 0.5)),
    "MultiStep": (
        schedules.MultiStep(0.1, [3, 8, 8, 20]),
        lambda o: S.MultiStepLR(o, [3, 8, 8, 20]),
    ),
    "Exponential": (schedules.Exponential(0.1, 0.9), lambda o: S.ExponentialLR(o, 0.9)),
    "Polynomial": (
        schedules.Polynomial(0.1, 25, power=2.0),
        lambda o: S.PolynomialLR(o, 25, power=2.0),
    ),
    "Linear": (schedules.Linear(0.1, 12), lambda o: S.LinearLR(o, total_iters=12)),
    "Cosine": (schedules.Cosine(0.1, 40), lambda o: S.CosineAnnealingLR(o, 40)),
    "CosineRestarts": (
        schedules.CosineRestarts(0.1, 6, factor=2, final_lr=0.01),
        lambda o: S.CosineAnnealingWarmRestarts(o, 6, 2, eta_min=0.01),
    ),
    "CosineRestarts of one length": (
        schedules.CosineRestarts(0.1, 7),
        lambda o: S.CosineAnnealingWarmRestarts(o, 7),
    ),
    "OneCycle": (
        schedules.OneCycle(0.1, 40, div_factor=10, final_div_factor=100),
        lambda o: S.OneCycleLR(
            o, 0.1, total_steps=40, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
    "Lambda": (
        schedules.Lambda(0.1, lambda step: 1 / (1 + step)),
        lambda o: S.LambdaLR(o, lambda step: 1 / (1 + step)),
    ),
    "Warmup": (
        schedules.Warmup(schedules.Exponential(0.1, 0.95), 5, start=0.2),
        lambda o: S.SequentialLR(
            o, [S.LinearLR(o, 0.2, total_iters=5), S.ExponentialLR(o, 0.95)], [5]
        ),
    ),
    "Warmup of one height": (
        schedules.Warmup(schedules.Exponential(0.1, 0.95), 5, start=0.2, how="constant"),
        lambda o: S.SequentialLR(
            o, [S.ConstantLR(o, 0.2, total_iters=5), S.ExponentialLR(o, 0.95)], [5]
        ),
    ),
    "Chained": (
        schedules.Chained([schedules.Exponential(0.1, 0.9), schedules.Linear(1.0, 8, start=0.1)]),
        lambda o: S.ChainedScheduler(
            [S.ExponentialLR(o, 0.9), S.LinearLR(o, start_factor=0.1, total_iters=8)]
        ),
    ),
    "Sequential": (
        schedules.Sequential(
            [schedules.Constant(0.01), schedules.Exponential(0.1, 0.9), schedules.Step(0.1, 4)],
            [6, 15],
        ),
        lambda o: S.SequentialLR(
            o,
            [
                S.ConstantLR(o, 0.1, total_iters=100),
                S.ExponentialLR(o, 0.9),
                S.StepLR(o, 4),
            ],
            [6, 15],
        ),
    ),
}


def torch_optimizer(lr: float = 0.1) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize("name", CASES)
def test_rates(name: str) -> None:
    schedule, build = CASES[name]
    optimizer = torch_optimizer()
    scheduler = build(optimizer)
    for step in range(40):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule(step) == pytest.approx(expected, rel=1e-9, abs=1e-17)
        optimizer.step()
        if step < 39:
            scheduler.step()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "factor": 0.5, "patience": 2},
        {"patience": 1, "threshold": 0.1, "cooldown": 2, "min_lr": 1e-3},
        {"mode": "max", "patience": 0, "threshold": 0.2, "threshold_mode": "abs", "eps": 1e-3},
        {"patience": 2, "threshold": 0.2, "threshold_mode": "abs", "factor": 0.9},
    ],
)
def test_plateau(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    optimizer = torch_optimizer()
    scheduler = S.ReduceLROnPlateau(optimizer, **options)
    schedule = schedules.Plateau(0.1, **options)
    for step, value in enumerate(rng.standard_normal(60)):
        schedule.observe(value)
        scheduler.step(value)
        assert schedule(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_groups_follow_one_schedule() -> None:
    """Each from its own rate, as in PyTorch."""
    others = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": others[:1]}, {"params": others[1:], "lr": 0.01}]
    theirs = torch.optim.SGD(groups, lr=0.1)
    scheduler = S.StepLR(theirs, 2, 0.5)
    params = [Tensor([0.0], requires_grad=True) for _ in range(2)]
    own: Any = [{"params": params[:1]}, {"params": params[1:], "lr": 0.01}]
    ours = optim.SGD(own, lr=0.1)
    driver = schedules.Scheduler(ours, schedules.Step(0.1, 2, 0.5))
    for _ in range(7):
        found = [group["lr"] for group in ours.param_groups]
        np.testing.assert_allclose(found, [group["lr"] for group in theirs.param_groups], 1e-12)
        theirs.step()
        scheduler.step()
        driver.step()
