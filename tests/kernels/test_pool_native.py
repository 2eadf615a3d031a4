"""Pooling in C against NumPy's: the same bits at any geometry, and every element written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.kernels.common.windows import Windows
from tinygrad_cupy.kernels.pool import native, reference

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
ODD = np.array([0.0, -0.0, np.nan, 1.5, -2.0, 3.25, -np.inf, np.inf], np.float32)


def same(found: np.ndarray, expected: np.ndarray, signs: bool = False) -> None:
    """The same values, and ``signs`` of zeros."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if signs:
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


def poison(size: int) -> None:
    """Memory that a result may be given next holds NaN."""
    np.full(size, np.nan, np.float32)


@given(
    st.tuples(st.integers(1, 3), st.integers(4, 9), st.integers(1, 9), st.integers(1, 9)),
    pair, pair, st.tuples(st.integers(0, 3), st.integers(0, 3)), pair,
    st.tuples(st.integers(0, 2), st.integers(0, 2)), st.booleans(), st.integers(0, 1 << 30),
)  # fmt: skip
def test_any_geometry(
    shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, behind: Any, odd: bool,
    seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    windows = Windows(kernel, stride, padding, dilation, behind)
    size = shape[2:]
    assume(all(n >= d * (k - 1) + 1 for n, d, k in zip(
        windows.padded_size(size), dilation, kernel, strict=True)))  # fmt: skip
    n, c, h, w = shape
    last = (n, h, w, c)
    values = rng.choice(ODD, last) if odd else rng.standard_normal(last, np.float32)
    x = values.transpose(0, 3, 1, 2)
    assert native._suits(x, windows, x)
    poison(values.size)
    y, argmax = native.max_pool(x, windows)
    expected, places = reference.max_pool(x, windows)
    same(y, expected)
    same(argmax, places)
    grad = rng.choice(ODD[:-2], y.shape) if odd else rng.standard_normal(y.shape, np.float32)
    last_grad = np.ascontiguousarray(grad.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    with np.errstate(invalid="ignore"):
        for found, wanted in [
            (native.max_scatter(grad, argmax, windows, size),
             reference.max_scatter(grad, argmax, windows, size)),
            (native.sum_pool(x, windows), reference.sum_pool(x, windows)),
            (native.spread(last_grad, windows, size), reference.spread(last_grad, windows, size)),
        ]:  # fmt: skip
            same(found, wanted, signs=True)


def test_large_images_on_all_threads() -> None:
    rng = np.random.default_rng()
    windows = Windows((2, 2), (2, 2), (0, 0), (1, 1))
    x = rng.standard_normal((5, 33, 35, 24), np.float32).transpose(0, 3, 1, 2)
    y, argmax = native.max_pool(x, windows)
    expected, places = reference.max_pool(x, windows)
    same(y, expected)
    same(argmax, places)
    dx = native.max_scatter(y, argmax, windows, (33, 35))
    same(dx, reference.max_scatter(y, argmax, windows, (33, 35)))


def test_what_is_left_to_numpy() -> None:
    windows = Windows((2, 2), (2, 2), (0, 0), (1, 1))
    x = np.zeros((2, 6, 6, 8), np.float32).transpose(0, 3, 1, 2)
    assert native._suits(x, windows, x)
    assert not native._suits(np.ascontiguousarray(x), windows, x)
    assert not native._suits(x, windows, x.astype(np.float64))
    assert not native._suits(x, Windows((5, 5), (1, 1), (0, 0), (1, 1)), x)
    assert not native._suits(x[:, :3], windows, x)
    assert not native._suits(x[:0], windows, x)
