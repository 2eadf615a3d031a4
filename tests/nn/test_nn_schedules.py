"""Schedules: their shape, their ends, what they refuse."""

import copy
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.looped import looped
from tinygrad_cupy import Tensor
from tinygrad_cupy.nn import optim, schedules


def test_constant_is_constant() -> None:
    assert {schedules.Constant(0.1)(step) for step in (0, 5, 10**6)} == {0.1}


def test_cosine_follows_its_formula_and_stays_at_its_end() -> None:
    schedule = schedules.Cosine(1.0, steps=100, final_lr=0.2)
    assert schedule(0) == 1
    assert schedule(50) == pytest.approx(0.6)
    assert schedule(25) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert schedule(100) == schedule(1000) == pytest.approx(0.2)


def test_cosine_warms_up_in_equal_steps() -> None:
    schedule = schedules.Cosine(1.0, steps=20, warmup=4)
    np.testing.assert_allclose([schedule(step) for step in range(5)], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert schedule(12) == pytest.approx(0.5)
    assert schedule(20) == 0


@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_rises_to_the_peak_and_falls_to_the_end(anneal: str) -> None:
    schedule = schedules.OneCycle(0.1, steps=100, rise=0.3, anneal=anneal)
    rates = [schedule(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == rates[29] == pytest.approx(0.1)
    assert rates[99] == schedule(500) == pytest.approx(0.1 / 25 / 1e4)
    assert rates[:30] == sorted(rates[:30])
    assert rates[29:] == sorted(rates[29:], reverse=True)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@looped("rise", [0.0, 0.3, 0.5, 0.75, 0.9, 1.0])
@looped("steps", [1, 2, 3, 10, 40])
def test_one_cycle_has_one_peak_and_the_right_ends(steps: int, rise: float, anneal: str) -> None:
    schedule = schedules.OneCycle(0.1, steps, rise, anneal=anneal)
    rates = [schedule(step) for step in range(steps)]
    top = rates.index(max(rates))
    assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)
    whole = steps <= 3 or rise in (0, 1) or rise * steps % 1 == 0
    assert rates[top] == pytest.approx(0.1, rel=1e-9 if whole else 0.1)  # as in PyTorch
    only_up = rise == 1 or steps == 1
    assert rates[-1] == schedule(10 * steps) == pytest.approx(0.1 if only_up else 4e-7)
    assert rates[0] == pytest.approx(0.1 if rise * steps <= 1 or top == 0 else 0.004)


def test_one_cycle_that_only_rises_ends_at_its_peak() -> None:
    schedule = schedules.OneCycle(0.1, 10, rise=1.0, anneal="linear")
    rates = [schedule(step) for step in range(12)]
    np.testing.assert_allclose(rates[:10], np.linspace(0.004, 0.1, 10))
    assert rates[9:] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("warmup", [0, 1, 8, 9])
def test_cosine_reaches_its_peak_after_any_warm_up(warmup: int) -> None:
    rates = [schedules.Cosine(0.1, 10, warmup, final_lr=0.01)(step) for step in range(11)]
    assert max(rates) == rates[warmup] == pytest.approx(0.1)
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[10] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "schedule", [schedules.Constant(1.0), schedules.Cosine(1.0, 5), schedules.OneCycle(1.0, 5)]
)
@pytest.mark.parametrize("step", [-1, float("nan")])
def test_a_step_before_the_first_is_refused(schedule: Any, step: Any) -> None:
    name = type(schedule).__name__
    with pytest.raises(ValueError, match=re.escape(f"[{name}] expected a step of at least 0, got")):
        schedule(step)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: schedules.Constant(0), "[Constant] lr must be a number above 0, got 0"),
        (lambda: schedules.Cosine(0.1, 0), "[Cosine] steps must be an integer of at least 1"),
        (
            lambda: schedules.Cosine(0.1, 5, warmup=5),
            "[Cosine] warmup must be below steps, got 5 of 5 steps",
        ),
        (
            lambda: schedules.OneCycle(0.1, 5, div_factor=0.5),
            "[OneCycle] div_factor must be a number of at least 1, got 0.5",
        ),
        (
            lambda: schedules.OneCycle(0.1, 5, div_factor=2, final_div_factor=0.25),
            "[OneCycle] div_factor * final_div_factor must be at least 1, or the end is above "
            "max_lr, got 2 and 0.25",
        ),
        (
            lambda: schedules.OneCycle(0.1, 5, rise=30),
            "[OneCycle] rise must be a number from 0 to 1, got 30",
        ),
        (
            lambda: schedules.OneCycle(0.1, 5, anneal="cosine"),
            "[OneCycle] anneal must be one of cos, linear, got 'cosine'",
        ),
    ],
)
def test_wrong_arguments_are_named(build: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        build()


# Objects -----------------------------------------------------------------------------------------

EVERY: list[schedules.LRSchedule] = [
    schedules.Constant(0.1),
    schedules.Step(0.1, 3, 0.5),
    schedules.MultiStep(0.1, [2, 5]),
    schedules.Exponential(0.1, 0.9),
    schedules.Polynomial(0.1, 9, power=2.0, final_lr=0.01),
    schedules.Linear(0.1, 5, end=0.5),
    schedules.Cosine(0.1, 9, warmup=2),
    schedules.CosineRestarts(0.1, 3, factor=2),
    schedules.OneCycle(0.1, 9, anneal="linear"),
    schedules.Lambda(0.1, lambda step: 1 / (1 + step)),
    schedules.Warmup(schedules.Exponential(0.1, 0.9), 3, start=0.0),
    schedules.Chained([schedules.Exponential(0.1, 0.9), schedules.Linear(1.0, 4)]),
    schedules.Sequential([schedules.Constant(0.1), schedules.Step(0.2, 3)], [4]),
    schedules.Plateau(0.1, patience=0),
]
every = pytest.mark.parametrize("schedule", EVERY, ids=lambda schedule: type(schedule).__name__)


def other_of(schedule: schedules.LRSchedule) -> schedules.LRSchedule:
    """One of the same kind with other numbers."""
    state = schedule.state_dict()
    result = copy.deepcopy(schedule)
    for owner in (result, getattr(result, "schedule", None), *getattr(result, "schedules", ())):
        if owner is not None and hasattr(owner, "lr"):
            owner.lr = 0.7
    result.load_state_dict(result.state_dict())
    assert state.keys() == result.state_dict().keys()
    return result


@every
def test_a_state_brings_the_same_rates(schedule: schedules.LRSchedule) -> None:
    schedule = copy.deepcopy(schedule)
    for watched in (1.0, 2.0, 3.0, 2.5):
        schedule.observe(watched)  # which only one of them follows
    other = other_of(schedule)
    other.load_state_dict(schedule.state_dict())
    assert [other(step) for step in range(15)] == [schedule(step) for step in range(15)]
    schedule.observe(5.0)
    other.observe(5.0)
    assert other(0) == schedule(0)
    for value in schedule.state_dict().values():
        assert isinstance(value, np.ndarray)
        assert value.dtype != object
    assert repr(schedule).startswith(type(schedule).__name__ + "(")


@every
def test_states_of_another_kind_are_refused(schedule: schedules.LRSchedule) -> None:
    schedule = copy.deepcopy(schedule)
    before = schedule(3)
    wrong = schedules.Constant(0.5) if type(schedule).__name__ != "Constant" else EVERY[1]
    name = type(schedule).__name__
    with pytest.raises(ValueError, match=rf"\[{name}\] expected the state of {name}, got "):
        schedule.load_state_dict(wrong.state_dict())
    with pytest.raises(TypeError, match="expected a state_dict, a mapping, got list"):
        schedule.load_state_dict([])  # type: ignore[arg-type]
    state = schedule.state_dict()
    missing = [key for key in state if key != "kind" and not key.startswith("schedule")]
    if missing:
        with pytest.raises(ValueError, match=f"the state has no {missing[0]}"):
            schedule.load_state_dict({k: x for k, x in state.items() if k != missing[0]})
    assert schedule(3) == before


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: schedules.Step(0.1, 0), ValueError, "[Step] every must be an integer of at least"),
        (
            lambda: schedules.MultiStep(0.1, [5, 2]),
            ValueError,
            "[MultiStep] milestones must rise, got [5, 2]",
        ),
        (
            lambda: schedules.Exponential(0.1, -1),
            ValueError,
            "[Exponential] gamma must be a number",
        ),
        (lambda: schedules.Polynomial(0.1, 5, power=0), ValueError, "[Polynomial] power must be a"),
        (lambda: schedules.Chained([]), ValueError, "[Chained] expected at least one schedule"),
        (
            lambda: schedules.Chained([lambda step: 0.1]),  # type: ignore[list-item]
            TypeError,
            "[Chained] expected schedules of this module, which have a state, got function: put",
        ),
        (
            lambda: schedules.Sequential([schedules.Constant(1.0)], [3]),
            ValueError,
            "[Sequential] expected one milestone between each two of 1 schedules, got 1",
        ),
        (
            lambda: schedules.Warmup(schedules.Constant(1.0), 3, how="cosine"),
            ValueError,
            "[Warmup] how must be one of linear, constant, got 'cosine'",
        ),
        (
            lambda: schedules.Plateau(0.1, mode="up"),
            ValueError,
            "[Plateau] mode must be one",
        ),
        (lambda: schedules.Plateau(0.1, factor=1.0), ValueError, "[Plateau] factor must be a numb"),
        (lambda: schedules.LRSchedule()(0), NotImplementedError, "[LRSchedule] defines no rate()"),
    ],
)
def test_wrong_arguments_of_schedules_are_named(
    build: Callable[[], Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        build()


def test_a_scheduler_counts() -> None:
    optimizer = optim.SGD([Tensor([1.0], requires_grad=True)], lr=5.0)
    scheduler = schedules.Scheduler(optimizer, schedules.Step(0.1, 2, 0.5))
    rates = []
    for _ in range(5):
        rates.append(optimizer.lr)
        scheduler.step()
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]
    again = schedules.Scheduler(optimizer, schedules.Step(1.0, 1))
    again.load_state_dict(scheduler.state_dict())
    assert (again.last_step, optimizer.lr) == (5, 0.025)
    plain = schedules.Scheduler(optimizer, lambda step: 1.0 + step)
    plain.step()
    assert plain.state_dict().keys() == {"last_step"}
    plateau = schedules.Scheduler(optimizer, schedules.Plateau(0.1, patience=0))
    plateau.step(1.0)
    plateau.step(Tensor(2.0))
    assert optimizer.lr == pytest.approx(0.01)


def test_a_captured_function_cannot_observe(place: str) -> None:
    plateau = schedules.Plateau(0.1)

    @tg.jit
    def step(x: Tensor) -> Tensor:
        plateau.observe(x)
        return x + 1

    with pytest.raises(RuntimeError, match="Plateau decides on the host by a value"):
        step(Tensor(1.0))
