"""Direct convolution on a GPU against the plain reference in float64, at odd sizes.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from support.gpu_memory import error, on_gpu, poison
from tinygrad_cupy.backend import blas
from tinygrad_cupy.kernels.common.windows import Geometry, Windows
from tinygrad_cupy.kernels.conv import cpu, direct, planes

pytestmark = pytest.mark.gpu

BOUNDS = {
    ("float32", "tf32"): 1e-3,
    ("float32", "fp32"): 1e-5,
    ("float64", "fp32"): 1e-12,
    ("float16", "fp32"): 1e-3,
}

# N, C, O, size, kernel, stride, padding, dilation, groups
SIZES: list[tuple[Any, ...]] = [
    (3, 8, 8, (37,), 5, 1, 2, 1, 1),
    (2, 3, 5, (41,), 4, 3, 2, 2, 1),
    (4, 32, 32, (3000,), 5, 1, 2, 1, 1),
    (70, 1, 1, (9,), 3, 1, 1, 1, 1),
    (2, 40, 64, (50,), 3, 1, 1, 1, 1),
    (5, 12, 8, (30,), 3, 2, 1, 1, 4),
    (2, 24, 32, (33,), 3, 3, 0, 2, 1),
    (2, 8, 8, (5, 5, 5), 3, 1, 1, 1, 1),
    (1, 17, 24, (5, 6, 7), (2, 3, 2), (1, 2, 3), (1, 0, 2), (1, 2, 1), 1),
    (2, 6, 6, (4, 5, 6), 3, 1, 1, 1, 6),
    (2, 6, 12, (4, 5, 6), 3, 2, 1, 1, 6),
    (3, 32, 32, (9, 9, 9), 3, 1, 1, 1, 1),
    (2, 1, 3, (8, 9, 10), (5, 1, 7), 1, (2, 0, 3), 1, 1),
    (1, 32, 32, (20, 21, 23), 3, 1, 1, 1, 1),
]


@pytest.mark.parametrize(("dtype", "precision"), BOUNDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_forward_and_both_gradients(
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
    size: tuple[Any, ...],
    dtype: str,
    precision: str,
) -> None:
    blas.set_precision(precision)
    n, c, o, pixels, kernel, stride, padding, dilation, groups = size
    windows = Windows.parse("test", kernel, stride, padding, dilation, len(pixels))
    geometry, bound = Geometry(windows, groups), BOUNDS[dtype, precision]
    scale = 1 / math.sqrt(c // groups * windows.taps)
    out = windows.output_size("test", pixels)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    x, w, bias, g = (
        normal(n, c, *pixels),
        (scale * normal(o, c // groups, *windows.kernel)).astype(dtype),
        normal(o),
        normal(n, o, *out),
    )
    wide = [a.astype(np.float64) for a in (x, w, bias, g)]
    y = planes.fprop(cpu.fprop)(*wide[:3], geometry).astype(dtype)
    dx = planes.dgrad(cpu.dgrad)(wide[3], wide[1], geometry, x.shape).astype(dtype)
    dw = planes.wgrad(cpu.wgrad)(wide[0], wide[3], geometry, w.shape).astype(dtype)
    on = [on_gpu(a) for a in (x, w, bias, g)]
    poison(monkeypatch)
    forward = direct._forward(on[0], on[1], geometry, True)
    by_x = direct._by_input(on[3], on[1], geometry, x.shape)
    by_w = direct._by_weight(on[0], on[3], geometry, w.shape)
    assert forward is not None
    assert by_x is not None
    assert by_w is not None
    assert error(forward(*on[:3]), y) < bound
    assert error(by_x(on[3], on[1], None), dx) < bound
    found = by_w(on[0], on[3])
    assert error(found, dw) < bound
    assert (found.get() == by_w(on[0], on[3]).get()).all()  # the same bits in every run
