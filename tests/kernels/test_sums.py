"""How exact sums are: however long, in whatever type, wherever something is added up.

The bound is 1e-6 of Σ|x| for float32, and one rounding of the result for 16-bit floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import to_device, to_numpy
from tinygrad_cupy.kernels.conv import native

BOUND = 1e-6
ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # of a result, relative
LONG = 300_000

Make = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

# What a float32 that adds up one by one gets wrong.
HARD: dict[str, Make] = {
    "constant": lambda rng, shape: np.full(shape, 0.1),
    "random": lambda rng, shape: rng.random(shape) + 0.5,
    "around zero": lambda rng, shape: rng.standard_normal(shape),
    "far from zero": lambda rng, shape: 1e4 + rng.standard_normal(shape),
    "one large": lambda rng, shape: np.where(np.arange(np.prod(shape)) == 0, 1e7, 0.1).reshape(
        shape
    ),
    "signs in turn": lambda rng, shape: (
        0.1 + 1e6 * (-1.0) ** np.arange(np.prod(shape)).reshape(shape)
    ),
}


def placed(values: Any, device: str, dtype: str = "float32", grad: bool = False) -> Tensor:
    x = Tensor(to_device(np.asarray(values), device)).astype(dtype)
    return x.requires_grad_() if grad else x


def wide(x: Any) -> np.ndarray:
    """The values of a tensor or an array as float64."""
    return to_numpy(x.data if isinstance(x, Tensor) else x).astype(np.float64)


def check_sum(found: Tensor, x: np.ndarray, axis: Any, bound: float = BOUND) -> None:
    x = x.astype(np.float64)
    error = np.abs(wide(found) - x.sum(axis=axis))
    assert (error <= bound * np.abs(x).sum(axis=axis)).all()


# --- sums and means -----------------------------------------------------------------------------


@pytest.mark.one_in(5)
@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((LONG,), None),
        ((LONG, 2), 0),
        ((LONG, 2), None),
        ((2, LONG), 1),
        ((2, LONG), (0, 1)),
        ((3, LONG // 9, 3), 1),
        ((3, LONG // 9, 3), (0, 2)),
        ((500, 3, 20, 10), (0, 2, 3)),
    ],
    ids=str,
)
def test_long_sums(
    kind: str, shape: tuple[int, ...], axis: Any, device: str, rng: np.random.Generator
) -> None:
    values = HARD[kind](rng, shape).astype(np.float32)
    x = placed(values, device)
    check_sum(x.sum(axis=axis), values, axis)
    count = values.size // max(wide(x.sum(axis=axis)).size, 1)
    check_sum(x.mean(axis=axis) * count, values, axis, 2 * BOUND)


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 1), (1, 2), None])
def test_long_sums_of_views(axis: Any, device: str, rng: np.random.Generator) -> None:
    base = HARD["random"](rng, (60, 70, 80)).astype(np.float32)
    x = placed(base, device)
    views: list[Callable[[Any], Any]] = [
        lambda a: a.transpose(2, 0, 1),
        lambda a: a.transpose(1, 2, 0)[::-1, 1::2],
        lambda a: a[:, ::-3, 5:],
        lambda a: a[:, :1] + a[:1],
    ]
    for view in views:
        check_sum(view(x).sum(axis=axis), wide(view(base)).astype(np.float32), axis)


def test_a_hundred_million_terms(device: str) -> None:
    """Of one number that stands for all: strides of zero."""
    x = Tensor(to_device(np.array([0.1], np.float32), device)).broadcast_to((2, 100_000_000))
    expected = 1e8 * float(np.float32(0.1))
    np.testing.assert_allclose(wide(x.sum(axis=1)), expected, rtol=BOUND)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(100_000_000,), (10_000_000, 10), (10, 10_000_000)], ids=str)
def test_a_hundred_million_terms_in_memory(
    shape: tuple[int, ...], device: str, rng: np.random.Generator
) -> None:
    values = rng.random(shape, np.float32)
    found = Tensor(to_device(values, device)).sum(axis=int(np.argmax(shape)))
    expected = values.sum(axis=int(np.argmax(shape)), dtype=np.float64)
    np.testing.assert_allclose(wide(found), expected, rtol=BOUND)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("shape", "axis"), [((5000, 3), 0), ((3, 5000), 1), ((70, 70), None)])
def test_sums_in_16_bits(dtype: str, shape: Any, axis: Any, device: str) -> None:
    values = np.random.default_rng(0).random(shape)
    x = placed(values, device, dtype, grad=True)
    exact = wide(x)
    for found, expected in (
        (x.sum(axis=axis), exact.sum(axis=axis)),
        (x.mean(axis=axis), exact.mean(axis=axis)),
        (x.var(axis=axis), exact.var(axis=axis)),
        (x.logsumexp(axis=axis), np.log(np.exp(exact).sum(axis=axis))),
        (x.softmax(axis=axis), np.exp(exact) / np.exp(exact).sum(axis=axis, keepdims=True)),
    ):
        assert found.dtype == x.dtype
        np.testing.assert_allclose(wide(found), expected, rtol=1.01 * ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ROUNDING)
def test_sums_in_16_bits_are_infinite_only_where_the_sum_is(dtype: str, device: str) -> None:
    largest = 60000.0 if dtype == "float16" else 3e38
    x = placed(np.array([largest, largest, -largest, -largest, largest]), device, dtype)
    assert wide(x.sum()) == wide(x[0])
    assert wide(x[:2].mean()) == wide(x[0])
    assert wide(x[:4].reshape(2, 2).mean(axis=1)).tolist() == [
        float(wide(x[0])),
        -float(wide(x[0])),
    ]


def test_a_float32_mean_does_not_overflow(device: str) -> None:
    x = placed(np.full((40, 3), 3e38, np.float32), device)
    np.testing.assert_allclose(wide(x.mean(axis=0)), 3e38, rtol=BOUND)
    np.testing.assert_allclose(wide(x.mean()), 3e38, rtol=BOUND)


def test_a_float32_variance_does_not_overflow(device: str) -> None:
    x = placed(np.tile([1e18, -1e18], 5000), device)
    np.testing.assert_allclose(wide(x.var()), 1e36, rtol=BOUND)
    np.testing.assert_allclose(wide(x.var(correction=1)), 1e36 * (10_000 / 9_999), rtol=BOUND)


@pytest.mark.parametrize("shape", [(400_000,), (4000, 100)])
def test_a_long_sum_leaves_the_range_on_the_way_only(shape: Any, device: str) -> None:
    values = np.full(shape, 3e38, np.float32)
    values.reshape(-1, 100)[2000:] *= -1
    x = placed(values, device)
    assert wide(x.sum()) == 0
    assert (wide(x.sum(axis=0)) == 0).all()
    assert (wide(x.mean(axis=0)) == 0).all()
    np.testing.assert_allclose(wide(x.abs().mean()), 3e38, rtol=BOUND)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_are_summed_in_64_bits(dtype: str, device: str) -> None:
    largest = 1 if dtype == "bool" else np.iinfo(dtype).max
    x = Tensor(to_device(np.full((300, 200), largest, dtype), device))
    for axis, count in ((0, 300), (1, 200), (None, 60000)):
        found = x.sum(axis=axis)
        assert found.dtype == np.int64
        assert (to_numpy(found.data) == count * int(largest)).all()
        assert x.mean(axis=axis).dtype == np.float32
        np.testing.assert_allclose(wide(x.mean(axis=axis)), largest, rtol=BOUND)


def test_not_finite_rows_stay_by_themselves(device: str) -> None:
    values = np.ones((4, 1000), np.float32)
    values[1, 3], values[2, 5] = np.nan, np.inf
    x = placed(values, device)
    for found in (x.sum(axis=1), x.mean(axis=1), x.T.sum(axis=0)):
        ones = wide(found) / wide(found)[0]
        assert ones[[0, 3]].tolist() == [1, 1]
        assert np.isnan(ones[1])
        assert ones[2] == np.inf
    with np.errstate(invalid="ignore"):  # inf - inf
        normal = wide(x.layer_norm(1000))
    assert np.isnan(normal[1:3]).all()
    assert (normal[[0, 3]] == 0).all()


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", *ROUNDING])
@pytest.mark.parametrize("shape", [(LONG // 2, 2), (50, 2, 40, 40)], ids=str)
def test_the_gradient_of_what_was_broadcast(
    dtype: str, shape: tuple[int, ...], device: str
) -> None:
    bias = placed(np.zeros((2, *[1] * (len(shape) - 2))), device, dtype, grad=True)
    x = placed(np.zeros(shape), device, dtype)
    grad = placed(np.full(shape, 0.1), device, dtype)
    found = tg.grad(x + bias, bias, grad)
    assert found.dtype == x.dtype
    limit = ROUNDING.get(dtype, BOUND)
    expected = np.prod(shape) / 2 * float(wide(grad).ravel()[0])
    np.testing.assert_allclose(wide(found), expected, rtol=limit)


@pytest.mark.parametrize("dtype", ["float32", *ROUNDING])
def test_the_gradient_of_an_element_that_is_taken_often(dtype: str, device: str) -> None:
    x = placed(np.zeros((3, 2)), device, dtype, grad=True)
    key = Tensor(to_device(np.tile([1, 1, 2], 20_000), device))
    y = x[key]
    grad = placed(np.full(y.shape, 0.1), device, dtype)
    found = tg.grad(y, x, grad)
    each = float(wide(grad)[0, 0])
    limit = ROUNDING.get(dtype, BOUND)
    np.testing.assert_allclose(wide(found)[:, 0], [0, 40_000 * each, 20_000 * each], rtol=limit)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("compiled", [True, False])
def test_the_gradients_of_a_convolution_over_many_pixels(
    compiled: bool, pool: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(native, "suits", lambda *arguments, **options: False)
    x = Tensor(to_device(np.ones((3, 1, 512, 500), np.float32), device))
    weight = placed(np.ones((2, 1, 1, 1)), device, grad=True)
    bias = placed(np.zeros(2), device, grad=True)
    y = x.conv2d(weight, bias)
    y = y.max_pool2d(2) if pool else y
    by_weight, by_bias = tg.grad(y, [weight, bias], placed(np.full(y.shape, 0.1), device))
    expected = y.data.size // 2 * float(np.float32(0.1))
    # On a GPU what a block adds up is float32, as a product is.
    limit = BOUND if device == "cpu" else 1e-5
    np.testing.assert_allclose(wide(by_bias), expected, rtol=limit)
    np.testing.assert_allclose(wide(by_weight).ravel(), expected, rtol=1e-3)  # products


# --- products and pools -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "int32"])
def test_products_of_integers_are_added_up_in_64_bits(dtype: str, device: str) -> None:
    largest = 1 if dtype == "bool" else min(np.iinfo(dtype).max, 10**8)
    a = Tensor(to_device(np.full((3, 300), largest, dtype), device))
    for found, shape in ((a @ a.T, (3, 3)), (a[0] @ a[1], ()), (a.linear(a), (3, 3))):
        assert found.dtype == np.int64
        assert found.shape == shape
        assert (to_numpy(found.data) == 300 * int(largest) ** 2).all()


@pytest.mark.parametrize("dtype", ROUNDING)
def test_products_in_16_bits_are_rounded_once(dtype: str, device: str) -> None:
    rng = np.random.default_rng(0)
    a = placed(rng.random((5, 4000)), device, dtype, grad=True)
    b = placed(rng.random((4000, 3)), device, dtype, grad=True)
    for found, expected in (
        (a @ b, wide(a) @ wide(b)),
        (a.linear(b.T), wide(a) @ wide(b)),
        (tg.grad((a @ b).sum(), a), np.broadcast_to(wide(b).sum(axis=1), a.shape)),
    ):
        assert found.dtype == a.dtype
        np.testing.assert_allclose(wide(found), expected, rtol=1.01 * ROUNDING[dtype])


def test_long_products(device: str) -> None:
    """Of 20 million terms, more than a float32 can count; one number stands for all."""
    shape = (20_000_000, 2)
    row, column = (
        Tensor(to_device(np.array([value], np.float32), device)).broadcast_to(shape)
        for value in (0.1, 1.0)
    )
    found = wide(row.T @ column)
    np.testing.assert_allclose(found, 2e7 * float(np.float32(0.1)), rtol=1e-4)


def test_means_of_large_windows(device: str) -> None:
    x = placed(np.full((2, 3, 96, 96), 0.1), device, grad=True)
    for y in (x.avg_pool2d(96), x.adaptive_avg_pool2d(1), x.adaptive_avg_pool2d(7)):
        np.testing.assert_allclose(wide(y), np.float32(0.1), rtol=BOUND)
    dense = x.avg_pool2d(16, stride=1)
    by_x = wide(tg.grad(dense, x, placed(np.full(dense.shape, 0.1), device)))
    np.testing.assert_allclose(by_x[:, :, 40:60, 40:60], np.float32(0.1), rtol=BOUND)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_means_of_windows_are_no_products(precision: str, device: str) -> None:
    tg.set_precision(precision)
    values = np.random.default_rng(0).random((2, 3, 9, 10)).astype(np.float32)
    x = placed(values, device)
    for size in (1, 4):
        expected = wide(Tensor(values.astype(np.float64)).adaptive_avg_pool2d(size))
        np.testing.assert_allclose(wide(x.adaptive_avg_pool2d(size)), expected, rtol=BOUND)


def test_means_of_windows_in_16_bits_and_of_integers(device: str) -> None:
    half = placed(np.full((1, 1, 9, 9), 60000.0), device, "float16")
    for y in (half.avg_pool2d(3), half.adaptive_avg_pool2d(1), half.adaptive_avg_pool2d(2)):
        assert y.dtype == np.float16
        assert (wide(y) == wide(half)[0, 0, 0, 0]).all()
    bytes_ = Tensor(to_device(np.full((1, 1, 4, 4), 200, np.uint8), device))
    assert (wide(bytes_.avg_pool2d(2)) == 200).all()


# --- losses -------------------------------------------------------------------------------------


def test_losses_over_many_classes_and_many_rows(device: str) -> None:
    x = placed(np.full((2, 50_000), 0.3), device)
    target = Tensor(to_device(np.array([0, 49_999]), device))
    expected = np.log(50_000.0)
    for smoothing in (0.0, 0.1):
        loss = x.cross_entropy(target, label_smoothing=smoothing)
        np.testing.assert_allclose(wide(loss), expected, rtol=BOUND)
    np.testing.assert_allclose(wide(x.logsumexp(axis=1)), expected + 0.3, rtol=BOUND)
    np.testing.assert_allclose(wide(x.log_softmax()), -expected, rtol=BOUND)
    np.testing.assert_allclose(wide(x.softmax()), 1 / 50_000, rtol=BOUND)
    tall = placed(np.zeros((LONG, 2)), device)
    labels = Tensor(to_device(np.zeros(LONG, np.int64), device))
    for reduction, count in (("mean", 1), ("sum", LONG)):
        loss = tall.cross_entropy(labels, reduction=reduction)
        np.testing.assert_allclose(wide(loss), count * np.log(2.0), rtol=BOUND)
