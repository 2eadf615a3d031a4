"""Which attention the kernels of wgmma are for, and with which tiles."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.gpu import GpuProperties
from .plan import KINDS

SHORT = 64  # queries or keys of which blocks of 128 would be half empty
ALIGNED = 1024  # bytes, where tiles begin
TOGETHER = 4  # heads whose gradients are added up at a time: what they read stays in the cache


class Tiles(NamedTuple):
    """A configuration of a kernel: see wgmma.cuh.

    ``groups`` of 64 rows multiply what ``copiers`` copy: tiles of ``across`` rows, keys forward and
    queries backward.
    """

    width: int
    groups: int
    across: int
    stages: int
    copiers: int

    @property
    def own(self) -> int:
        """Rows that a block has."""
        return self.groups * 64

    @property
    def threads(self) -> int:
        """Of a block: its registers are those of whole warpgroups."""
        return self.groups * 128 + 128

    @property
    def defines(self) -> tuple[str, ...]:
        """As macros."""
        return (
            f"WIDTH={self.width}",
            f"GROUPS={self.groups}",
            f"ACROSS={self.across}",
            f"STAGES={self.stages}",
            f"COPIERS={self.copiers}",
        )


class Plan(NamedTuple):
    """Tiles, and the bytes of shared memory that they take."""

    tiles: Tiles
    shared: int


def suits(dtype: str, queries: int, keys: int, masked: bool, gpu: GpuProperties) -> bool:
    """Whether they are for operands that `plan.suits` allows: 16 bits, no mask, not too short."""
    return gpu.wgmma and KINDS[dtype] > 0 and not masked and min(queries, keys) > SHORT


def forward_plan(width: int, queries: int) -> Plan:
    """Small heads leave registers for blocks of 192 queries, where those are not too empty."""
    wide = _padded(width)
    many = wide == 64 and -(-queries // 192) * 192 <= 1.25 * queries
    tiles = Tiles(wide, 3 if many else 2, 128, 4, 128)
    row = 2 * wide
    return Plan(tiles, _bytes(tiles, tiles.own * row, tiles.across * row))


def backward_plan(width: int) -> Plan:
    """A block's part of the gradient by queries is 128 times 64 numbers."""
    wide = _padded(width)
    tiles = Tiles(wide, 2, 64 if wide == 128 else 128, 3, 64)
    row = 2 * wide
    own = 2 * tiles.own * row + 2 * tiles.own * tiles.across * 2
    return Plan(tiles, _bytes(tiles, own, 2 * tiles.across * row + ALIGNED))


def _padded(width: int) -> int:
    return 64 if width <= 64 else 128


def _bytes(tiles: Tiles, own: int, stage: int) -> int:
    """Of what a block has of its own, the ring's stages, and barriers, behind some to align."""
    return ALIGNED + own + tiles.stages * (stage + 32) + 16
