"""What one run of a jitted function depends on, and what it leaves behind.

A `Recording` is the `Run` that the engine reports to. From it come the `Guards`, which tell
whether a later call may reuse what this run captured, and the effects that a replay redoes.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..autograd import TensorBase, Version
from ..autograd.memory import NOT_THE_USERS
from ..backend import Array
from ..backend.capture import active, launch_all
from ..tensor import Tensor
from .copies import Copies, Copy
from .guards import Guards, kind_of, reference_to
from .uploads import Upload, match


@dataclass
class LeafGrad:
    """What happened to the gradient of a leaf from outside."""

    leaf: TensorBase
    before: Tensor | None
    read_first: bool  # read before it was set: the run depends on what it was
    entry: Tensor | None = None  # in a capture: memory that `before` is copied to for each replay


class FirstUse(NamedTuple):
    """Where a capture first used a tensor from outside, or wrote one of its own in place."""

    version: Any  # a weak reference
    outside: bool
    shape: tuple[int, ...]
    place: str


class Recording:
    """A run in progress; a context.

    A capture, unlike the eager first call, says with ``like`` where memory comes from that is
    filled before each launch: for an array like the one it is given. ``before`` are the arrays of
    the host that the eager call brought, ``copies`` what it found of weights, see `copies`.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[Any],
        on_gpu: bool,
        like: Callable[..., Array] | None = None,
        before: Sequence[Upload] = (),
        copies: Any = None,
    ) -> None:
        self.name, self.on_gpu, self.like = name, on_gpu, like
        self.capturing = like is not None
        self.own = {id(x._version): x for x in arguments if isinstance(x, TensorBase)}
        self.tensors: dict[int, Any] = {}
        self.attributes: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self.grads: dict[int, LeafGrad] = {}
        self.written: dict[int, tuple[Version, int]] = {}
        self.arrays: list[Array] = []
        self.hosts: list[Upload] = []
        self._before, self._matched = before, 0
        self.copies = Copies(like, copies)
        self.sightings: dict[int, FirstUse] = {}  # by version
        self.copied: set[int] = set()  # versions of the arguments that captured inputs stand for
        self.inputs: set[int] = set()  # ids of the captured inputs that are tensors

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What ``function`` returns, this run being `active` while it does its work.

        No context manager: `KeyboardInterrupt` may be raised at the first step of an ``__exit__``.
        """
        try:
            active.begin(self)
            return function(*args, **kwargs)
        finally:
            active.end()

    # --- what the engine reports ----------------------------------------------------------------

    def is_outside(self, tensor: Any) -> bool:
        """Whether a tensor was made before this run and is no argument of it."""
        if id(tensor._version) in self.copied:
            self.refuse(
                f"a tensor of shape {tensor.shape} is an argument and is used from outside as well",
                "pass it or close over it, not both: a replay works on a copy of its arguments",
            )
        return tensor._version.made_in is not self and id(tensor._version) not in self.own

    def uses(self, tensors: Sequence[Any]) -> None:
        for tensor in tensors:
            if self.on_gpu and isinstance(tensor._facts, np.ndarray):
                self.refuse(
                    "a tensor on the CPU is used, which a replay would not compute again",
                    'make it on the GPU outside, with .to("cuda"), or pass it as an argument',
                )
            if self.is_outside(tensor):
                self.tensors[id(tensor)] = tensor
                self._see(tensor, outside=True)

    def writes(self, tensor: Any) -> None:
        launch_all()
        version = tensor._version
        count = self.written.get(id(version), (version, 0))[1]
        self.written[id(version)] = (version, count + 1)
        self.uses([tensor])
        if version.made_in is self:
            self._see(tensor, outside=False)

    def joins(self, tensor: Any) -> None:
        if tensor._version.made_in is not self:
            self.refuse(
                f"a tensor of shape {tensor.shape} from outside is written with what wants a "
                "gradient, and joins a graph, which a replay would not do again",
                "write it under no_grad(), or write into a .clone() and return that",
            )

    def _see(self, tensor: Any, outside: bool) -> None:
        version = tensor._version
        if self.capturing and id(version) not in self.sightings:
            place = _place(_outer_frames(sys._getframe()))
            sighting = FirstUse(weakref.ref(version), outside, tensor.shape, place)
            self.sightings[id(version)] = sighting

    def reads_grad(self, leaf: Any) -> None:
        if id(leaf) in self.grads or not self._shows_grad(leaf):
            return
        grad = LeafGrad(leaf, leaf._grad, read_first=True)
        self.grads[id(leaf)] = grad
        if grad.before is None:
            return
        if self.like is not None:
            grad.entry = leaf._grad = Tensor._wrap(self.like(grad.before._facts))
        else:
            self.own[id(grad.before._version)] = grad.before

    def sets_grad(self, leaf: Any) -> None:
        if id(leaf) not in self.grads and self._shows_grad(leaf):
            self.grads[id(leaf)] = LeafGrad(leaf, leaf._grad, read_first=False)

    def _shows_grad(self, leaf: Any) -> bool:
        """Whether the caller has this leaf, or in a capture the argument that it stands for."""
        return id(leaf) in self.inputs or self.is_outside(leaf)

    def reads(self, owner: Any, name: str, value: Any) -> None:
        self.attributes.setdefault((id(owner), name), (owner, name, value))

    def keeps(self, array: Any) -> None:
        self.arrays.append(array)

    def narrowed(self, leaf: Any, dtype: Any) -> Copy | None:
        if not self.capturing or not self.is_outside(leaf):
            return None
        return self.copies.of(leaf, dtype, self.has_written(leaf))

    def rewrites(self, leaf: Any) -> Array | None:
        return self.copies.rewrites(leaf)

    def uploads(self, array: Any) -> None:
        remedy = "make the tensor outside and pass it as an argument"
        try:
            found = Upload(np.asarray(array))
        except ValueError as error:
            what = f"values of the host {error} are copied to the GPU, which a replay would not do"
            self.refuse(f"{what} again", remedy)
        if self.capturing:
            place = match(found, self._before, self._matched)
            if place is None:
                self.refuse(
                    f"values of the host, of shape {found.shape}, are copied to the GPU that were "
                    "others in the call before, where a replay would copy the same again",
                    remedy,
                )
            self._matched = place
        self.hosts.append(found)

    def makes(self, what: str) -> None:
        if self.capturing:
            self.refuse(
                f"{what} is first made while the function is captured, and every replay would "
                "begin with it anew",
                "make it before, in a step outside of the function; what a call does may depend on "
                "its arguments, not on how many calls there were",
            )

    def refuse(self, what: str, remedy: str, place: str | None = None) -> NoReturn:
        place = place or _place(_outer_frames(sys._getframe()))
        raise RuntimeError(
            f"[jit] {place}: {what}, inside {self.name}, a jitted function: {remedy}"
        )

    def has_written(self, tensor: Any) -> bool:
        """Whether the memory of a tensor was written in place."""
        return id(tensor._version) in self.written

    # --- what came of it ------------------------------------------------------------------------

    def forget_grads(self) -> None:
        """Give every leaf the gradient that it had before."""
        for grad in self.grads.values():
            grad.leaf._grad = grad.before

    def finish(self, left: Collection[Version] = ()) -> Guards:
        """The guards of this run, which lets go of all tensors. Ones that die then were temporary.

        Those that live on are expected to: when one dies, somebody has put another in its place.
        A capture says what it has ``left`` for the caller; state that it would lose is refused.
        """
        seen = [
            (weakref.ref(x), x._facts if self.capturing else None, x.requires_grad)
            for x in self.tensors.values()
        ]
        self.arrays += [x._facts for x in self.tensors.values()] if self.capturing else []
        owners = [(reference_to(o), name, value) for o, name, value in self.attributes.values()]
        grads = [
            (weakref.ref(grad.leaf), kind_of(grad.before))
            for grad in self.grads.values()
            if grad.read_first and id(grad.leaf) not in self.inputs  # these are of the signature
        ]
        for collection in (self.tensors, self.attributes, self.grads, self.own, self.written):
            collection.clear()
        # The capture has them; this lives on in `made_in` of what it made.
        hosts, self.hosts, self.arrays, self.copies = self.hosts, [], [], Copies(None)
        self._refuse_lost_state(left)
        return Guards(
            [one for one in seen if one[0]() is not None],
            [one for one in owners if one[0]() is not None],
            [one for one in grads if one[0]() is not None],
            [one for one in hosts if one.outlives],
        )

    def _refuse_lost_state(self, left: Collection[Version]) -> None:
        """Of what a capture used and wrote, nothing may have been state of which replays know not.

        A tensor from outside that is gone was replaced by another, which no replay would see. One
        that was made and written in place, and lives on, is written on from there by later calls.
        """
        known = {id(version) for version in left}
        for version, outside, shape, place in self.sightings.values():
            there = version()
            if outside and there is None:
                self.refuse(
                    f"a tensor of shape {shape} from outside is used and not there any more after "
                    "the call, where every replay would use it again",
                    "write what comes next into it, with .assign_(), or pass it as an argument",
                    place,
                )
            if not outside and there is not None and id(there) not in known:
                self.refuse(
                    f"a tensor of shape {shape} is made, written in place and kept, where every "
                    "replay would begin with it anew",
                    "make it outside of the function",
                    place,
                )


# --- where in the user's program ------------------------------------------------------------------


def place_of(error: BaseException) -> str:
    """FILE:LINE of the last frame outside of this package and CuPy that the error went through."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return _place(reversed(frames))


def _outer_frames(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def _place(frames: Iterator[tuple[FrameType, int]]) -> str:
    for frame, line in frames:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in NOT_THE_USERS:
            return f"{frame.f_code.co_filename}:{line}"
    return "inside tinygrad_cupy"
