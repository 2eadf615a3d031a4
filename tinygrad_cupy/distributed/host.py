"""What ranks do together on the CPU: through MPI, or through the hub where there is none.

A sum is taken in the order of the ranks whatever MPI's own algorithms do, so that the same ranks
give the same bits run after run, and all ranks the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array
from .hub import Client

SMALL = 1 << 15  # bytes of all ranks together that are sent to each as they are
PIECE = 1 << 28  # bytes that go in one call: MPI counts to 2³¹
UFUNCS = {"sum": np.add, "max": np.maximum, "min": np.minimum}


class Host:
    """What both have: reductions from gathered parts."""

    size: int
    rank: int

    def all_gather(self, array: Array) -> Array:
        """(size, *shape) of arrays of one shape."""
        raise NotImplementedError

    def all_reduce(self, array: Array, operation: str) -> Array:
        """The sum, max or min over the ranks, in new memory."""
        return _reduced(self.all_gather(array), operation)

    def all_reduce_into(self, array: Array, out: Array, operation: str = "sum") -> None:
        """The same in memory that is there, which may be the array's own."""
        out[...] = self.all_reduce(array, operation)

    def reduce_scatter(self, array: Array, operation: str) -> Array:
        """Of arrays (size, *shape) the part of this rank, reduced over all."""
        return self.all_reduce(array, operation)[self.rank].copy()

    def broadcast(self, array: Array, root: int) -> Array:
        """The array of rank `root`."""
        return self.all_gather(array)[root].copy()

    def close(self) -> None:
        """Nothing is held."""


class Mpi(Host):
    """Through mpi4py."""

    def __init__(self, communicator: Any, size: int, rank: int) -> None:
        self.communicator, self.size, self.rank = communicator, size, rank

    def all_gather(self, array: Array) -> Array:
        array = np.ascontiguousarray(array)
        out = np.empty((self.size, *array.shape), array.dtype)
        if array.nbytes:
            self.communicator.Allgather(_bytes(array), _bytes(out))
        return out

    def all_reduce(self, array: Array, operation: str) -> Array:
        array = np.ascontiguousarray(array)
        if array.nbytes * self.size <= SMALL:
            return _reduced(self.all_gather(array), operation)
        flat, out = array.reshape(-1), np.empty(array.size, array.dtype)
        each = max(PIECE // array.itemsize, 1)
        for start in range(0, flat.size, each):
            out[start : start + each] = self._reduced_piece(flat[start : start + each], operation)
        return out.reshape(array.shape)

    def _reduced_piece(self, flat: Array, operation: str) -> Array:
        """Each rank reduces a part, then gives it to all."""
        part = -(-flat.size // self.size)
        parts = np.zeros((self.size, part), flat.dtype)
        parts.reshape(-1)[: flat.size] = flat
        return self.all_gather(self.reduce_scatter(parts, operation)).reshape(-1)[: flat.size]

    def reduce_scatter(self, array: Array, operation: str) -> Array:
        array = np.ascontiguousarray(array)
        mine = np.empty_like(array)
        if array.nbytes:
            self.communicator.Alltoall(_bytes(array), _bytes(mine))
        return _reduced(mine, operation)

    def broadcast(self, array: Array, root: int) -> Array:
        out = np.array(array, order="C", copy=True)
        flat = _bytes(out)
        for start in range(0, flat.size, PIECE):
            self.communicator.Bcast(flat[start : start + PIECE], root)
        return out


class ByHub(Host):
    """Through rank 0's hub: for tests and small things, where there is no MPI."""

    def __init__(self, client: Client, size: int, rank: int) -> None:
        self.client, self.size, self.rank = client, size, rank

    def all_gather(self, array: Array) -> Array:
        return np.stack(self.client.exchange(self.client.last, np.asarray(array)))


def _bytes(array: Array) -> Array:
    """Memory as bytes, which MPI need not know the dtype of."""
    return array.reshape(-1).view(np.uint8)


def _reduced(parts: Array, operation: str) -> Array:
    """Over axis 0, in its order."""
    ufunc, out = UFUNCS[operation], parts[0].copy()
    for part in parts[1:]:
        ufunc(out, part, out=out)
    return out
