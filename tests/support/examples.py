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


_GROWING: list[hypothesis.settings] = []


def examples(count: int, **options: Any) -> hypothesis.settings:
    """Settings of that many examples, and as many times more as the profile has more than "fast".

    For tests that have no slow one beside them. The first example is the simplest: one alone says
    little.
    """
    every = count * hypothesis.settings().max_examples // FAST
    _GROWING.append(hypothesis.settings(max_examples=every, **options))
    return _GROWING[-1]


def grows(test: Any) -> bool:
    """Whether the profile says how many examples Hypothesis draws for it.

    Otherwise a second run, in the profile "ci", would ask as much as the first. One whose function
    holds the `given` is marked by hand.
    """
    if not getattr(test, "is_hypothesis_test", False):
        return False
    settings = getattr(test, "_hypothesis_internal_use_settings", None)
    profile: Any = hypothesis.settings.default
    return settings in (None, profile) or any(settings is one for one in _GROWING)


SHARE = 6  # one sixth of the records is asked a question in the fast suite


def in_turn(samples: Sequence[Any], question: int, again: bool = False) -> pytest.MarkDecorator:
    """Parametrizes a test by `sample`: a sixth of them fast, the rest marked slow.

    Six questions in a row have different sixths, so that the fast suite asks all of them some of
    the questions, and the slow one all the rest. ``again`` says that a longer test of the slow one
    asks all of them: the rest is left out then, and what is left is marked as short.
    """
    marked = []
    for i, one in enumerate(samples):
        if i % SHARE == question % SHARE:
            mark: Any = pytest.mark.short if again else ()
        elif not again:  # one in three is asked ten times as much by the profile "ci"
            mark = pytest.mark.slow(rest=i % 3 != question % 3)
        else:
            continue
        marked.append(pytest.param(one, id=one.name, marks=mark))
    return pytest.mark.parametrize("sample", marked)
