"""How many examples Hypothesis draws: few in the fast suite, ten times as many in the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hypothesis
import pytest

FAST, FULL = 10, 100  # of a test that does not say; the profiles "fast" and "ci"


def register_profiles() -> None:
    for profile, count in (("fast", FAST), ("ci", FULL)):
        hypothesis.settings.register_profile(
            profile, max_examples=count, deadline=None, derandomize=False, print_blob=True
        )


def examples(count: int, **options: Any) -> hypothesis.settings:
    """Settings of that many examples, and as many times more as the profile has more than "fast".

    For tests that have no slow one beside them. The first example is the simplest: one alone says
    little.
    """
    every = count * hypothesis.settings().max_examples // FAST
    return hypothesis.settings(max_examples=every, **options)


def in_turn(samples: Sequence[Any], question: int, again: bool = False) -> pytest.MarkDecorator:
    """Parametrizes a test by `sample`: a third of them fast, the rest marked slow.

    Three questions in a row have different thirds, so that the fast suite asks all of them some of
    the questions, and the slow one all the rest. ``again`` says that a longer test of the slow one
    asks all of them: the rest is left out then.
    """
    marked = [
        pytest.param(one, id=one.name, marks=[] if i % 3 == question % 3 else pytest.mark.slow)
        for i, one in enumerate(samples)
        if not again or i % 3 == question % 3
    ]
    return pytest.mark.parametrize("sample", marked)
