"""What a GPU has, as far as kernels are cut to fit it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from .arrays import Array, import_cupy


class Limits(NamedTuple):
    """What the GPU has: multiprocessors, shared memory of a block, TF32 on tensor cores.

    ``groups``: tensor cores that four warps use together, which only Hopper's code can say (wgmma).
    """

    processors: int
    shared: int
    tensor_cores: bool
    groups: bool


@functools.cache
def _limits_of(device: int) -> Limits:
    properties = import_cupy().cuda.runtime.getDeviceProperties(device)
    return Limits(
        properties["multiProcessorCount"],
        properties["sharedMemPerBlockOptin"],
        properties["major"] >= 8,
        properties["major"] == 9,
    )


def limits_of(array: Array) -> Limits:
    """The limits of the GPU that holds ``array``."""
    return _limits_of(array.data.device_id)
