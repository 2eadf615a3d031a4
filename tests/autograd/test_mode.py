"""`no_grad` where a body runs in several goes: generators, coroutines, contexts that overlap."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

import tinygrad_cupy as tg
from tinygrad_cupy.autograd.mode import set_grad_enabled


def recording() -> bool:
    return tg.is_grad_enabled()


@tg.no_grad()
def counted(n: int) -> Generator[bool, Any, str]:
    got = []
    try:
        for _ in range(n):
            got.append((yield recording()))
    finally:
        assert not recording()
    return f"{got} {recording()}"


def test_it_holds_in_the_body_of_a_generator_and_not_between() -> None:
    seen = []
    for inside in counted(3):
        seen += [inside, recording()]
    assert seen == [False, True] * 3
    assert inspect.isgeneratorfunction(counted)
    assert counted.__name__ == "counted"


def test_a_decorator_without_parentheses() -> None:
    def yielded() -> Iterator[bool]:
        yield recording()

    computed: Any = tg.no_grad(recording)
    held: Any = tg.no_grad(yielded)
    assert not computed()
    assert list(held()) == [False]
    assert tg.is_grad_enabled()


def test_the_caller_may_hold_another() -> None:
    body = counted(2)
    with tg.no_grad():
        next(body)
        assert not recording()
    assert next(body) is False
    assert recording()


def test_values_and_errors_go_in_and_results_come_out() -> None:
    body = counted(2)
    next(body)
    body.send("a")
    with pytest.raises(StopIteration) as stopped:
        body.send("b")
    assert stopped.value.value == "['a', 'b'] False"
    body = counted(2)
    next(body)
    with pytest.raises(KeyError):
        body.throw(KeyError("x"))
    assert recording()
    body = counted(2)
    next(body)
    body.close()
    assert recording()

    @tg.no_grad()
    def patient() -> Iterator[bool]:
        try:
            yield recording()
        except KeyError:
            yield recording()

    again: Any = patient()
    next(again)
    assert again.throw(KeyError) is False
    assert recording()


def test_a_context_inside_the_body_lasts_over_its_goes() -> None:
    @tg.no_grad()
    def body() -> Iterator[bool]:
        with set_grad_enabled(True):
            yield recording()
            yield recording()
        yield recording()

    assert [(inside, recording()) for inside in body()] == [
        (True, True),
        (True, True),
        (False, True),
    ]


def test_a_generator_calls_itself() -> None:
    @tg.no_grad()
    def down(n: int) -> Iterator[bool]:
        yield recording()
        if n:
            yield from down(n - 1)

    assert list(down(3)) == [False] * 4
    assert recording()


def test_coroutines_hold_it_by_themselves() -> None:
    seen = []

    @tg.no_grad()
    async def quiet() -> bool:
        for _ in range(3):
            seen.append(("quiet", recording()))
            await asyncio.sleep(0)
        return recording()

    async def loud() -> None:
        for _ in range(3):
            seen.append(("loud", recording()))
            await asyncio.sleep(0)

    async def both() -> Any:
        return await asyncio.gather(quiet(), loud(), quiet())

    assert inspect.iscoroutinefunction(quiet)
    assert list(asyncio.run(both())) == [False, None, False]
    assert set(seen) == {("quiet", False), ("loud", True)}
    assert recording()


def test_asynchronous_generators_hold_it_in_their_body() -> None:
    @tg.no_grad()
    async def batches(n: int) -> AsyncIterator[bool]:
        try:
            for _ in range(n):
                await asyncio.sleep(0)
                yield recording()
        finally:
            await asyncio.sleep(0)
            assert not recording()

    async def read() -> None:
        async for inside in batches(3):
            assert (inside, recording()) == (False, True)
        body: Any = batches(3)
        assert await body.asend(None) is False
        assert recording()
        await body.aclose()
        body = batches(3)
        await body.__anext__()
        with pytest.raises(KeyError):
            await body.athrow(KeyError("x"))

    asyncio.run(read())
    assert recording()


@pytest.mark.parametrize("first", [0, 1])
def test_contexts_that_overlap_end_in_any_order(first: int) -> None:
    def body() -> Generator[None, None, None]:
        with tg.no_grad():
            yield

    bodies = [body(), body()]
    for one in bodies:
        next(one)
    assert not recording()
    bodies[first].close()
    assert not recording()
    bodies[1 - first].close()
    assert recording()
