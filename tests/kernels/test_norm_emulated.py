"""Batch norm's CUDA kernels, run on the CPU, against the NumPy ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.batch_norm_parts import of_parts, of_whole
from support.cuda_emulator import OnDevice, on_device
from tinygrad_cupy import backend
from tinygrad_cupy.backend import CudaSource
from tinygrad_cupy.backend.dtypes import resolve_dtype
from tinygrad_cupy.kernels.common.headers import LAST_BLOCK, VECTOR
from tinygrad_cupy.kernels.common.pool2x2 import MASKED
from tinygrad_cupy.kernels.norm import cpu, cuda

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]

THREADS = cuda_emulator.THREADS
REDUCE_THREADS = 128  # no fewer than the channels that a block adds up at once
CASES = [  # a thread has 8, 4, 1 and 8 channels; ReLU, pool, what ReLU gives at most
    ((5, 16, 5, 4), True, False, None),
    ((5, 16, 5, 4), True, False, 1.5),
    ((5, 3, 4, 4), True, False, 1.5),
    ((5, 16, 5, 4), True, True, None),
    ((4, 12, 4, 5), True, True, None),
    ((5, 3, 4, 4), False, False, None),
    ((2, 264, 2, 2), False, True, None),
]
BOUNDS = {"float32": 1e-5, "bfloat16": 2e-3}


def _empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """A new (N, C, …) stored as (N, …, C), to be written."""
    values = np.full(np.prod(shape) * dtype.itemsize, 0xFF, np.uint8).view(dtype)
    return np.moveaxis(values.reshape(shape[0], *shape[2:], shape[1]), -1, 1).view(OnDevice)


def _last(x: Any, alignment: int = 16) -> Any:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1).view(OnDevice)


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())
    defines = (f"REDUCE_THREADS={REDUCE_THREADS}", f"MASKED={MASKED}")
    names = (VECTOR, LAST_BLOCK, "statistics.cuh", "batch_norm.cu")
    source = CudaSource(cuda.__file__, *names, threads=THREADS, defines=defines)
    few = CudaSource(cuda.__file__, "statistics.cuh", "ranks.cu", threads=THREADS)
    instead: dict[str, Any] = {
        "_kernels": source,
        "_of_ranks": few,
        "REDUCE_THREADS": REDUCE_THREADS,
        "ROWS_EACH": 2,
        "import_cupy": backend.import_cupy,
        "int32s": lambda *values: tuple(map(np.int32, values)),
        "int64s": lambda *values: tuple(map(np.int64, values)),
        "float64s": lambda *values: tuple(map(np.float64, values)),
        "null": lambda: np.int64(0),
        "ticket_of": lambda partials: on_device(np.zeros(1, np.uint32)),
        "empty_last": _empty,
        "empties": lambda *wanted: [on_device(np.full(shape, 77, kind)) for shape, kind in wanted],
        "last": _last,
    }
    for name, value in instead.items():
        monkeypatch.setattr(cuda, name, value)
    cuda._plan.cache_clear()


@pytest.mark.parametrize(("shape", "relu", "pool", "cap"), CASES)
def test_as_on_the_cpu(shape: tuple[int, ...], relu: bool, pool: bool, cap: float | None) -> None:
    kind = resolve_dtype("bfloat16")
    expected, code, _ = of_whole(cpu, np.copy, shape, kind, relu, pool, cap)
    found, other, batches = of_whole(cuda, on_device, shape, kind, relu, pool, cap)
    assert code is None or (code == np.asarray(other)).all()
    assert int(batches) == 42
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        apart = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
        size = np.linalg.norm(np.asarray(theirs, np.float64))
        assert np.linalg.norm(apart) < BOUNDS[ours.dtype.name] * size


@pytest.mark.parametrize(("tall", "momentum"), [(False, 0.3), (True, 0.3), (True, None)])
@pytest.mark.parametrize("counts", [(3, 2), (1, 4, 0)])
@pytest.mark.parametrize(("shape", "relu", "pool", "cap"), [CASES[i] for i in (0, 1, 3, 5)])
def test_ranks_with_a_share_each(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    relu: bool,
    pool: bool,
    cap: float | None,
    counts: tuple[int, ...],
    tall: bool,
    momentum: float | None,
) -> None:
    if tall:  # windows of the pool are those of each sample
        shape = (*shape[:2], shape[2] // 2 * 2, shape[3])
    how = (shape, resolve_dtype("float32"), relu, pool, cap)
    expected, _ = of_parts(monkeypatch, cpu, np.copy, *how, (sum(counts),), False, momentum)
    found, exchanges = of_parts(monkeypatch, cuda, on_device, *how, counts, tall, momentum)
    assert exchanges == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(np.asarray(ours) - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())
