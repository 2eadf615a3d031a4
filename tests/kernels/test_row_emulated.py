"""The CUDA kernels of layer norm and softmax, run on the CPU, against the plain reference.

Every output is NaN before, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.cuda_emulator import on_device
from tinygrad_cupy.kernels import softmax
from tinygrad_cupy.kernels.common import row_cuda
from tinygrad_cupy.kernels.common.layout import seen_second
from tinygrad_cupy.kernels.layer_norm import (
    _of_groups_backward_cpu,
    _of_groups_cpu,
    cuda,
    reference,
)

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]

# Rows and columns: a thread for a row, a warp, two warps and a row that is not kept.
SHAPES = [(70, 3), (2, 301), (1, 2052)]


def unwritten(shape: Any, dtype: Any) -> Any:
    return on_device(np.full(shape, np.nan, dtype))


def empty(shape: Any, dtype: Any, channels_last: bool) -> Any:
    if not channels_last:
        return unwritten(shape, dtype)
    return seen_second(unwritten((shape[0], *shape[2:], shape[1]), dtype))


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())
    for module in (cuda, softmax.cuda):
        monkeypatch.setattr(module, "empty", empty)
        monkeypatch.setattr(module, "int32s", lambda *values: tuple(map(np.int32, values)))
        monkeypatch.setattr(module, "int64s", lambda *values: tuple(map(np.int64, values)))
    monkeypatch.setattr(cuda, "import_cupy", lambda: SimpleNamespace(empty=unwritten))
    monkeypatch.setattr(cuda, "empties", lambda *given: [unwritten(*each) for each in given])
    monkeypatch.setattr(cuda, "float64s", lambda *values: tuple(map(np.float64, values)))
    monkeypatch.setattr(cuda, "null", lambda: np.int64(0))
    monkeypatch.setattr(row_cuda, "BUSY", 128)
    monkeypatch.setattr(cuda, "PARTIALS", 0)
    for file in (*cuda._forward, *cuda._backward, *softmax.cuda._files):
        monkeypatch.setattr(file, "threads", cuda_emulator.THREADS)
    for cached in (cuda._plan, cuda._means, softmax.cuda._plan):
        cached.cache_clear()
    yield
    for cached in (cuda._plan, cuda._means, softmax.cuda._plan):
        cached.cache_clear()


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_both_passes(rows: int, columns: int, rng: np.random.Generator) -> None:
    dtype = np.float32
    x = on_device((rng.standard_normal((rows, columns)) + 30).astype(dtype))
    grad = on_device(rng.standard_normal((rows, columns)).astype(dtype))
    weight, bias = (on_device(v) for v in rng.standard_normal((2, columns)).astype(dtype))
    bound = 1e-5
    cases: list[Any] = [
        (True, weight, bias, (True, True, True)),
        (False, None, None, (True, False, False)),
        (True, weight, None, (False, True, False)),
    ]
    for centred, gain, shift, needs in cases:
        a, g, w, b = (
            None if each is None else np.array(each, np.float64) for each in (x, grad, gain, shift)
        )
        assert a is not None
        assert g is not None
        y, stats = cuda.forward(x, gain, shift, centred, 1e-3)
        expected, of_wide = reference.forward(a, w, b, centred, 1e-3)
        np.testing.assert_allclose(y, expected, rtol=bound, atol=bound)
        np.testing.assert_allclose(stats, of_wide, rtol=1e-10, atol=1e-12)
        found = cuda.backward(grad, x, gain, stats, centred, needs)
        exact = reference.backward(g, a, w, of_wide, centred, needs)
        for one, other in zip(found, exact, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                np.testing.assert_allclose(one, other, rtol=bound, atol=bound * rows)


def test_groups_of_images(rng: np.random.Generator) -> None:
    """Channels last, which are not copied."""
    groups = 2
    x, grad = rng.standard_normal((2, 2, 5, 3, 8))
    y, stats = cuda.of_groups(seen_second(on_device(x)), groups, 1e-3)
    plain = np.ascontiguousarray(seen_second(x))
    expected, of_plain = _of_groups_cpu(plain, groups, 1e-3)
    assert y.strides == seen_second(x).strides
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-11)
    given = seen_second(on_device(x)), groups, stats
    dx = cuda.of_groups_backward(seen_second(on_device(grad)), *given)
    exact = _of_groups_backward_cpu(seen_second(grad), plain, groups, of_plain)
    np.testing.assert_allclose(dx, exact, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("shape", "axes", "log"), [((3, 70), (1,), True), ((2, 90, 3, 1), (1,), False)]
)
def test_softmax(
    shape: tuple[int, ...], axes: tuple[int, ...], log: bool, rng: np.random.Generator
) -> None:
    x, grad = (on_device(v) for v in rng.standard_normal((2, *shape)) * 9)
    if len(shape) > 2:  # channels last
        x, grad = (seen_second(on_device(np.moveaxis(v, 1, -1).copy())) for v in (x, grad))
    y = softmax.cuda.forward(x, axes, log)
    assert y.strides == x.strides
    expected = softmax.reference.forward(np.array(x), axes, log)
    # A logarithm near 0 is a difference of numbers near 1: it has their last places.
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=2e-15 if log else 0)
    dx = softmax.cuda.backward(grad, y, axes, log)
    exact = softmax.reference.backward(np.array(grad), np.array(y), axes, log)
    np.testing.assert_allclose(dx, exact, rtol=1e-10, atol=1e-12)
