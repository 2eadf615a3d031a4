"""A loop over cases fails with the name of each that failed, as tests of their own would."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.looped import looped

NUMBERS = [0, 1, 2, 3]


@looped("n", NUMBERS)
def odd(n: int) -> None:
    assert n % 2, f"{n} is even"


def test_every_failing_case_is_named() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        odd()
    assert raised.value.message == "2 of 4 cases: 0, 2"
    for number, error in zip((0, 2), raised.value.exceptions, strict=True):
        assert f"{number} is even" in str(error)
        assert error.__notes__ == [f"in the case {number}"]


def test_an_error_that_was_expected_and_did_not_come_is_a_failure() -> None:
    @looped(
        "kind", [ValueError, pytest.param(TypeError, id="type")], ids=lambda kind: kind.__name__
    )
    def refused(kind: type[Exception]) -> None:
        with pytest.raises(kind):
            pass

    with pytest.raises(ExceptionGroup, match="2 of 2 cases: ValueError, type"):
        refused()


def test_two_loops_are_every_pair_and_other_parameters_are_left() -> None:
    seen = []

    @looped("a, b", [(1, 2), (3, 4)])
    @looped("c", "xy")
    def note(device: str, a: int, b: int, c: str) -> None:
        seen.append((device, a, b, c))
        assert a == 1

    assert list(inspect.signature(note).parameters) == ["device"]
    with pytest.raises(ExceptionGroup, match="2 of 4 cases: 3-4-x, 3-4-y"):
        note(device="cpu")
    assert seen == [("cpu", *ab, c) for ab in ((1, 2), (3, 4)) for c in "xy"]


def test_a_case_may_skip_itself() -> None:
    @looped("n", NUMBERS)
    def some(n: int) -> None:
        if n:
            pytest.skip("not this one")

    @looped("n", NUMBERS)
    def none(n: int) -> None:
        pytest.skip("none at all")

    some()
    with pytest.raises(pytest.skip.Exception, match="none at all"):
        none()


def test_every_case_starts_from_seed_0() -> None:
    drawn = []

    @looped("n", NUMBERS)
    def draw(n: int) -> None:
        drawn.append(tg.Tensor.randn(3).tolist())

    draw()
    assert drawn == [drawn[0]] * 4


def test_examples_are_drawn_for_every_case() -> None:
    seen: dict[int, set[int]] = {n: set() for n in NUMBERS}

    @settings(max_examples=20, database=None)
    @given(data=st.data())
    @looped("n", NUMBERS)
    def draw(n: int, data: st.DataObject) -> None:
        seen[n].add(data.draw(st.integers(0, 1000)))

    draw()
    assert all(len(drawn) > 3 for drawn in seen.values())
