"""Weights in 16 bits that a captured step keeps from one call to the next.

Under `autocast` a step begins by casting its weights down, and ends with an optimizer that writes
them. Its kernel can write them in 16 bits as well. So a capture has memory for these copies, which
its graph reads and the optimizer's kernel in it writes; nothing is cast. A copy is right as long as
nobody else writes the weight, and the weight's version tells: where somebody did, by ``assign_``,
`load_state_dict` or another step, a replay casts it first.

Which weights those are is known from the eager call: such that an optimizer was the last to write.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..backend import Array
from ..backend.devices import copy

Written = tuple[Any, int]  # a leaf's version, another one with new memory, and its writes


def written(leaf: Any) -> Written:
    """What a leaf holds now, as far as it can be told without reading it."""
    return leaf._version, leaf._version.count


class Copy:
    """A leaf in 16 bits, in a capture's memory; right while it holds that (None: it is not)."""

    def __init__(self, leaf: Any, array: Array) -> None:
        self.leaf, self.array = weakref.ref(leaf), array
        self.right_of: Written | None = written(leaf)
        self.versions: list[Any] = []  # of tensors that are this array

    def rewritten(self, leaf: Any) -> Array:
        """The array, which a kernel that wrote the leaf writes as well."""
        for version in self.versions:  # a backward that still reads them raises
            version.count += 1
        self.right_of = written(leaf)
        return self.array

    def settle(self) -> None:
        """The captured run is over, and has not happened yet."""
        leaf = self.leaf()
        self.lasts = leaf is not None and self.right_of == written(leaf)
        self.right_of, self.versions = None, []

    def refresh(self) -> None:
        """A replay is about to begin."""
        leaf = self.leaf()
        if leaf is not None and self.right_of != written(leaf):
            copy(leaf.detach().astype(self.array.dtype).data, self.array)

    def replayed(self) -> None:
        """A replay has written leaf and copy, and their versions are counted."""
        leaf = self.leaf()
        self.right_of = written(leaf) if self.lasts and leaf is not None else None


class Copies:
    """What a `Recording` knows of copies.

    ``like`` gives a capture memory; ``before`` is what the eager call found, see `found`.
    """

    def __init__(
        self,
        like: Callable[..., Array] | None,
        before: dict[int, tuple[Any, Written]] | None = None,
    ) -> None:
        self.like, self.before = like, before or {}
        self.written: dict[int, tuple[Any, Written]] = {}  # leaves, as an optimizer left them
        self.made: dict[int, Copy] = {}

    def found(self) -> dict[int, tuple[Any, Written]]:
        """Of an eager run: leaves that an optimizer was the last to write."""
        return {
            key: (leaf, then)
            for key, (leaf, then) in self.written.items()
            if leaf() is not None and written(leaf()) == then
        }

    def of(self, leaf: Any, dtype: Any, is_written: bool) -> Copy | None:
        """The copy of a leaf in a dtype, if there is one that is right at this place of the run.

        ``is_written``: in this run, by whomever.
        """
        made = self.made.get(id(leaf))
        if made is None:
            known = self.before.get(id(leaf))
            if self.like is None or known is None or known[0]() is not leaf or is_written:
                return None
            made = self.made[id(leaf)] = Copy(leaf, self.like(leaf._facts, dtype))
        is_right = made.right_of == written(leaf) and made.array.dtype == dtype
        return made if is_right else None

    def rewrites(self, leaf: Any) -> Array | None:
        """Where an optimizer's kernel that writes a leaf writes it in 16 bits; None for nowhere."""
        self.written[id(leaf)] = weakref.ref(leaf), written(leaf)
        made = self.made.get(id(leaf))
        return None if made is None else made.rewritten(leaf)
