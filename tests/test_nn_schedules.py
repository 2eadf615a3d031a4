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


@pytest.mark.parametrize("rise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_one_cycle_of_few_steps_is_finite(steps: int, rise: float) -> None:
    schedule = schedules.OneCycle(0.1, steps, rise)
    assert all(0 < schedule(step) <= 0.1 for step in range(steps + 2))


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
