"""Sampling and resizing beside the records: without a compiler, at edges, large, against JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.ndimage

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from support.looped import looped
from tinygrad_cupy import Tensor
from tinygrad_cupy.kernels import grid_sample, interpolate
from tinygrad_cupy.kernels.grid_sample import native as grid_native
from tinygrad_cupy.kernels.grid_sample import reference as grid_reference
from tinygrad_cupy.kernels.grid_sample.plan import RULES, WEIGHTS, Points
from tinygrad_cupy.kernels.interpolate import native, reference
from tinygrad_cupy.kernels.interpolate.plan import Line
from tinygrad_cupy.ops import spline


def lines() -> list[tuple[Line | None, ...]]:
    found: list[tuple[Line | None, ...]] = []
    for mode in ("nearest", "nearest-exact", "linear", "cubic", "area"):
        for size, out in ((5, 11), (11, 5), (1, 4), (4, 1), (7, 7)):
            line = Line(mode, size, out)
            found += [(line,), (line, None), (None, line), (line, line), (line, line, line)]
    for mode in ("linear", "cubic"):
        found += [(Line(mode, 9, 4, antialias=True),) * 2, (Line(mode, 3, 5, None, True),)]
    return found + [tuple(None if a is None else a.T for a in each) for each in found]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resizing_in_c_is_that_of_the_reference(dtype: str, rng: np.random.Generator) -> None:
    for each in lines():
        sizes = [6 if line is None else line.ends[0] for line in each]
        x = rng.standard_normal((2, 3, *sizes)).astype(dtype)
        expected = reference.resize(x.astype(np.float64), each)
        if native.suits(x):
            np.testing.assert_allclose(native.resize(x, each), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(interpolate.resize(x, each), expected, rtol=1e-5, atol=1e-5)


def test_a_band_and_its_transpose_are_one_matrix() -> None:
    for (line,) in [each for each in lines() if len(each) == 1 and each[0] is not None]:
        assert line is not None
        if line.transposed:
            continue
        before, after = line.ends
        there = reference.resize(np.eye(before), (line,)).T
        back = reference.resize(np.eye(after), (line.T,))
        np.testing.assert_array_equal(there, back)
        np.testing.assert_allclose(there.sum(1), 1)
        assert line.band.start.min() >= 0
        assert line.band.start.max() + line.band.taps <= before


@pytest.mark.parametrize("shape", [(4, 3, 200, 190), (1, 1, 700, 30), (70, 2, 9, 40)])
def test_many_rows_on_many_threads(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    for factor in (2, 0.4):
        found = Tensor(x).interpolate(scale_factor=factor, mode="bilinear")
        rows, columns = (Line("linear", n, int(n * factor), 1 / factor) for n in shape[2:])
        expected = reference.resize(x.astype(np.float64), (rows, columns))
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_infinity_stays_where_it_counts(rng: np.random.Generator) -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    x[0, 0, 3, 3] = np.inf
    found = Tensor(x).interpolate((7, 7), mode="bilinear", align_corners=True).numpy()[0, 0]
    assert np.isinf(found[6, 6])
    assert np.isfinite(found[:5]).all()
    assert not np.isnan(found).any()
    area = Tensor(x).interpolate((2, 3), mode="area").numpy()[0, 0]
    assert np.isinf(area[1, 2])
    assert np.isfinite(area[0]).all()


def test_means_of_many_elements_are_added_up_in_float64() -> None:
    x = np.full((1, 1, 1, 200_000), 0.1, np.float32)
    x[..., ::2] = 1000.1
    found = Tensor(x).interpolate(1, mode="area").item()
    assert found == np.float32(x.mean(dtype=np.float64))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_integers_are_picked(mode: str) -> None:
    x = np.arange(12).reshape(1, 1, 3, 4)
    found = Tensor(x).interpolate((6, 2), mode=mode)
    assert found.dtype == np.int64
    floats = Tensor(x.astype(np.float64)).interpolate((6, 2), mode=mode)
    np.testing.assert_array_equal(found.numpy(), floats.numpy())


# --- sampling -----------------------------------------------------------------------------------


KINDS = [kind for kind, weights in WEIGHTS.items() if len(weights) <= grid_native.EACH]


def hows(axes: int) -> list[Points]:
    scale, shift = (1.5, 0.5, 2.0)[:axes], (0.25, -1.0, 0.5)[:axes]
    orders: list[tuple[int, ...]] = [(0,) * axes, (1, *(0,) * (axes - 1)), (1,) * axes]
    return [
        Points(kind, rule, scale, shift, order, backwards)
        for kind in KINDS
        for rule in RULES
        for order in (orders if kind != "nearest" else orders[:1])
        for backwards in (False, True)
    ]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_sampling_in_c_is_that_of_the_reference(axes: int, rng: np.random.Generator) -> None:
    sizes = (4, 1, 5)[:axes]
    x, values = rng.standard_normal((2, 3, *sizes)), rng.standard_normal((2, 3, 70))
    points = rng.uniform(-9, 9, (2, 70, axes))
    points[0, :4] = np.array([np.nan, np.inf, -np.inf, 1e30])[:, None]
    for how in hows(axes):
        with np.errstate(all="ignore"):
            expected = grid_reference.sample(x, points, how)
        if grid_native.suits(x, sizes, how):
            found = grid_native.sample(x, points, how)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        near = points[1:]
        expected = grid_reference.slopes(values[1:], x[1:], near, how)
        found = grid_sample.slopes(values[1:], x[1:], near, how)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
        expected = grid_reference.splat(values[1:], near, how, sizes)
        found = grid_sample.splat(values[1:], near, how, sizes)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_without_a_compiler(rng: np.random.Generator) -> None:
    x, grid = rng.standard_normal((2, 3, 5, 6)), rng.uniform(-1.5, 1.5, (2, 4, 4, 2))
    a, b = Tensor(x, requires_grad=True), Tensor(grid, requires_grad=True)

    def run() -> list[np.ndarray]:
        loss = (a.interpolate((9, 4), mode="bicubic").grid_sample(b, "bicubic") ** 2).sum()
        return [g.numpy() for g in tg.grad([loss], [a, b])]

    expected = run()
    no = mock.Mock(return_value=False)
    with mock.patch.object(native, "suits", no), mock.patch.object(grid_native, "suits", no):
        found = run()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_a_coordinate_that_is_nan_gives_nan() -> None:
    x = Tensor(np.ones((1, 1, 3, 3)))
    grid = np.zeros((1, 1, 2, 2))
    grid[0, 0, 0, 1] = np.nan
    for mode in ("bilinear", "bicubic"):
        found = x.grid_sample(Tensor(grid), mode, "border").numpy().reshape(2)
        assert np.isnan(found[0])
        assert found[1] == 1


MODES = list(spline.BEYOND)


@looped("order", range(6))
@looped("mode", MODES)
def test_map_coordinates_is_that_of_scipy(mode: Any, order: int) -> None:
    rng = np.random.default_rng()
    # SciPy's filter of a reflected axis of n elements is off by a pole's power 2 n - 1: a longer
    # one then. tests/records has the short ones, with equations solved.
    exact = order < 2 or mode not in ("reflect", "grid-mirror")
    for shape in ((5,), (1,), (4, 3), (2, 5, 3)):
        x = rng.standard_normal(shape if exact else (23,) * min(len(shape), 2))
        rows = rng.uniform(-7, 9, (x.ndim, 40))
        if order:
            rows[:, ::4] = np.round(rows[:, ::4])
        given: Any = {"order": order, "mode": mode, "cval": 2.5}
        for prefilter in (True, False):
            expected = scipy.ndimage.map_coordinates(x, rows, prefilter=prefilter, **given)
            found = tg.ndimage.map_coordinates(Tensor(x), rows, prefilter=prefilter, **given)
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@looped("order", range(2, 6))
@looped("mode", MODES)
def test_a_filtered_array_is_that_of_scipy_and_serves_for_many_calls(mode: Any, order: int) -> None:
    x = np.random.default_rng().standard_normal((23, 24))
    found = tg.ndimage.spline_filter(Tensor(x), order, mode=mode)
    expected: Any = scipy.ndimage.spline_filter(x, order, mode=mode)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    one = tg.ndimage.spline_filter1d(Tensor(x.astype(np.float32)), order, 0, "float64", mode)
    expected = scipy.ndimage.spline_filter1d(x, order, 0, mode=mode)
    np.testing.assert_allclose(one.numpy(), expected, atol=1e-5)
    if mode not in ("nearest", "grid-constant"):  # which go on beyond what was filtered
        rows = [[0, 3, 22, 7], [23, 1, 0, 5]]
        given: Any = {"order": order, "mode": mode, "prefilter": False}
        again = tg.ndimage.map_coordinates(found, rows, **given)
        np.testing.assert_allclose(again.numpy(), x[tuple(rows)], atol=1e-12)


def test_a_spline_of_order_3_has_a_second_derivative_that_goes_on_at_elements() -> None:
    x = Tensor(np.random.default_rng().standard_normal(9))

    def value(at: Tensor) -> Tensor:
        return tg.ndimage.map_coordinates(x, at.reshape(1), mode="mirror").sum()

    bend = tg.grad(tg.grad(value))
    below, above = (float(bend(Tensor(np.float64(4 + d))).numpy()) for d in (-1e-9, 1e-9))
    assert abs(below) > 1e-3 or abs(above) > 1e-3
    np.testing.assert_allclose(below, above, rtol=1e-5, atol=1e-6)


CALLS: dict[str, Callable[[Any], Any]] = {
    "a list of arrays": lambda x: tg.ndimage.map_coordinates(x, [np.array([0.5]), [1.0]], order=1),
    "an array": lambda x: tg.ndimage.map_coordinates(x, np.array([[0.5], [1.0]]), order=1),
    "a tensor": lambda x: tg.ndimage.map_coordinates(x, Tensor([[0.5], [1.0]]), order=1),
    "tensors": lambda x: tg.ndimage.map_coordinates(x, [Tensor([0.5]), Tensor([1.0])], order=1),
}


@pytest.mark.parametrize("call", CALLS)
def test_coordinates_as_they_come(call: str) -> None:
    x = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    for given in (x, Tensor(x)):
        found = CALLS[call](given)
        assert found.tolist() == [2.0]
    assert tg.ndimage.map_coordinates(Tensor(x), [[0], [1]], output="float16").dtype == np.float16


def test_interp_by_what_stands_beyond_the_ends() -> None:
    left, right = (Tensor(v, requires_grad=True) for v in (2.0, 3.0))
    found = tnp.interp(Tensor([-1.0, 0.5, 2.0, 3.0]), [0.0, 1.0], [0.0, 1.0], left, right)
    assert found.tolist() == [2.0, 0.5, 3.0, 3.0]
    slopes = tg.grad([found.sum()], [left, right])
    assert [slope.item() for slope in slopes] == [1.0, 2.0]
