"""Values that leave the graph where NumPy or Python does not let us record it.

``float(x)`` and ``math.exp(x)`` give plain numbers, ``np.array([x[0], y])`` and ``np.asarray(x)``
plain arrays: what is computed from them has no gradient, and nothing would say so. Where the value
carries one, a warning does, once for each place in the user's code. ``x.item()``, ``x.numpy()`` and
``x.detach()`` are how to say that it is meant.
"""

from __future__ import annotations

import dis
import functools
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any

from ..autograd import TensorBase
from ..autograd.levels import Tracer
from ..autograd.mode import mode
from ..autograd.tensor_base import PACKAGE


class GradientDroppedWarning(UserWarning):
    """A value that carries a gradient became a number or an array of NumPy's, which carries none.

    Where that is meant, say ``.item()`` or ``.detach()``, or do it under ``no_grad()``.
    """


def warn_of_number(x: TensorBase, how: str) -> None:
    """Say that ``how``, float() or int(), takes x out of a graph that may still be wanted.

    Not where nothing is recorded, nor when a backward pass has used the graph up.
    """
    _warn(
        x,
        f"[Tensor] {how} takes a value that carries a gradient out of the graph: what is computed "
        "from the number has no gradient. Compute with tensors (x.exp(), not math.exp(x)), or, "
        "where the number is meant, say x.item(), or x.detach() before",
        again=_arrays,
    )


def warn_of_array(x: TensorBase) -> None:
    """As `warn_of_number`, of an array that somebody has NumPy make of x."""
    _arrays[:] = _warn(
        x,
        "[Tensor] a NumPy array is made of a value that carries a gradient: what is computed from "
        "the array has no gradient. Call NumPy's functions with the tensor itself, make arrays of "
        "tensors with tinygrad_cupy.numpy (tg.numpy.array([x[0], y])), or, where the values are "
        "meant, say x.detach() before",
    )


# Where the last array was made of such a value: NumPy asks for some elements' numbers there, too.
_arrays: list[Any] = []


def _warn(x: TensorBase, text: str, again: Sequence[Any] = ()) -> tuple[Any, ...]:
    """Warn at the user's place, which is returned; not where that is ``again`` the one."""
    if not (mode.recording and carries_gradient(x)) or _used_up(x):
        return ()
    depth, frame = _users_frame(sys._getframe(2))
    place = (frame.f_code, frame.f_lasti)
    if place != tuple(again):
        warnings.warn(text, GradientDroppedWarning, stacklevel=depth + 2)
    return place


def _used_up(x: TensorBase) -> bool:
    return x._node is not None and x._node._saved is None


def carries_gradient(x: TensorBase) -> bool:
    """Whether operations on x are recorded, or give more than values: inside of a transform."""
    return (x.requires_grad and mode.recording) or isinstance(x, Tracer)


# --- where in the user's program ------------------------------------------------------------------


_CALLERS = ("scipy", "matplotlib")  # make arrays of what they are given


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_users(frame: FrameType) -> bool:
    return _package(frame) not in (PACKAGE, "numpy", "cupy")


def _users_frame(frame: FrameType) -> tuple[int, FrameType]:
    """How many frames from ``frame`` on it takes to the user's code, and its frame."""
    depth = 1
    while frame.f_back is not None and (not _is_users(frame) or _package(frame) in _CALLERS):
        frame, depth = frame.f_back, depth + 1
    return depth, frame


def in_augmented_assignment() -> bool:
    """Whether the user's line at work is one like ``array += tensor``.

    To us it looks like ``np.add(array, tensor, out=array)``, but it gives the name ``array`` to
    what we return.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_users(frame):
        frame = frame.f_back
    if frame is None:
        return False
    code, place = frame.f_code.co_code, frame.f_lasti
    return (code[place], code[place + 1]) in _augmented()


@functools.cache
def _augmented() -> set[tuple[int, int]]:
    """The byte codes of ``a += b`` and the like, with their arguments."""
    found = set()
    for sign in ("+=", "-=", "*=", "/=", "//=", "%=", "**=", "@=", "&=", "|=", "^=", "<<=", ">>="):
        for step in dis.get_instructions(compile(f"a {sign} b", "", "exec")):
            if step.opname == "BINARY_OP":
                found.add((step.opcode, step.arg or 0))
    return found
