"""Resizing on a GPU: every kind of line, in both layouts, against the reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import on_gpu, poison
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import import_cupy
from tinygrad_cupy.kernels import interpolate
from tinygrad_cupy.kernels.common.layout import is_stored_last
from tinygrad_cupy.kernels.interpolate import reference
from tinygrad_cupy.kernels.interpolate.plan import Line

SIZES = ((5, 11), (11, 5), (1, 4), (4, 1), (8, 16), (13, 26))
KINDS = [(mode, False) for mode in ("nearest", "nearest-exact", "linear", "cubic", "area")]
KINDS += [("linear", True), ("cubic", True)]


@pytest.mark.parametrize("each", [1, 2, 3, 4])
@pytest.mark.parametrize(("mode", "antialias"), KINDS)
def test_windows_are_the_band_by_a_few_rows(mode: str, antialias: bool, each: int) -> None:
    for size, out in SIZES:
        for line in (Line(mode, size, out, antialias=antialias),):
            for one in (line, line.T):
                before, after = one.ends
                dense = np.zeros((-(-after // each) * each, before))
                start, weights = one.windows(each)
                assert start.min() >= 0
                assert start.max() + weights.shape[1] <= before
                for window, place in enumerate(start):
                    rows = slice(window * each, window * each + each)
                    dense[rows, place : place + weights.shape[1]] = weights[window].T
                assert not dense[after:].any()
                expected = reference.resize(np.eye(before), (one,)).T
                np.testing.assert_array_equal(dense[:after], expected)


def check(x: Any, values: np.ndarray, lines: tuple[Line | None, ...]) -> None:
    found = interpolate.resize(x, lines)
    expected = reference.resize(values.astype(np.float64), lines)
    limit = 1e-5 if values.dtype == np.float32 else 1e-13
    assert found.dtype == values.dtype
    np.testing.assert_allclose(found.get(), expected, rtol=limit, atol=limit)
    assert interpolate.resize(x, lines).tobytes() == found.tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("mode", "antialias"), KINDS)
def test_lines(
    mode: str,
    antialias: bool,
    dtype: str,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch)
    for size, out in SIZES:
        line = Line(mode, size, out, antialias=antialias)
        for one in (line, line.T):
            for lines in ((one,), (one, None), (None, one), (one, one), (one, None, one)):
                sizes = [6 if each is None else each.ends[0] for each in lines]
                values = rng.standard_normal((2, 3, *sizes)).astype(dtype)
                check(on_gpu(values), values, lines)


@pytest.mark.gpu
def test_large_images_in_both_layouts(rng: np.random.Generator) -> None:
    """A thread makes several rows, and strips end within an image."""
    rows, columns = Line("linear", 129, 258), Line("linear", 131, 262)
    values = rng.standard_normal((2, 24, 129, 131)).astype(np.float32)
    check(on_gpu(values), values, (rows, columns))
    check(on_gpu(values, channels_last=True), values, (rows, columns))
    assert is_stored_last(interpolate.resize(on_gpu(values, channels_last=True), (rows, columns)))
    wide = rng.standard_normal((2, 24, 258, 262)).astype(np.float32)
    check(on_gpu(wide), wide, (rows.T, columns.T))
    check(on_gpu(wide, channels_last=True), wide, (rows.T, columns.T))
    odd = values[:, :7]
    check(on_gpu(odd, channels_last=True), odd, (rows, columns))


@pytest.mark.gpu
def test_views_and_memory_that_is_not_aligned(rng: np.random.Generator) -> None:
    line = Line("linear", 8, 16)
    values = rng.standard_normal((4, 6, 8, 8)).astype(np.float32)
    memory = import_cupy().empty(values.size + 1, np.float32)
    memory[1:] = on_gpu(values).ravel()
    for lines in ((line, line), (line, None)):
        check(memory[1:].reshape(values.shape), values, lines)
        check(on_gpu(values)[::-1, 1:5], values[::-1, 1:5], lines)
        last = on_gpu(values, channels_last=True)[:, 1:5]
        check(last, values[:, 1:5], lines)


@pytest.mark.gpu
def test_what_has_no_weight_does_not_count_on_a_gpu(rng: np.random.Generator) -> None:
    values = rng.standard_normal((2, 2, 6, 6)).astype(np.float32)
    values[0, 0, 2, 3], values[1, 1, 5, 5] = np.nan, np.inf
    for line in (Line("linear", 6, 11, None, True), Line("area", 6, 4), Line("cubic", 6, 11)):
        found = interpolate.resize(on_gpu(values), (line, line)).get()
        with np.errstate(invalid="ignore"):  # 0 · inf, which it leaves out
            expected = reference.resize(values, (line, line))
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(dtype: str, rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((2, 3, 9, 12)), device="cuda:0").astype(dtype)
    found = x.interpolate(scale_factor=2, mode="bilinear")
    expected = x.astype("float32").interpolate(scale_factor=2, mode="bilinear").astype(dtype)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(
        found.astype("float32").numpy(), expected.astype("float32").numpy()
    )
