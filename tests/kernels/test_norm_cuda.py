"""Batch norm's CUDA kernels against the NumPy ones, at odd sizes and in both layouts.

Every output is poisoned first, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.batch_norm_parts import of_parts, of_whole
from support.gpu_memory import error, on_gpu, poison
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels.norm import cpu, cuda
from tinygrad_cupy.kernels.norm.cpu import Running

pytestmark = pytest.mark.gpu

# N, C and the rest
SHAPES = [
    (129, 1),
    (7, 3),
    (2, 17),
    (129, 64),
    (7, 132, 5),
    (1, 3, 9, 5),
    (7, 1, 28, 27),
    (129, 17, 5, 4),
    (7, 64, 12, 13),
    (1, 64, 2, 2),
    (129, 32, 20, 20),
    (3, 1028, 3, 5),
    (350, 128, 7, 8),  # a thread goes round its loops more than once
]
FLAGS = [  # ReLU, pool, what ReLU gives at most
    (False, False, None),
    (True, False, None),
    (True, False, 1.5),
    (False, True, None),
    (True, True, None),
]
DTYPES = ["float32", "float64", "float16", "bfloat16"]
# Of results: one of 16 bits may be rounded to its other neighbour.
BOUNDS = {"float32": 1e-5, "float64": 1e-12, "float16": 3e-4, "bfloat16": 2e-3}
CASES = [(s, *f) for s in SHAPES for f in FLAGS if not f[1] or len(s) == 4]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.mark.one_in(10)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("shape", "relu", "pool", "cap"), CASES)
def test_forward_and_backward(
    shape: tuple[int, ...],
    relu: bool,
    pool: bool,
    cap: float | None,
    channels_last: bool,
    dtype: str,
) -> None:
    kind = resolve_dtype(dtype)
    expected, code, _ = of_whole(cpu, np.copy, shape, kind, relu, pool, cap)

    def place(array: np.ndarray) -> Any:
        return on_gpu(array, channels_last)

    found, found_code, batches = of_whole(cuda, place, shape, kind, relu, pool, cap)
    if code is not None:
        same = found_code.get() == code
        assert same.mean() > 0.999  # rounding may turn a tie
        if not same.all():
            return
    for ours, theirs in zip(found, expected, strict=True):
        assert error(ours, theirs) < BOUNDS[theirs.dtype.name]
    assert int(batches) == 42


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("relu", "pool", "cap"), FLAGS)
def test_the_same_bits_every_time(relu: bool, pool: bool, cap: float | None, dtype: str) -> None:
    how = ((129, 32, 11, 12), resolve_dtype(dtype), relu, pool, cap)
    runs = [of_whole(cuda, on_gpu, *how) for _ in range(3)]
    first, code, _ = runs[0]
    for arrays, other_code, _ in runs[1:]:
        for one, other in zip(first, arrays, strict=True):
            assert one.tobytes() == other.tobytes()
        assert code is None or (code == other_code).all()


@pytest.mark.one_in(10)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tall", "momentum"), [(False, 0.3), (True, 0.3), (True, None)])
@pytest.mark.parametrize("counts", [(4, 3), (1, 6, 0), (3, 2, 1, 1)])
@pytest.mark.parametrize(("relu", "pool", "cap"), FLAGS)
@pytest.mark.parametrize("shape", [(7, 64, 12, 13), (7, 3, 9, 5), (7, 1028, 3, 5)])
def test_ranks_with_a_share_each(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    relu: bool,
    pool: bool,
    cap: float | None,
    counts: tuple[int, ...],
    tall: bool,
    momentum: float | None,
    dtype: str,
) -> None:
    """Threads of one process on one GPU, against the CPU's batch norm of the whole batch."""
    if tall:  # windows of the pool are those of each sample
        shape = (*shape[:2], shape[2] // 2 * 2, shape[3])
    how = (shape, resolve_dtype(dtype), relu, pool, cap)
    expected, _ = of_parts(monkeypatch, cpu, np.copy, *how, (7,), False, momentum)
    found, exchanges = of_parts(monkeypatch, cuda, on_gpu, *how, counts, tall, momentum)
    assert exchanges == 2
    if pool:
        same = found[2] == expected[2]
        assert same.mean() > 0.999  # rounding may turn a tie
        if not same.all():
            return
    for ours, theirs in zip(found, expected, strict=True):
        exact = theirs.astype(np.float64)
        apart = float(np.linalg.norm(ours.astype(np.float64) - exact))
        assert apart < BOUNDS[dtype] * max(float(np.linalg.norm(exact)), 1.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inputs_that_are_views(dtype: str) -> None:
    """Every second channel, and addresses that four floats at once must not be read from."""
    rng = np.random.default_rng(0)
    base, other = rng.standard_normal((2, 9, 8, 5, 6)).astype(resolve_dtype(dtype))
    vectors = rng.uniform(1, 2, 21).astype(np.float32)
    results = []
    for kernels, place in ((cpu, np.copy), (cuda, on_gpu)):
        x, vector = place(base)[:, ::2], place(vectors)
        running = Running(vector[9:13], vector[13:17], None, 0.1)
        y, gate, code, found = kernels.forward(
            x, vector[1:5], vector[5:9], 1e-5, running, False, False
        )
        how = (vector[1:5], vector[5:9], found, gate, code, False, True)
        by = kernels.backward(place(other)[:, ::2], x, *how)
        results.append((y, *by, vector))
    for theirs, ours in zip(*results, strict=True):
        assert error(ours, theirs) < BOUNDS[theirs.dtype.name]


def test_running_statistics_of_another_dtype() -> None:
    results = []
    for kernels, place in ((cpu, np.copy), (cuda, on_gpu)):
        mean, var, count = place(np.zeros(3)), place(np.ones(3)), place(np.array(0, np.int32))
        ones = place(np.ones(3, np.float32))
        x = place(np.arange(24, dtype=np.float32).reshape(8, 3) ** 2)
        kernels.forward(x, ones, ones, 1e-5, Running(mean, var, count, 0.5), False, False)
        assert int(count) == 1
        results.append((mean, var))
    for theirs, ours in zip(*results, strict=True):
        assert error(ours, theirs) < 1e-6


def test_far_from_zero_and_not_finite() -> None:
    values = np.random.default_rng(0).standard_normal((4096, 4)).astype(np.float32)
    values += np.array([0, 1000, 0, 0], np.float32)
    values[7, 2], values[9, 3] = np.nan, np.inf
    ones = on_gpu(np.ones(4, np.float32))
    running = Running(ones.copy(), ones.copy(), None, 0.1)
    y, *_ = cuda.forward(on_gpu(values), ones, ones, 1e-5, running, True, False)
    y = y.get()
    exact = values[:, 1].astype(np.float64)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    np.testing.assert_allclose(y[:, 1], np.maximum(exact + 1, 0), atol=2e-4)
    assert np.isfinite(y[:, :2]).all()
    assert np.isnan(y[:, 2]).all()
    assert np.isnan(y[:, 3]).all()
