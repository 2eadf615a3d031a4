"""Steps of recurrent layers that make their product themselves, in TF32: the kernels in fused.cu.

A small product takes a library as long as its launches do, and often two of them: one that adds up
what blocks have of a sum. Here a step is one launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...backend import Array, CudaSource, blas, int32s
from ...backend.gpu import properties_of
from ..common.headers import BITS, TENSOR_CORES, VECTOR

TILE = 16  # rows and features of a block
THREADS = TILE * TILE
RESIDENT = 2  # blocks of a multiprocessor: with more of them, a library shares what is read better

_kernels = CudaSource(
    *(__file__, VECTOR, BITS, TENSOR_CORES, "steps.cuh", "fused.cu"),
    threads=THREADS,
    defines=(f"TILE={TILE}", "TYPE=float", "ACC=float", "WIDTH=1", "KIND=0"),
)


def suits(state: Array, terms: int, parts: int) -> bool:
    """Whether products of ``terms`` terms, ``parts`` for each of a state's features, are for this.

    For float32 that may be rounded (to TF32, also where bfloat16 would do: what is multiplied is
    not what takes the time), where all that a block multiplies fits into shared memory, and all
    blocks are at work at once.
    """
    if state.dtype != np.float32 or state.shape[1] % 4 or blas.get_precision() == "fp32":
        return False
    gpu = properties_of(state)
    fits = _shared(terms, parts) <= gpu.shared and _blocks(state) <= RESIDENT * gpu.processors
    return gpu.tensor_cores and fits


def step(
    name: str, given: Sequence[Any], state: Array, terms: int, parts: int
) -> Callable[..., None]:
    """What launches the kernel ``name`` for step t, told the one before, and backward the next."""
    numbers = int32s(*state.shape, _pitch(terms))
    blocks, shared = _blocks(state), _shared(terms, parts)
    arguments = *given, *numbers

    def launch(*times: int) -> None:
        _kernels.launch(name, blocks, (*arguments, *int32s(*times)), THREADS, shared)

    return launch


def _blocks(state: Array) -> int:
    rows: int
    size: int
    rows, size = state.shape
    return -(-rows // TILE) * -(-size // TILE)


def _pitch(terms: int) -> int:
    """Bytes from row to row in shared memory: eight rows begin in different banks."""
    return -(-4 * terms // 128) * 128 + 16


def _shared(terms: int, parts: int) -> int:
    """Bytes: what is multiplied, and later the sums of eight warps."""
    return max((1 + parts) * TILE * _pitch(terms), parts * 8 * THREADS * 4)
