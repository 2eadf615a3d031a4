"""Where a loader stands in a pass over its data, and what the order of the pass came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_cupy import backend, random

T = TypeVar("T")


class Position:
    """Pass number `iteration`, of which `given` batches were given.

    The order of the pass comes from the loader's seed, from `origin`, which is uint64 (2,), seed
    and counter of the stream of shuffles (on a GPU in its memory: nobody waits for it), or it is
    `order` itself.
    """

    def __init__(self, iteration: int, given: int = 0) -> None:
        self.iteration, self.given = iteration, given
        self.origin: Any = None
        self.order: npt.NDArray[np.int64] | None = None

    def counted(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, counted as they are given."""
        for batch in batches:
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, np.ndarray]:
        """All of it as arrays."""
        state = {"iteration": np.asarray(self.iteration), "given": np.asarray(self.given)}
        if self.origin is not None:
            state["origin"] = backend.to_numpy(self.origin)[:2]
        if self.order is not None:
            state["order"] = self.order.copy()
        return state

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Position:
        """The position of `state_dict`."""
        found = cls(int(state["iteration"]), int(state["given"]))
        if "origin" in state:
            found.origin = np.asarray(state["origin"], np.uint64)
        if "order" in state:
            found.order = np.asarray(state["order"], np.int64)
        return found


def stream_place(device: str) -> Any:
    """Seed and counter of the stream of shuffles on a device, where they lie there."""
    generator, stream = random.generator, random.STREAM_SHUFFLES
    if device == "cpu":
        return np.array([generator.seed, generator.counters.get(stream, 0)], np.uint64)
    with backend.import_cupy().cuda.Device(int(device.removeprefix("cuda:"))):
        return generator.state(stream, device).copy()


def drawn_order(count: int, origin: Any) -> npt.NDArray[np.int64]:
    """The order that the stream of shuffles gave from there, whatever device it was on."""
    seed, counter = (int(value) for value in backend.to_numpy(origin)[:2])
    source = random.Generator(seed)
    words = random.words_at(counter, count, random.STREAM_SHUFFLES, source)
    return words.argsort(kind="stable").astype(np.int64, copy=False)
