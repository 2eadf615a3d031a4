"""Whether operations are recorded: `no_grad` and `set_grad_enabled`, per thread."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any


class _Mode(threading.local):
    recording = True
    rule: Any = None  # `autograd.Rule`: the backward rule in progress

    def __init__(self) -> None:
        self.entered: list[_Entry] = []  # the contexts that hold, in order


_Entry = list[bool]  # one entrance into a context: whether was recorded before


mode = _Mode()


class set_grad_enabled(ContextDecorator):
    """Context or decorator: record a graph inside it, or not. Per thread.

    As a decorator of a generator function, a coroutine function or an asynchronous generator
    function it holds whenever the body runs, and not in between, while the caller does.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.entries: list[_Entry] = []  # a stack: one instance may be entered again inside itself

    def _recreate_cm(self) -> set_grad_enabled:
        return set_grad_enabled(self.enabled)  # threads in one decorated function share no stack

    def __call__(self, func: Any) -> Any:
        for is_such, held in (
            (inspect.isgeneratorfunction, _held_generator),
            (inspect.iscoroutinefunction, _held_coroutine),
            (inspect.isasyncgenfunction, _held_async_generator),
        ):
            if is_such(func):
                return held(func, self.enabled)
        return super().__call__(func)

    def __enter__(self) -> None:
        entry = [mode.recording]
        self.entries.append(entry)
        mode.entered.append(entry)
        mode.recording = self.enabled

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        entry, entered = self.entries.pop(), mode.entered
        if entered and entered[-1] is entry:
            entered.pop()
            mode.recording = entry[0]
            return
        for place, other in enumerate(entered):  # generators that hold one each end in any order
            if other is entry:
                entered[place + 1][0] = entry[0]
                del entered[place]
                return


class no_grad(set_grad_enabled):
    """Context or decorator under which no graph is recorded. Per thread.

    As a decorator it is written ``@no_grad()`` or ``@no_grad``.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, function: Any = None) -> Any:
        return object.__new__(cls) if function is None else cls()(function)

    def __init__(self, function: Any = None) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Context or decorator under which graphs are recorded, inside `no_grad`, too. Per thread.

    As a decorator it is written ``@enable_grad()`` or ``@enable_grad``.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    def __new__(cls, function: Any = None) -> Any:
        return object.__new__(cls) if function is None else cls()(function)

    def __init__(self, function: Any = None) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    """Whether operations of this thread are being recorded.

    >>> with tg.no_grad():
    ...     print(tg.is_grad_enabled())
    False
    """
    return mode.recording


# --- functions that run in several goes -----------------------------------------------------------


class _Inside:
    """The mode inside a body that runs in several goes; a context around each of them."""

    def __init__(self, enabled: bool) -> None:
        self.inside = enabled
        self.entered: list[_Entry] = []

    def __enter__(self) -> None:
        self.outside = mode.recording, mode.entered
        mode.recording, mode.entered = self.inside, self.entered

    def __exit__(self, *_: object) -> None:
        self.inside = mode.recording  # the body may have entered a context of its own
        mode.recording, mode.entered = self.outside


def _driven(body: Generator[Any, Any, Any], inside: _Inside) -> Generator[Any, Any, Any]:
    """What ``body`` does, each go of it ``inside``."""
    go: Callable[[], Any] = functools.partial(next, body)
    while True:
        try:
            with inside:
                item = go()
        except StopIteration as stop:
            return stop.value
        try:
            sent = yield item
        except GeneratorExit:
            with inside:
                body.close()
            raise
        except BaseException as error:
            go = functools.partial(body.throw, error)
        else:
            go = functools.partial(body.send, sent)


class _Driven:
    """An awaitable whose goes are all ``inside``."""

    def __init__(self, awaitable: Awaitable[Any], inside: _Inside) -> None:
        self.awaitable, self.inside = awaitable, inside

    def __await__(self) -> Generator[Any, Any, Any]:
        body: Any = self.awaitable.__await__()
        return _driven(body, self.inside)


def _held_generator(function: Any, enabled: bool) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from _driven(function(*args, **kwargs), _Inside(enabled)))

    return wrapper


def _held_coroutine(function: Any, enabled: bool) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await _Driven(function(*args, **kwargs), _Inside(enabled))

    return wrapper


def _held_async_generator(function: Any, enabled: bool) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        body, inside = function(*args, **kwargs), _Inside(enabled)
        go = body.__anext__()
        while True:
            try:
                item = await _Driven(go, inside)
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                await _Driven(body.aclose(), inside)
                raise
            except BaseException as error:
                go = body.athrow(error)
            else:
                go = body.asend(sent)

    return wrapper
