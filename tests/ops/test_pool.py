"""Pooling: by its definition, ties, padding, and the adjoint pairs behind the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_cupy as tg
from support.examples import examples
from support.windows import draw_windows
from tinygrad_cupy import Tensor, backend
from tinygrad_cupy.kernels.common.windows import Windows
from tinygrad_cupy.ops import pool


def tensor(values: np.ndarray, device: str, requires_grad: bool = False) -> Tensor:
    return Tensor(backend.to_device(values, device), requires_grad=requires_grad)


def dot(a: Tensor, b: Tensor) -> float:
    return float((a.numpy() * b.numpy()).sum())


def draw_pool(data: st.DataObject, values: Any) -> tuple[np.ndarray, Windows, dict[str, Any]]:
    options, size = draw_windows(data.draw, most_padding=0)
    half = [data.draw(st.integers(0, k // 2)) for k in options["kernel_size"]]
    options["padding"] = (half[0], half[1])
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)), *size)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    return values(rng, shape), Windows.parse("pool", *options.values()), options


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def few_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 3, shape).astype(float)


def by_loops(x: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Maxima of windows, and the gradient of their sum: 1 to the first maximum of each."""
    (kh, kw), (sh, sw) = windows.kernel, windows.stride
    (ph, pw), (dh, dw) = windows.padding, windows.dilation
    n, c, h, w = x.shape
    oh, ow = windows.output_size("test", (h, w))
    y, gradient = np.full((n, c, oh, ow), -np.inf), np.zeros_like(x)
    for place in np.ndindex(n, c, oh, ow):
        image, channel, i, j = place
        best = None
        for k, m in np.ndindex(kh, kw):
            row, column = i * sh - ph + k * dh, j * sw - pw + m * dw
            inside = 0 <= row < h and 0 <= column < w
            if inside and x[image, channel, row, column] > y[place]:
                best, y[place] = (image, channel, row, column), x[image, channel, row, column]
        if best is not None:
            gradient[best] += 1
    return y, gradient


@examples(12)
@given(data=st.data())
def test_max_pool_is_its_definition_ties_included(device: str, data: st.DataObject) -> None:
    values, windows, options = draw_pool(data, few_values)
    x = tensor(values, device, True)
    y = x.max_pool2d(**options)
    expected, gradient = by_loops(values, windows)
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(tg.grad(y.sum(), x).numpy(), gradient)


@examples(10)
@given(data=st.data())
def test_max_gather_and_scatter_are_adjoint(device: str, data: st.DataObject) -> None:
    values, windows, _ = draw_pool(data, normal)
    x = tensor(values, device)
    op = pool.MaxPool(windows)
    y = op(x)
    rng = np.random.default_rng(0)
    g, v = tensor(rng.standard_normal(y.shape), device), tensor(normal(rng, x.shape), device)
    scatter = pool.MaxScatter(windows, op.argmax, op.size)(g)
    gather = pool.MaxGather(windows, op.argmax, op.size)(v)
    assert dot(scatter, v) == pytest.approx(dot(g, gather), abs=1e-11)
    reached = np.isfinite(y.numpy())
    own = pool.MaxGather(windows, op.argmax, op.size)(x).numpy()
    np.testing.assert_array_equal(own[reached], y.numpy()[reached])


@examples(10)
@given(data=st.data())
def test_sum_pool_and_spread_are_adjoint(device: str, data: st.DataObject) -> None:
    values, windows, _ = draw_pool(data, normal)
    x = tensor(values, device)
    y = pool.SumPool(windows)(x)
    g = tensor(np.random.default_rng(0).standard_normal(y.shape), device)
    back = pool.Spread(windows, (x.shape[2], x.shape[3]))(g)
    assert dot(x, back) == pytest.approx(dot(y, g), abs=1e-11)


