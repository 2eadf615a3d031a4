"""Orders of elements: NaN last, whatever its sign; -0 and 0 are equal. Equal ones stay in order."""

from __future__ import annotations

from ...backend import Array, kernel
from . import cpu, cuda

Places = tuple[int, ...]


@kernel(cpu=cpu.sort, cuda=cuda.sort)
def sort(x: Array, axis: int) -> Array:
    """x in ascending order along ``axis``."""


@kernel(cpu=cpu.argsort, cuda=cuda.argsort)
def argsort(x: Array, axis: int) -> Array:
    """Where the elements in ascending order stand, in a stable order."""


@kernel(cpu=cpu.sort_and_order, cuda=cuda.sort_and_order)
def sort_and_order(x: Array, axis: int) -> tuple[Array, Array]:
    """What `sort` and `argsort` give."""


@kernel(cpu=cpu.partition, cuda=cuda.partition)
def partition(x: Array, places: Places, axis: int) -> Array:
    """x with each of ``places`` along ``axis`` as if sorted, less in front; on a GPU sorted."""


@kernel(cpu=cpu.argpartition, cuda=cuda.argpartition)
def argpartition(x: Array, places: Places, axis: int) -> Array:
    """Where the elements of `partition` stand."""


@kernel(cpu=cpu.argtopk, cuda=cuda.argtopk)
def argtopk(x: Array, k: int, axis: int, largest: bool) -> Array:
    """Where the k largest or smallest elements along ``axis`` stand, the most extreme first."""


@kernel(cpu=cpu.search, cuda=cuda.search)
def search(a: Array, v: Array, right: bool, rows: int) -> Array:
    """Where in each ascending a (rows, n) those of v (rows, …) belong, behind equal ones if right.

    a and v are of one dtype.
    """
