"""Ranks that are threads of one process, each with its share of a batch, on one device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tinygrad_cupy.backend import array_module
from tinygrad_cupy.backend.ranks import Share, ranks


class ThreadWorld:
    """As much of `distributed.world.World` as kernels ask for."""

    def __init__(self, size: int) -> None:
        self.size, self.begun = size, 0
        self._barrier = threading.Barrier(size)
        self._given: list[Any] = [None] * size
        self._place = threading.local()

    def begin_collective(self, what: str, array: Any) -> ThreadWorld:
        self.begun += 1
        return self

    def all_gather(self, array: Any) -> Any:
        return array_module(array).stack(self._exchanged(array))

    def all_reduce(self, array: Any, operation: str) -> Any:
        assert operation == "sum"
        first, *others = self._exchanged(array)
        return sum(others, first)

    def all_reduce_into(self, array: Any, out: Any, operation: str = "sum") -> None:
        out[...] = self.all_reduce(array, operation)

    def _exchanged(self, array: Any) -> list[Any]:
        self._given[self._place.rank] = array.copy()
        self._barrier.wait(60)
        found = list(self._given)
        self._barrier.wait(60)  # before the next exchange writes
        return found

    def run(self, body: Callable[[Share], Any], counts: tuple[int, ...]) -> list[Any]:
        """What `body` gives on each rank, for its share of a batch."""

        def on(rank: int) -> Any:
            self._place.rank = rank
            try:
                return body(Share(counts, rank))
            except BaseException:
                self._barrier.abort()
                raise

        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(on, range(self.size)))


def as_ranks(
    monkeypatch: pytest.MonkeyPatch, body: Callable[[Share], Any], counts: tuple[int, ...]
) -> tuple[list[Any], int]:
    """What `body` gives on each rank of a batch of so many samples each, and exchanges of each."""
    world = ThreadWorld(len(counts))
    monkeypatch.setattr(ranks, "world", world)
    found = world.run(body, counts)
    return found, world.begun // len(counts)
