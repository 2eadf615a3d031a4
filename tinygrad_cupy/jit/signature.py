"""What tells one way of calling a jitted function from another."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Any

from ..autograd import TensorBase
from ..autograd.autocast import cast_to
from ..autograd.mode import is_grad_enabled
from ..backend import default_device
from ..backend.blas import get_precision
from ..backend.devices import device_number
from ..backend.ranks import ranks
from .guards import kind_of, wants_gradient
from .replay import array_of


def name_to_pickle(jitted: Any) -> str | None:
    """The name by which pickle finds a decorated function in its module again, if it does."""
    found: Any = sys.modules.get(str(getattr(jitted, "__module__", "")))
    for part in str(getattr(jitted, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
    return str(jitted.__qualname__) if found is jitted else None


def name_of(function: Any) -> str:
    """What errors call a function."""
    return str(getattr(function, "__name__", type(function).__name__))


def default_number() -> int:
    """The number of the default CUDA device; -1 for the CPU."""
    return int(default_device().partition(":")[2] or -1)


def place_of_call(leaves: list[Any], name: str) -> str:
    """Where a call runs: "cuda", "cpu", or "cpu beside cuda" when it must not go to the GPU."""
    numbers = {device_number(array_of(x)) for x in leaves} or {default_number()}
    if len(numbers) > 1:
        places = " and ".join("cpu" if n < 0 else f"cuda:{n}" for n in sorted(numbers))
        raise ValueError(
            f"[jit] expected the arguments of {name} on one device, got {places}; move one with "
            ".to(device)"
        )
    if numbers != {-1}:
        return "cuda"
    return "cpu" if default_device() == "cpu" else "cpu beside cuda"


def signature_of(leaf: Any) -> Hashable:
    """What must be equal of an argument where a capture is to stand for a call."""
    array = array_of(leaf)
    layout = None if array.flags.c_contiguous else array.strides
    facts = (array.shape, array.dtype, device_number(array), layout)
    if not isinstance(leaf, TensorBase):
        return facts
    computed = leaf._node is not None or leaf._version.recorded  # else it is a leaf anyhow
    if computed and not leaf.is_leaf and is_grad_enabled():
        raise RuntimeError(
            f"[jit] an argument of shape {leaf.shape} is part of a graph, which a captured "
            "function cannot send its gradient on to: pass its .detach()"
        )
    return (*facts, wants_gradient(leaf), kind_of(leaf._grad))


def circumstances() -> tuple[Hashable, ...]:
    """What must be equal of this thread's modes."""
    return is_grad_enabled(), get_precision(), cast_to(), default_device(), ranks.share
