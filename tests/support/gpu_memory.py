"""New GPU memory that is NaN or all ones: what a kernel leaves unwritten shows."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import backend


def poison(monkeypatch: pytest.MonkeyPatch, always: bool = False) -> None:
    """Fill whatever `cupy.empty` and `cupy.cuda.alloc` give, until the test ends.

    Not under `sanitize.py`, which wants to see what reads memory that nothing wrote, unless
    ``always``: for what cuBLAS stores in half precision, which initcheck does not see (it calls
    the result of a plain `cupy.matmul` unwritten, too).
    """
    if "TINYGRAD_CUPY_SANITIZE" in os.environ and not always:
        return
    cupy = backend.import_cupy()
    plain, plain_alloc = cupy.empty, cupy.cuda.alloc

    def poisoned_alloc(size: int) -> Any:
        memory = plain_alloc(size)
        if size:
            memory.memset_async(0xFF, size)  # NaN in floats
        return memory

    def poisoned(shape: Any, dtype: Any = float, *args: Any, **options: Any) -> Any:
        array = plain(shape, dtype, *args, **options)
        if array.dtype.kind in "bV":
            array.view(f"u{array.itemsize}").fill(1 if array.dtype.kind == "b" else 0xFFFF)
        else:
            array.fill(np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max)
        return array

    monkeypatch.setattr(cupy, "empty", poisoned)
    monkeypatch.setattr(cupy.cuda, "alloc", poisoned_alloc)


def on_gpu(array: np.ndarray, channels_last: bool = False) -> Any:
    """A copy on the GPU; (N, C, …) behind the strides of (N, …, C) where asked for."""
    cupy = backend.import_cupy()
    if not channels_last or array.ndim < 3:
        return cupy.asarray(array)
    return cupy.moveaxis(cupy.asarray(np.moveaxis(array, 1, -1).copy()), -1, 1)


def error(found: Any, expected: Any) -> float:
    """‖found - expected‖ / ‖expected‖, of a GPU's array and a host's; NaN where one is."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    exact = expected.astype(np.float64)
    difference = float(np.linalg.norm(found.get().astype(np.float64) - exact))
    return difference / max(float(np.linalg.norm(exact)), 1e-30)
