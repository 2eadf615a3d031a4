"""What the engine tells a function that is running under `jit`.

`active.run` is the run in progress in this thread, or None. The engine reports to it what a later
replay depends on (tensors from outside, flags that were read) and what a replay has to redo
(gradients set, tensors written), and asks it before it moves values between host and device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Run(Protocol):
    """A run of a function whose work is, or will be, captured."""

    def uses(self, tensors: Sequence[Any]) -> None:
        """An operation reads these tensors."""

    def writes(self, tensor: Any) -> None:
        """The memory of this tensor was written in place."""

    def joins(self, tensor: Any) -> None:
        """This tensor is about to be written with what wants a gradient: it joins the graph."""

    def reads_grad(self, leaf: Any) -> None:
        """``leaf.grad`` is about to be read."""

    def sets_grad(self, leaf: Any) -> None:
        """``leaf.grad`` is about to be set."""

    def is_outside(self, tensor: Any) -> bool:
        """Whether a tensor was made before this run and is no argument of it."""

    def reads(self, owner: Any, name: str, value: Any) -> None:
        """The run depends on an attribute, which was ``value``."""

    def keeps(self, array: Any) -> None:
        """The run uses this array's memory."""

    def narrowed(self, leaf: Any, dtype: Any) -> Any:
        """The copy of a leaf in 16 bits that is kept from replay to replay, or None."""

    def rewrites(self, leaf: Any) -> Any:
        """A kernel writes this leaf, and where told to in 16 bits as well: where, or None."""

    def uploads(self, array: Any) -> None:
        """This array of the host is about to be copied to a GPU."""

    def makes(self, what: str) -> None:
        """State that lasts from call to call is about to be made."""

    def refuse(self, what: str, remedy: str) -> None:
        """Raise: this cannot be captured."""


class Inside:
    """A run or a transform in progress, as memory that is made in it remembers it."""

    __slots__ = ("outer", "run")

    def __init__(self, run: Run | None, outer: Inside | None) -> None:
        self.run = run
        self.outer = outer

    def within(self, other: Inside) -> bool:
        """Whether this is ``other`` or in progress inside of it."""
        one: Inside | None = self
        while one is not None and one is not other:
            one = one.outer
        return one is not None


class _Active(threading.local):
    run: Run | None = None
    level: Any = None  # the innermost `autograd.levels.Level`: a transform in progress
    inside: Inside | None = None  # the innermost of either
    cast: Any = None  # `autograd.autocast.Casts`
    chains: Any = None  # `autograd.chains.Chains` of a capture: operations not launched yet
    busy = False  # whether there is any of these: what every operation asks

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("run", "level", "cast"):
            busy = self.run is not None or self.level is not None or self.cast is not None
            super().__setattr__("busy", busy)

    def begin(self, run: Run) -> None:
        """`run` is in progress from now on."""
        self.run = run
        self.inside = Inside(run, self.inside)

    def end(self) -> None:
        """No run is in progress any more."""
        self.run = None
        self.inside = None if self.level is None else self.level.inside


active = _Active()


_lasting: list[Callable[[int], None]] = []  # make, on a GPU by number, what lasts


def prepares(make: Callable[[int], None]) -> Callable[[int], None]:
    """Decorate a function that makes state which lasts (random streams, say) on a GPU.

    It is called before anything is captured there: made inside, every replay would begin anew.
    """
    _lasting.append(make)
    return make


def prepare(device: int) -> None:
    """Have all that lasts made on a GPU."""
    for make in _lasting:
        make(device)


def observe(owner: Any, *names: str) -> None:
    """Say that what runs now depends on these attributes of ``owner``.

    When one of them is another object or number at a later call, a jitted function is captured
    anew. For values that a kernel is given by the host, such as an optimizer's ``beta1``.
    """
    if active.run is not None:
        for name in names:
            active.run.reads(owner, name, getattr(owner, name))
        launch_all()


def use(*tensors: Any) -> None:
    """Say that what runs now reads these tensors, and does not pass them to an operation."""
    if active.run is not None:
        active.run.uses(tensors)
        launch_all()


def keep(*arrays: Any) -> None:
    """Say that what runs now reads or writes the memory of these arrays, which no tensor holds."""
    if active.run is not None:
        for array in arrays:
            active.run.keeps(array)
        launch_all()


def narrowed(leaf: Any, dtype: Any) -> Any:
    """The copy of a leaf in 16 bits that a captured run keeps, see `jit.copies`, or None.

    Its ``array`` is what it says; whoever makes a tensor of that adds its version to ``versions``.
    """
    return None if active.run is None else active.run.narrowed(leaf, dtype)


def rewrites(leaf: Any) -> Any:
    """Where a kernel that has written a leaf, as is counted, writes it in 16 bits, or None."""
    return None if active.run is None else active.run.rewrites(leaf)


def launch_all() -> None:
    """Have everything launched that waits in a chain: memory is about to be read or written."""
    if active.chains is not None:
        active.chains.launch_all()


def first_made(what: str) -> None:
    """Say that ``what``, which lasts from call to call, is made now: an optimizer's moments, say.

    A capture refuses: each of its replays would make it again.
    """
    if active.run is not None:
        active.run.makes(what)


def refuse_read() -> None:
    """Called before values of a GPU are copied to the host."""
    if active.run is not None:
        active.run.refuse(
            "values are read on the host",
            "return the tensor from the function and read it there",
        )


def upload(array: Any) -> None:
    """Called before an array of the host is copied to a GPU, where a capture may keep the copy."""
    if active.run is not None:
        active.run.uploads(array)


def refuse_upload() -> None:
    """Called before values of the host are copied to a GPU in a way that no capture may keep."""
    if active.run is not None:
        active.run.refuse(
            "values of the host are copied to the GPU, which a replay would not do again",
            "make the tensor outside and pass it as an argument",
        )


def refuse_size(what: str) -> None:
    """Called before something is made on a GPU whose size depends on values: ``nonzero``, say."""
    if active.run is not None:
        active.run.refuse(
            f"the size of what {what} gives depends on values",
            "use where, or weights of 0 and 1, which keep the shape",
        )