@given(data=st.data())
def test_avg_pool_counts_the_padding(device: str, data: st.DataObject) -> None:
    values, windows, options = draw_pool(data, normal)
    options.pop("dilation")
    plain = Windows(windows.kernel, windows.stride, windows.padding, (1, 1))
    ph, pw = plain.padding
    padded = np.pad(values, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    view = np.lib.stride_tricks.sliding_window_view(padded, plain.kernel, axis=(2, 3))
    expected = view[:, :, :: plain.stride[0], :: plain.stride[1]].mean(axis=(-2, -1))
    found = tensor(values, device).avg_pool2d(**options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_blank_image_gives_its_gradient_to_the_first_pixel_of_each_window(device: str) -> None:
    x = Tensor.zeros(1, 1, 4, 4, device=device, requires_grad=True)
    found = tg.grad(x.max_pool2d(2).sum(), x)
    corner = [[1.0, 0.0], [0.0, 0.0]]
    np.testing.assert_array_equal(found.numpy()[0, 0], np.tile(corner, (2, 2)))


def test_overlapping_windows_add_up_at_a_shared_maximum(device: str) -> None:
    x = Tensor([[[[0.0, 5.0, 0.0]]]], device=device, requires_grad=True)
    found = tg.grad(x.max_pool2d((1, 2), stride=1).sum(), x)
    assert found.tolist() == [[[[0.0, 2.0, 0.0]]]]


def test_max_pool_pads_with_minus_infinity(device: str) -> None:
    x = Tensor.full((1, 1, 2, 2), -5.0, device=device, requires_grad=True)
    y = x.max_pool2d(2, padding=1)
    assert y.tolist() == [[[[-5.0, -5.0], [-5.0, -5.0]]]]
    assert tg.grad(y.sum(), x).tolist() == [[[[1.0, 1.0], [1.0, 1.0]]]]


def test_windows_of_more_than_256_taps(device: str) -> None:
    """The winner of a window no longer fits in a byte."""
    values = np.arange(20.0 * 20).reshape(1, 1, 20, 20)
    x = tensor(values, device, True)
    y = x.max_pool2d(20)
    assert y.item() == 399
    found = tg.grad(y.sum(), x).numpy()
    assert found[0, 0, 19, 19] == 1
    assert found.sum() == 1


@pytest.mark.parametrize("layout", [(0, 1, 2, 3), (0, 2, 3, 1), (1, 0, 3, 2)])
def test_large_batches_in_every_layout(layout: tuple[int, ...], device: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, (37, 5, 12, 12)).astype(np.float32)
    array = tensor(np.ascontiguousarray(values.transpose(layout)), device).data
    x = Tensor(array.transpose(tuple(int(i) for i in np.argsort(layout))), requires_grad=True)
    y = x.max_pool2d(3, stride=2, padding=1)
    expected, gradient = by_loops(values, Windows((3, 3), (2, 2), (1, 1), (1, 1)))
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(tg.grad(y.sum(), x).numpy(), gradient)


def test_integers_are_pooled_too(device: str) -> None:
    x = Tensor(backend.to_device(np.arange(16).reshape(1, 1, 4, 4), device))
    assert x.max_pool2d(2).tolist() == [[[[5, 7], [13, 15]]]]
    assert x.avg_pool2d(2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert x.adaptive_avg_pool2d(2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert (-x).max_pool2d(2, padding=1).tolist() == [
        [[[0, -1, -3], [-4, -5, -7], [-12, -13, -15]]]
    ]


@pytest.mark.parametrize(("size", "out"), [(7, 3), (5, 5), (3, 5), (4, 1), (10, 4)])
def test_adaptive_windows(size: int, out: int, device: str) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, size, size))
    found = tensor(values, device).adaptive_avg_pool2d((out, 1)).numpy()
    for i in range(out):
        rows = values[:, :, i * size // out : -(-(i + 1) * size // out)]
        np.testing.assert_allclose(found[:, :, i, 0], rows.mean(axis=(2, 3)), rtol=1e-12)
