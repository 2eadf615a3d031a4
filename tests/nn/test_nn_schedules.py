"""Schedules: their shape, their ends, what they refuse."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy.nn import schedules


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
@pytest.mark.parametrize("rise", [0.0, 0.3, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 40])
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
