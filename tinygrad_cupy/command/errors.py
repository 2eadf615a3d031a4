"""Errors that the command shows as one line, and the near match of a mistyped word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CommandError(Exception):
    """Ends the command with ``error: <text>`` on stderr and this exit code."""

    exit_code = 1


class UsageError(CommandError):
    """The command line itself is wrong; the text starts with the option's name."""

    exit_code = 2


class ArgumentError(CommandError):
    """What is wrong with an argument, said without how it is given.

    argument: its name, "model"
    needed: the value to give, where it was not given
    usage: whether the value itself is wrong, whatever the rest
    raised: whether it is what the user's own code raised, whose traceback helps

    As text it is what the command says, which gives arguments as options; `in_python` what a
    function with an argument of that name says.
    """

    def __init__(
        self,
        argument: str,
        text: str,
        needed: str | None = None,
        usage: bool = False,
        raised: bool = False,
    ) -> None:
        option = f"--{argument.replace('_', '-')}"
        if needed is None:
            self.in_python, said = f"{argument}: {text}", f"{option}: {text}"
        else:
            self.in_python, said = f"{text}: {argument}={needed!r}", f"{text}: {option} {needed}"
        super().__init__(f"{said} (--debug shows where)" if raised else said)
        if usage:
            self.exit_code = UsageError.exit_code


class Interrupted(CommandError):
    """Ctrl-C, or the signal `number`; the text says what was kept."""

    exit_code = 130

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.number = number


def near(word: str, choices: Iterable[str]) -> str:
    """``; did you mean 'medium'?``, or nothing when no choice is near."""
    found = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def check_choice(option: str, word: str, choices: Iterable[str]) -> None:
    """Raise `UsageError` when `word` is none of `choices`."""
    choices = tuple(choices)
    if word not in choices:
        raise UsageError(
            f"{option}: expected one of {', '.join(choices)}, got {word!r}{near(word, choices)}"
        )
