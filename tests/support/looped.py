"""Many small cases in one test, which names each case that fails."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis.errors import HypothesisException

import tinygrad_cupy as tg

Test = Callable[..., None]


def looped(
    names: str, cases: Iterable[Any], ids: Callable[[Any], str] = str
) -> Callable[[Test], Test]:
    """`pytest.mark.parametrize` in one test: for cases that take less than a millisecond or two.

    A test costs several milliseconds by itself, in the worker and in the process that reports it.
    ``names`` are parameters of the function, separated by commas; ``cases`` their values, tuples
    where there are several, or `pytest.param`. Every case starts from seed 0, as a test does, and
    all are run whatever becomes of those before. Two of these decorators give every pair. They
    stand next to the function, below `given`: each example is then asked of all cases.
    """
    parameters = [name.strip() for name in names.split(",")]
    table = [_named(parameters, case, ids) for case in cases]

    def decorate(test: Test) -> Test:
        assert not hasattr(test, "hypothesis"), "`looped` stands below `given`"
        body, inner = getattr(test, "looped", (test, [("", {})]))
        both = [
            (f"{name}-{other}".strip("-"), values | others)
            for name, values in table
            for other, others in inner
        ]

        signature = inspect.signature(test)
        left = [p for p in signature.parameters.values() if p.name not in parameters]
        assert len(left) == len(signature.parameters) - len(parameters), names

        @functools.wraps(body)
        def one_by_one(*args: Any, **given: Any) -> None:
            _run(body, both, given | {p.name: x for p, x in zip(left, args, strict=False)})

        vars(one_by_one).update(vars(test))
        vars(one_by_one).update(
            __signature__=signature.replace(parameters=left), looped=(body, both)
        )
        return one_by_one

    return decorate


def _named(
    parameters: list[str], case: Any, ids: Callable[[Any], str]
) -> tuple[str, dict[str, Any]]:
    values, name = (case,) if len(parameters) == 1 else case, None
    if hasattr(case, "marks"):  # a `pytest.param`
        assert not case.marks, "a case of a loop cannot be chosen by a marker"
        values, name = case.values, case.id
    return name or "-".join(map(ids, values)), dict(zip(parameters, values, strict=True))


def _run(body: Test, cases: list[tuple[str, dict[str, Any]]], given: dict[str, Any]) -> None:
    failed: dict[str, Exception] = {}
    skipped = []
    for name, values in cases:
        tg.manual_seed(0)
        try:
            body(**given, **values)
        except HypothesisException:  # Hypothesis takes this example back
            raise
        except pytest.skip.Exception as said:
            skipped.append(str(said))
        except pytest.fail.Exception as error:  # of `pytest.raises`; no `Exception`, so no group's
            failed[name] = AssertionError(str(error)).with_traceback(error.__traceback__)
        except Exception as error:
            failed[name] = error
    for name, wrong in failed.items():
        wrong.add_note(f"in the case {name}")
    if failed:
        which = ", ".join(failed)
        raise ExceptionGroup(f"{len(failed)} of {len(cases)} cases: {which}", list(failed.values()))
    if skipped and len(skipped) == len(cases):
        pytest.skip(skipped[0])
