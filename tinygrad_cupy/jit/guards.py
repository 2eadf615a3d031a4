"""What a captured run depended on, and whether a later call may stand for it."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..backend import Array, device_of
from .uploads import Upload


class Match(Enum):
    """Whether a capture may stand for a call."""

    FITS = "fits"
    DIFFERS = "differs"  # not for this one; perhaps for another
    OUTDATED = "outdated"  # for none any more


@dataclass
class Guards:
    """What a run depended on beside its arguments; owners are held weakly."""

    tensors: list[tuple[Any, Array | None, bool]]  # tensor, its array if captured, requires_grad
    attributes: list[tuple[Any, str, Any]]  # owner, name, value
    grads: list[tuple[Any, Hashable]]  # leaf whose gradient was read, and `kind_of` what it was
    hosts: list[Upload]  # arrays of the host that outlived the call

    def check(self) -> Match:
        """Whether what the run depended on is as it was."""
        for reference, array, requires_grad in self.tensors:
            tensor = reference()
            if tensor is None or (array is not None and tensor.data is not array):
                return Match.OUTDATED
            # As `wants_gradient`, which this is asked of every parameter for.
            wanted = tensor.requires_grad if tensor._version.recorded else tensor._requires_grad
            if wanted is not requires_grad:
                return Match.DIFFERS
        for reference, name, value in self.attributes:
            owner = reference()
            if owner is None:
                return Match.OUTDATED
            now = getattr(owner, name)
            if now is not value and not _same_number(now, value):
                return Match.DIFFERS
        for host in self.hosts:
            if not host.outlives:
                return Match.OUTDATED
            if host.changed:
                return Match.DIFFERS
        for reference, kind in self.grads:
            leaf = reference()
            if leaf is None:
                return Match.OUTDATED
            if kind_of(leaf._grad) != kind:
                return Match.DIFFERS
        return Match.FITS


def wants_gradient(tensor: Any) -> bool:
    """``tensor.requires_grad``, in less time where no write may have changed it."""
    wanted: bool = tensor.requires_grad if tensor._version.recorded else tensor._requires_grad
    return wanted


def kind_of(grad: Any) -> Hashable:
    """Whether there is a gradient, and what a capture for it fits: its shape, dtype and device."""
    return None if grad is None else (grad.shape, grad.data.dtype, device_of(grad.data))


def _same_number(a: Any, b: Any) -> bool:
    return type(a) is type(b) and isinstance(a, bool | int | float | str) and a == b


def reference_to(owner: Any) -> Any:
    """A weak reference, or for what has none (an object with slots) a strong one."""
    try:
        return weakref.ref(owner)
    except TypeError:
        return lambda: owner
