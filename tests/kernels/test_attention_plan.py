"""Which kernels attention gets, and that a multiprocessor of Hopper has room for their blocks."""

from __future__ import annotations

import pytest

from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.attention import wgmma_plan

HOPPER = GpuProperties(132, 227 << 10, True, True)
REGISTERS, WARP_REGISTERS = 1 << 16, 256  # of a multiprocessor; what a warp gets a multiple of


def test_wgmma_is_for_long_16_bit_operands_on_hopper() -> None:
    assert wgmma_plan.suits("bfloat16", 65, 65, False, HOPPER)
    assert wgmma_plan.suits("float16", 4096, 100, False, HOPPER)
    assert not wgmma_plan.suits("float32", 4096, 4096, False, HOPPER)
    assert not wgmma_plan.suits("bfloat16", 64, 4096, False, HOPPER)  # half of a block was empty
    assert not wgmma_plan.suits("bfloat16", 4096, 1, False, HOPPER)
    assert not wgmma_plan.suits("bfloat16", 4096, 4096, True, HOPPER)
    ampere = HOPPER._replace(wgmma=False)
    assert not wgmma_plan.suits("bfloat16", 4096, 4096, False, ampere)


@pytest.mark.parametrize("width", [16, 64, 65, 128])
@pytest.mark.parametrize("queries", [1, 192, 256, 512, 8192])
def test_blocks_fit(width: int, queries: int) -> None:
    for plan in (wgmma_plan.forward_plan(width, queries), wgmma_plan.backward_plan(width)):
        tiles = plan.tiles
        assert plan.shared <= HOPPER.shared
        assert tiles.copiers <= tiles.threads - 128 * tiles.groups
        assert tiles.width >= width
        each = REGISTERS // (tiles.threads // 32) // WARP_REGISTERS * WARP_REGISTERS // 32
        assert each == {2: 168, 3: 128}[tiles.groups]  # what wgmma.cuh deals out


@pytest.mark.parametrize(
    ("width", "queries", "own"), [(64, 8192, 192), (64, 256, 128), (64, 512, 192), (128, 8192, 128)]
)
def test_rows_of_a_block(width: int, queries: int, own: int) -> None:
    """Small heads have 192 where that leaves at most a fifth of the rows empty."""
    assert wgmma_plan.forward_plan(width, queries).tiles.own == own
