"""What a GPU has, as far as kernels are cut to fit it."""

from __future__ import annotations

import functools
from typing import NamedTuple

from .arrays import Array, import_cupy


class GpuProperties(NamedTuple):
    """What the GPU has: multiprocessors, shared memory of a block, TF32 on tensor cores.

    ``wgmma``: the instruction by which four warps use tensor cores together, Hopper's alone.
    """

    processors: int
    shared: int
    tensor_cores: bool
    wgmma: bool


@functools.cache
def _properties_of(device: int) -> GpuProperties:
    properties = import_cupy().cuda.runtime.getDeviceProperties(device)
    return GpuProperties(
        properties["multiProcessorCount"],
        properties["sharedMemPerBlockOptin"],
        properties["major"] >= 8,
        properties["major"] == 9,
    )


def properties_of(array: Array) -> GpuProperties:
    """What the GPU that holds ``array`` has."""
    return _properties_of(array.data.device_id)


def device_properties(device: str) -> GpuProperties:
    """What the GPU of this name has, "cuda:0" say."""
    return _properties_of(int(device.partition(":")[2]))
