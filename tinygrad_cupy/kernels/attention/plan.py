"""Which attention the kernels are for, and with which tiles."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ...backend import blas

KINDS = {"float32": 0, "bfloat16": 1, "float16": 2}
LEAST_WIDTH, MOST_WIDTH = 16, 128
MOST = 1 << 24  # queries or keys; also the steps of a mask

ATTENTION = np.dtype(
    [
        ("strides", np.int64, 26),
        ("sizes", np.int32, 7),
        ("scale", np.float32),
    ]
)  # as `Attention` in attention.cuh


class Rule(NamedTuple):
    """causal: query i sees keys up to i; scores are products times scale, which is positive."""

    causal: bool
    scale: float


class Tiles(NamedTuple):
    """A configuration of a kernel: see attention.cuh."""

    warps: int
    tall: int
    columns: int
    halves: int
    kept: bool
    blocks: int  # that share a multiprocessor

    @property
    def rows(self) -> int:
        """That a block has."""
        return self.warps * self.tall * 16

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.warps * 32

    @property
    def defines(self) -> tuple[str, ...]:
        """As macros."""
        return (
            f"WARPS={self.warps}",
            f"TALL={self.tall}",
            f"COLUMNS={self.columns}",
            f"HALVES={self.halves}",
            f"KEPT={self.kept:d}",
            f"BLOCKS={self.blocks}",
        )


def suits(dtype: Any, q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Whether the kernels are for operands of a dtype with last axes (L, E), (S, E), (S, V).

    They round float32 to TF32, which the precision "fp32" forbids.
    """
    if dtype.name not in KINDS or (dtype.name == "float32" and blas.get_precision() == "fp32"):
        return False
    width = q[-1]
    return LEAST_WIDTH <= width <= MOST_WIDTH and v[-1] == width and max(q[-2], k[-2]) <= MOST


def padded(width: int) -> int:
    """The width of tiles: a multiple of 32, for eight rows to lie in different banks."""
    return -(-width // 32) * 32


class Head(NamedTuple):
    """What tiles are chosen by: the kind of operands, the head's size, and the kind of mask."""

    kind: int
    width: int
    mask: int
    shared: int  # bytes that a block may have

    @property
    def row(self) -> int:
        """Bytes of a row of a tile."""
        return padded(self.width) * (4 if self.kind == 0 else 2)


class Plan(NamedTuple):
    """Tiles, and the bytes of shared memory that they take."""

    tiles: Tiles
    shared: int


@functools.cache
def forward_plan(head: Head, rows: int) -> Plan:
    """For rows of queries; few rows have blocks of 64 of them."""
    wide = padded(head.width)
    if head.kind == 0:
        columns = 64 if wide <= 64 else 16 if head.mask else 32
        tiles = Tiles(4, 1, columns, 1, wide <= 64, 2 if wide <= 64 else 1)
    else:
        tall = 1 if _few(rows) or wide > 64 else 2
        tiles = Tiles(4, tall, 32 if tall == 2 and head.mask else 64, 1, True, 2)
    return _fitting(head, tiles, own=1, numbers=0)


@functools.cache
def queries_plan(head: Head, rows: int) -> Plan:
    """Of the backward kernel that has rows of queries."""
    wide = padded(head.width)
    if head.kind == 0:
        columns = 32 if wide <= 64 or not head.mask else 16
        tiles = Tiles(4, 1, columns, columns // 16, wide <= 64, 2 if wide <= 64 else 1)
    elif _few(rows) or wide > 64:
        tiles = Tiles(4, 1, 64, 2 if wide <= 64 else 4, True, 2)
    else:
        tiles = Tiles(4, 2, 64, 4, True, 2)
    return _fitting(head, tiles, own=2, numbers=2)


@functools.cache
def keys_plan(head: Head, rows: int) -> Plan:
    """Of the backward kernel that has rows of keys, whatever their number."""
    wide = padded(head.width)
    if head.kind == 0:
        columns = 32 if wide <= 64 or head.mask else 16
        tiles = Tiles(4, 1, columns, columns // 16, False, 2 if wide <= 64 else 1)
    else:
        tiles = Tiles(4, 1, 64, 4 if wide > 64 and head.mask else 2, wide <= 64, 2)
    return _fitting(head, tiles, own=2, numbers=2)


def _few(rows: int) -> bool:
    """Whether blocks of 128 rows would have half as many rows again as there are, or more."""
    return -(-rows // 128) * 128 >= 1.5 * rows


def _fitting(head: Head, tiles: Tiles, own: int, numbers: int) -> Plan:
    """Tiles with fewer columns, where a block has ``own`` matrices of its rows in shared memory.

    Two stages lie behind them, of two tiles and ``numbers`` for each column.
    """
    while True:
        stage = tiles.columns * (2 * head.row + 4 * numbers)
        shared = own * tiles.rows * head.row + 2 * stage
        if shared <= head.shared or tiles.columns == 16:
            return Plan(tiles, shared)
        columns = tiles.columns // 2
        tiles = tiles._replace(columns=columns, halves=min(tiles.halves, columns // 16))


def packed(
    strides: list[tuple[int, ...]],
    mask: tuple[int, ...],
    sizes: tuple[int, int, int, int, int],
    scale: float,
) -> Any:
    """`Attention` in attention.cuh: strides of eight arrays, of the mask, sizes and scale."""
    steps = [step for each in strides for step in each]
    return np.array([((*steps, *mask[:2]), (*mask[2:], *sizes), scale)], ATTENTION)
