"""The CUDA kernels of layer norm against the reference in float64, at odd sizes.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.gpu_memory import on_gpu, poison
from tinygrad_cupy import Tensor
from tinygrad_cupy.kernels.layer_norm import cuda, reference

pytestmark = pytest.mark.gpu

# Rows, columns and dtype.
CASES = [
    (1, 1, "float32"),
    (1000, 3, "float32"),
    (4099, 33, "float32"),
    (3001, 192, "float32"),
    (7, 197, "float32"),
    (1024, 1024, "float32"),
    (131, 770, "float32"),
    (33, 4096, "float32"),
    (40, 5003, "float32"),
    (3, 16388, "float32"),
    (2, 100_001, "float32"),
    (257, 10, "float64"),
    (300, 768, "float64"),
    (3, 9002, "float64"),
]
ALL, ONLY_X, ONLY_VECTORS = (True, True, True), (True, False, False), (False, True, True)


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


def wide(array: Any) -> Any:
    return None if array is None else array.get().astype(np.float64)


def close(found: Any, expected: Any, bound: float) -> None:
    """Up to ``bound`` of the largest; of rows of one element all is what cancels, from 0.01 on."""
    assert found.shape == expected.shape
    error = np.abs(found.get().astype(np.float64) - expected).max()
    assert error <= bound * max(np.abs(expected).max(), 1e-2 if expected.size == 1 else 1e-30)


@pytest.mark.parametrize(("rows", "columns", "dtype"), CASES)
def test_both_passes(rows: int, columns: int, dtype: str, rng: np.random.Generator) -> None:
    bound = 2e-6 if dtype == "float32" else 1e-12
    x = on_gpu((rng.standard_normal((rows, columns)) * 3 + 30).astype(dtype))
    grad = on_gpu(rng.standard_normal((rows, columns)).astype(dtype))
    weight, bias = (on_gpu(v) for v in rng.standard_normal((2, columns)).astype(dtype))
    cases: list[Any] = [(True, weight, bias), (True, None, None), (False, weight, None)]
    for centred, gain, shift in cases:
        y, stats = cuda.forward(x, gain, shift, centred, 1e-3)
        a, g, w = wide(x), wide(grad), wide(gain)
        expected, of_wide = reference.forward(a, w, wide(shift), centred, 1e-3)
        assert y.dtype == dtype
        close(y, expected, bound)
        np.testing.assert_allclose(stats.get(), of_wide, rtol=1e-11, atol=1e-11)
        for needs in (ALL, ONLY_X, ONLY_VECTORS):
            found = cuda.backward(grad, x, gain, stats, centred, needs)
            again = cuda.backward(grad, x, gain, stats, centred, needs)
            exact = reference.backward(g, a, w, of_wide, centred, needs)
            for one, other, repeated in zip(found, exact, again, strict=True):
                assert (one is None) == (other is None)
                if one is not None and repeated is not None:
                    assert one.dtype == dtype
                    assert one.tobytes() == repeated.tobytes()
                    close(one, other, 5 * bound)


def test_views_and_unaligned_addresses(rng: np.random.Generator) -> None:
    base = on_gpu(rng.standard_normal((2, 65, 128)).astype(np.float32))
    vectors = on_gpu(rng.standard_normal(200).astype(np.float32))
    for x in (base[0, :, ::2], base[0, 1:].reshape(-1)[1:-127].reshape(-1, 64), base[0].T):
        columns, grad = x.shape[1], base[1].reshape(-1)[: x.size].reshape(x.shape)
        gain, shift = vectors[1 : 1 + columns], vectors[3 : 3 + columns]
        y, stats = cuda.forward(x, gain, shift, True, 1e-5)
        expected, of_wide = reference.forward(wide(x), wide(gain), wide(shift), True, 1e-5)
        close(y, expected, 2e-6)
        found = cuda.backward(grad, x, gain, stats, True, ALL)
        exact = reference.backward(wide(grad), wide(x), wide(gain), of_wide, True, ALL)
        for one, other in zip(found, exact, strict=True):
            close(one, other, 1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((3, 32, 9, 7), 8),
        ((2, 64, 30, 31), 32),
        ((2, 10, 50, 33), 10),
        ((1, 96, 64, 65), 3),
        ((5, 6, 40), 2),
        ((2, 256, 7, 7), 256),
        ((4, 5, 3, 3), 1),
    ],
)
def test_groups(
    shape: tuple[int, ...], groups: int, channels_last: bool, rng: np.random.Generator
) -> None:
    x, grad = (on_gpu(v, channels_last) for v in rng.standard_normal((2, *shape), np.float32))
    y, stats = cuda.of_groups(x, groups, 1e-3)
    rows = shape[0] * groups
    a, g = (wide(each).reshape(rows, -1) for each in (x, grad))
    expected, of_wide = reference.forward(a, None, None, True, 1e-3)
    assert y.strides == x.strides
    close(y, expected.reshape(shape), 2e-6)
    np.testing.assert_allclose(stats.get(), of_wide, rtol=1e-11, atol=1e-11)
    exact, *_ = reference.backward(g, a, None, of_wide, True, ONLY_X)
    for incoming in (grad, on_gpu(grad.get())):
        dx = cuda.of_groups_backward(incoming, x, groups, stats)
        assert dx.strides == x.strides
        assert exact is not None
        close(dx, exact.reshape(shape), 1e-5)


def test_far_from_zero_and_not_finite(rng: np.random.Generator) -> None:
    values = rng.standard_normal((5, 600)).astype(np.float32)
    values[1] += 1e6
    values[2, 7], values[3, 9] = np.nan, np.inf
    values[4] *= 1e37
    y, _ = cuda.forward(on_gpu(values), None, None, True, 1e-5)
    for row in (0, 1, 4):
        exact, _ = reference.forward(values[row : row + 1].astype(float), None, None, True, 1e-5)
        close(y[row : row + 1], exact, 2e-6)
    assert np.isnan(y[2:4].get()).all()


def test_of_tensors(rng: np.random.Generator) -> None:
    """Whole operations, as on a CPU: also gradients of gradients, batches and captures."""
    values, seed = rng.standard_normal((2, 6, 8, 5, 4)).astype(np.float32)
    vectors = rng.standard_normal((2, 8)).astype(np.float32)

    def first(x: Any, weight: Any, bias: Any) -> Any:
        return x.layer_norm((5, 4)) * 2 + x.group_norm(2, weight, bias) + x.instance_norm()

    def found(device: str, function: Any) -> list[np.ndarray]:
        x, *affine = (
            Tensor(each, device=device, requires_grad=True) for each in (values, *vectors)
        )
        y = function(x, *affine)
        by = tg.grad(y, [x, *affine], Tensor(seed, device=device), create_graph=True)
        second = tg.grad((by[0] * by[0]).sum(), x)
        return [each.numpy() for each in (y, *by, second)]

    def batches(x: Any, weight: Any, bias: Any) -> Any:
        return tg.vmap(lambda each: first(each.unsqueeze(0), weight, bias).squeeze(0))(x)

    for function in (first, batches):
        for ours, expected in zip(found("cuda:0", function), found("cpu", function), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    x = Tensor(values, device="cuda:0")
    captured = tg.jit(lambda x: (x * 2).layer_norm((5, 4)).sum((2, 3)))
    runs = [captured(x).numpy().tobytes() for _ in range(4)]
    assert len(set(runs)) == 1
