"""What the plan of weight gradients that copy each pixel once says, done by NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy.backend.gpu import GpuProperties
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import reference
from tinygrad_cupy.kernels.conv.taps_plan import pixels_of
from tinygrad_cupy.kernels.conv.taps_wgrad_plan import (
    CHUNKS,
    TapsWeightPlan,
    all_runs,
    cheapest_weight_plan,
    plans,
    taps_weight_plan,
)
from tinygrad_cupy.kernels.conv.wide_plan import Gather, WeightPlan, forward

H200 = GpuProperties(132, 232448, True, True)


def numbered(images: np.ndarray, pitch: int, rows: int, first: int, count: int) -> np.ndarray:
    """Pixels of images (N, H, W, C) by their numbers, zeros in the gaps."""
    lines, columns = np.divmod(np.arange(first, first + count), pitch)
    at = (*np.divmod(lines, rows), columns)
    inside = [
        (place >= 0) & (place < size) for place, size in zip(at, images.shape[:3], strict=True)
    ]
    there = np.logical_and.reduce(inside)
    found = images[tuple(np.where(there, place, 0) for place in at)]
    return np.where(there[:, None], found, 0)


def by_chunks(x: np.ndarray, g: np.ndarray, gather: Gather, plan: TapsWeightPlan) -> np.ndarray:
    """dw (O, C, KH, KW) of x (N, H, W, C) and g (N, OH, OW, O), chunk by chunk, run by run."""
    pixels, runs = pixels_of(gather), plan.runs
    assert pixels is not None
    row_step, step = runs.steps(gather.tap_step[0] * pixels.pitch, gather.tap_step[1])
    dw = np.zeros((g.shape[3], x.shape[3], *gather.kernel))
    for split, chunk in itertools.product(range(plan.splits), range(plan.each)):
        first = (split * plan.each + chunk) * plan.chunk
        of_g = numbered(g, pixels.pitch, pixels.lines, first, plan.chunk)
        of_x = numbered(x, pixels.pitch, pixels.lines, first + pixels.low, plan.reach)
        for run, t in itertools.product(range(runs.groups), range(runs.taps)):
            row, column = run // runs.parts, run % runs.parts * runs.taps + t
            shift = row * row_step + column * step
            seen = of_x[shift : shift + plan.chunk]
            assert len(seen) == plan.chunk
            if column < runs.length:
                tap = (column, row) if runs.turned else (row, column)
                dw[:, :, *tap] += of_g.T @ seen
    return dw


def expect_sums(
    rng: np.random.Generator, x_shape: tuple[int, ...], outputs: int, gather: Gather, geometry: Any
) -> None:
    """Every plan finds the reference's sums: of whole numbers, so exactly."""
    x = rng.integers(-9, 10, x_shape).astype(float)
    g = rng.integers(-9, 10, gather.y_shape).astype(float)
    w_shape = (outputs, x_shape[1], *gather.kernel)
    expected = reference.wgrad(x, g, geometry, w_shape)
    each = {(plan.runs, plan.chunk): plan for plan in plans(gather, 1, H200)}
    assert {chunk for _, chunk in each} == set(CHUNKS)
    x, g = x.transpose(0, 2, 3, 1), g.transpose(0, 2, 3, 1)
    for plan in each.values():
        np.testing.assert_array_equal(by_chunks(x, g, gather, plan), expected)


# A kernel, and images of odd sizes
KERNELS = [
    ((1, 3), (5, 9)),
    ((3, 1), (7, 4)),
    ((3, 3), (9, 7)),
    ((2, 2), (3, 5)),
    ((1, 9), (2, 11)),
]


@pytest.mark.parametrize(("kernel", "size"), KERNELS)
def test_every_pair_of_pixels_meets_once(
    kernel: tuple[int, int], size: tuple[int, int], rng: np.random.Generator
) -> None:
    """With any padding and dilation that fits."""
    tried = 0
    for padding in itertools.product(range(4), range(4)):
        for dilation in ((1, 1), (2, 1), (1, 3), (3, 2)):
            windows = Windows.parse("test", kernel, 1, padding, dilation)
            sides = zip(windows.padded_size(size), kernel, dilation, strict=True)
            if any(side < step * (taps - 1) + 1 for side, taps, step in sides):
                continue
            gather = forward((3, 2, *size), 3, windows)
            expect_sums(rng, (3, 2, *size), 3, gather, Geometry(windows, 1))
            tried += 1
    assert tried >= 16


def test_fewer_gradients_than_windows(rng: np.random.Generator) -> None:
    """As of a transposed convolution with output padding."""
    windows = Windows.parse("test", 3, 1, (0, 1), 2)
    gather = forward((2, 2, 9, 8), 3, windows, (4, 6))
    expect_sums(rng, (2, 2, 9, 8), 3, gather, Geometry(windows, 1))


def test_all_kernels_of_nine_taps_have_runs() -> None:
    for kernel in itertools.product(range(1, 10), range(1, 10)):
        if 1 < kernel[0] * kernel[1] <= 9:
            found = list(all_runs(kernel))
            assert found
            for runs in found:  # 32 sums of a thread for each tap, in 128 or 168 registers
                assert runs.taps * runs.groups <= 9
                rows = kernel[::-1] if runs.turned else kernel
                assert runs.groups == rows[0] * runs.parts
                assert runs.length == rows[1] <= runs.parts * runs.taps


def test_plans_fit_and_cover_all() -> None:
    windows = Windows.parse("test", 3, 1, 1, 1)
    for side in (1, 7, 32, 113, 224):
        gather = forward((129, 200, side, side), 72, windows)
        found = list(plans(gather, 2, H200))
        assert found
        for plan in found:
            assert plan.shared <= H200.shared
            assert plan.chunks * plan.chunk >= 129 * side**2
            assert (plan.splits - 1) * plan.each < plan.chunks <= plan.splits * plan.each
            assert (plan.tiles, plan.blocks) == (4, 2)


def test_who_does_which_layer() -> None:
    def chosen(c: int, side: int, kernel: Any = 3, stride: int = 1, kind: int = 1) -> type:
        windows = Windows.parse("test", kernel, stride, 1, 1)
        gather = forward((1024, c, side, side), c, windows)
        _, plan = cheapest_weight_plan(gather, kind, H200)
        assert (taps_weight_plan(gather, kind, H200) is None) <= isinstance(plan, WeightPlan)
        return type(plan)

    for kind in (1, 2):
        assert chosen(64, 32, kind=kind) is TapsWeightPlan
        assert chosen(128, 16, kind=kind) is TapsWeightPlan
    assert chosen(64, 32, kind=0) is WeightPlan  # TF32 is not read across pixels
    assert chosen(64, 32, stride=2) is WeightPlan
    assert chosen(64, 32, kernel=1) is WeightPlan
    assert chosen(64, 32, kernel=(5, 2)) is WeightPlan
    assert chosen(64, 2000) is WeightPlan  # three rows of pixels do not fit into shared memory
