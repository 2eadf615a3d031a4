"""Arrays of the host that a jitted function brings to a GPU: small ones, the same in every call.

A capture keeps a copy of each on the device, as it keeps a number. That is right as long as the
values stay: the first, eager call and the captured one must bring the same, and those of an array
that outlives the call, which others may write, are compared before each replay. An array that dies
with its call is taken to be made alike by the next: what first differs in a third call is not seen,
as of a Python number.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.arrays import LINE

MOST = 1 << 20  # bytes of one: more is data, which an argument brings


class Upload:
    """One array as it was.

    Raises ValueError, which says why, for one whose values could change unnoticed.
    """

    def __init__(self, array: np.ndarray) -> None:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        is_whole = owner.nbytes <= array.nbytes + LINE  # but for what it was aligned by
        if array.nbytes > MOST or (owner.nbytes > MOST and not is_whole):
            raise ValueError(f"of more than {MOST:,} bytes")
        if not isinstance(owner.base, bytes | None):  # of another library: nobody knows who writes
            raise ValueError("in memory of another object than an array")
        self._owner = weakref.ref(owner)
        self._of_owner = owner.copy()
        self._values = self._of_owner if owner is array else array.copy()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self._values.shape

    @property
    def outlives(self) -> bool:
        """Whether the array, or the one that it is a view of, is still there."""
        return self._owner() is not None

    @property
    def changed(self) -> bool:
        """Whether an array that is still there holds other values now."""
        owner: Any = self._owner()
        return not _same(owner, self._of_owner)

    def brings(self, other: Upload) -> bool:
        """Whether both are of the same values."""
        return _same(self._values, other._values)


def match(upload: Upload, before: Sequence[Upload], start: int) -> int | None:
    """The place behind the one, from `start` on, that brings the same; None where there is none.

    Some of the call before may be missing: what it made first and kept.
    """
    for place in range(start, len(before)):
        if before[place].brings(upload):
            return place + 1
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """To the bit: NaN is equal to itself, and 0 is not -0."""
    alike = a.shape == b.shape and a.dtype == b.dtype
    return alike and a.tobytes() == b.tobytes()
