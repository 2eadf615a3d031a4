"""How often the memory of a tensor was written in place, where in it, and by which line.

A saved value is good as long as none of *its* elements was written since it was saved. A count of
writes tells at once that none was. Where some were, the log of writes tells which elements: it
keeps, for each element of the memory, the number of the write that wrote it last. So a program that
fills an array step by step, each from the one before, may save what it reads there.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from ..backend import Array, address_of, is_cuda, strides_of, to_numpy
from ..backend.capture import Inside, Run, active

PACKAGE = __name__.partition(".")[0]
Line = tuple[str, int]  # a file and a number
MANY = 1000  # writes after which they are settled, or, where no graph knows of one, lumped
# Whose frames no line is named of.
NOT_THE_USERS = frozenset((PACKAGE, "numpy", "cupy", "cupyx", "contextlib", "functools"))


class Version:
    """How often an array was written in place; shared by all tensors that view that array.

    ``recorded`` of the writes are part of a graph: views then look for their new place in it, see
    `views`. ``inside`` says which run of a jitted function, or transform, the array was made in.
    """

    __slots__ = ("__weakref__", "_all", "_writes", "apart", "count", "inside", "moved", "recorded")

    # Not set while nobody needs them:
    _writes: Writes
    _all: tuple[int, Line]  # the last of the writes of which it is not known where they went
    # Set from the first recorded write on:
    apart: bool  # whether one was recorded of a tensor outside of the others' graph
    moved: bool  # whether a transform has moved the base into another memory

    def __init__(self) -> None:
        self.count = self.recorded = 0
        self.inside: Inside | None = active.inside

    def __reduce__(self) -> Any:
        return Version, ()  # a copied array begins anew

    @property
    def made_in(self) -> Run | None:
        """The run of a jitted function in which the array was made, or None."""
        return None if self.inside is None else self.inside.run

    def wrote(self, line: Line, times: int = 1) -> None:
        """Count writes of which it is not known where they went, by a `writing_line`."""
        self.count += times
        self._all = self.count, line

    def note(self, array: Array | None, key: Any, recorded: bool) -> None:
        """Keep in the log that the last write went into ``array[key]``, or anywhere."""
        writes = getattr(self, "_writes", None)
        if writes is None:
            writes = self._writes = Writes()
        if recorded:
            self.record()
        writes.note(self.count, array, key, recorded)

    def record(self) -> None:
        """Count a recorded write, which views have to know of."""
        if not self.recorded:
            self.apart = self.moved = False
        self.recorded += 1

    def overwritten(self, value: Array, count: int) -> str | None:
        """By which line ``value``, saved after ``count`` writes, was written: "", None if not."""
        if self.count == count:
            return None
        last, line = getattr(self, "_all", _NONE)
        if last > count and value.size:
            return _said(line)
        writes = getattr(self, "_writes", None)
        return "" if writes is None else writes.into(value, count)

    def last_line(self) -> str:
        """By which line the memory was written last, as far as is known."""
        last, line = getattr(self, "_all", _NONE)
        if last == self.count:
            return _said(line)
        writes = getattr(self, "_writes", None)
        return "" if writes is None else writes.line(self.count)

    def rewind(self, count: int) -> None:
        """Forget all writes but the first ``count``, which were undone."""
        self.count = count
        last, line = getattr(self, "_all", _NONE)
        if last > count:
            self._all = count, line
        writes = getattr(self, "_writes", None)
        if writes is not None:
            writes.rewind(count)


_NONE: tuple[int, Line] = (0, ("", 0))
_NOTHING = np.zeros(0, np.int64)


def _said(line: Line) -> str:
    return "{}:{}".format(*line)


class Writes:
    """The log of one memory's writes: those that are new, and for each element the last before."""

    def __init__(self) -> None:
        self.new: list[tuple[int, Array, Any]] = []  # number, array and key
        self.unrecorded = 0  # how many of them no graph knows
        self.lines: dict[int, Line] = {}
        self.everything = 0  # the last write of which it is not known where
        self.unit = 1  # bytes of an element
        self.start = 0  # the address that `last` begins at
        self.last = _NOTHING  # by element, the number of its last write

    def note(self, number: int, array: Array | None, key: Any, recorded: bool) -> None:
        self.unrecorded += not recorded
        self.lines[number] = writing_line()
        settles = number % MANY == 0
        if array is None or (settles and self.unrecorded > len(self.new)):
            self.everything = number
            self.new.clear()
            self.unrecorded = 0
        else:
            self.new.append((number, array, key))
        if settles:
            self._settle()
        if len(self.lines) > 20 * MANY:
            self.lines = dict(list(self.lines.items())[-10 * MANY :])

    def rewind(self, count: int) -> None:
        self.new = [write for write in self.new if write[0] <= count]
        self.everything = min(self.everything, count)
        np.minimum(self.last, count, out=self.last)

    def line(self, number: int) -> str:
        return _said(self.lines[number]) if number in self.lines else ""

    def into(self, value: Array, count: int) -> str | None:
        """By which line ``value`` was written after ``count`` writes; None where it was not."""
        if not value.size:
            return None
        self._settle()
        try:
            found = max(int(self._mirror(value).max(initial=0)), self.everything)
        except ValueError:
            found = max(self.lines, default=0)
        return self.line(found) if found > count else None

    def _settle(self) -> None:
        """Enter what is new by element."""
        for number, array, key in self.new:
            try:
                if array.size:
                    self._mirror(array)[_on_host(key)] = number
            except ValueError:
                self.everything = number
        self.new.clear()
        self.unrecorded = 0

    def _mirror(self, array: Array) -> np.ndarray:
        """The part of ``last`` that lies as ``array`` does; ValueError where elements differ."""
        if not self.last.size:
            self.unit = array.dtype.itemsize
        low, high = _bounds(array)
        begin, end = self.start, self.start + len(self.last) * self.unit
        if not self.last.size or low < begin or high > end:
            begin, end = (min(low, begin), max(high, end)) if self.last.size else (low, high)
            grown = np.zeros(-(-(end - begin) // self.unit), np.int64)
            offset = (self.start - begin) // self.unit if self.last.size else 0
            grown[offset : offset + len(self.last)] = self.last
            self.start, self.last = begin, grown
        address = address_of(array)
        steps = [address - self.start, *strides_of(array)]
        if array.dtype.itemsize != self.unit or any(step % self.unit for step in steps):
            raise ValueError("elements that lie otherwise")
        strides = [8 * (step // self.unit) for step in strides_of(array)]
        first = (address - self.start) // self.unit
        return np.lib.stride_tricks.as_strided(self.last[first:], array.shape, strides)


def _bounds(array: Array) -> tuple[int, int]:
    """The first address of an array, and the one behind its last."""
    low = high = address_of(array)
    for n, stride in zip(array.shape, strides_of(array), strict=True):
        low, high = low + min(0, (n - 1) * stride), high + max(0, (n - 1) * stride)
    return low, high + array.dtype.itemsize


def _on_host(key: Any) -> Any:
    """A key for the log; one that would have to be fetched while a run is captured is all."""
    parts = key if isinstance(key, tuple) else (key,)
    if active.run is not None and any(is_cuda(part) for part in parts):
        return ...
    return tuple([to_numpy(part) if hasattr(part, "ndim") else part for part in parts])


@functools.cache
def _is_no_users(module: str) -> bool:
    return module.partition(".")[0] in NOT_THE_USERS


def writing_line(depth: int = 0) -> Line:
    """File and line of the innermost frame outside of this package, from the caller's on.

    The ``depth`` frames above the caller's are known to be of this package.
    """
    frame: Any = sys._getframe(1 + depth)
    while frame.f_back is not None:
        if not _is_no_users(frame.f_globals.get("__name__", "")):
            break
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


# --- one write ------------------------------------------------------------------------------------


def wrote(tensor: Any, array: Any = None, key: Any = (...,), recorded: bool = False) -> None:
    """Count a write into ``array[key]``, memory of ``tensor``; into anything of it without one.

    No log is kept where the tensor alone knows its version: then no saved value can go bad. What
    counts are references: of the tensor, of this function and of its question.
    """
    version = tensor._version
    version.count += 1
    if recorded or sys.getrefcount(version) > _ALONE:
        version.note(array, key, recorded)


def _known_to_one(tensor: Any) -> int:
    version = tensor._version
    return sys.getrefcount(version)


class _Example:
    def __init__(self) -> None:
        self._version = Version()


_ALONE = _known_to_one(_Example())
