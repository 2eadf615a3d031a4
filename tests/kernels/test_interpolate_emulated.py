"""The CUDA kernel that resizes, run on the CPU, against the reference in float64.

Arrays lie between guards of NaN, and every output is NaN before: what is read or written beside
an array shows, and what is left unwritten.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.warp_emulator import expect_guards, guarded, on_device
from tinygrad_cupy.kernels.common.layout import is_stored_last
from tinygrad_cupy.kernels.interpolate import cuda, reference
from tinygrad_cupy.kernels.interpolate.plan import Line

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]

TWICE = Line("linear", 6, 12)
CASES: dict[str, tuple[tuple[Line | None, ...], str, bool]] = {
    "twice": ((TWICE, TWICE), "float32", False),
    "twice, back": ((TWICE.T, TWICE.T), "float32", False),
    "twice, channels last": ((TWICE, TWICE), "float32", True),
    "odd": ((Line("linear", 5, 7), Line("linear", 9, 15)), "float32", False),
    "long": ((Line("area", 3, 2), Line("area", 90, 4)), "float32", False),
    "three axes": ((TWICE, None, Line("nearest", 5, 3)), "float32", False),
}


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())
    monkeypatch.setattr(cuda, "import_cupy", lambda: SimpleNamespace(empty=guarded))
    monkeypatch.setattr(cuda, "null", lambda: np.int64(0))
    monkeypatch.setattr(cuda, "uint32s", lambda *values: tuple(map(np.uint32, values)))
    monkeypatch.setattr(cuda, "device_of", lambda array: "cpu")
    monkeypatch.setattr(cuda, "struct", lambda values, dtype: np.array(values, "i4").view(dtype))
    monkeypatch.setattr(cuda._kernels, "threads", cuda_emulator.THREADS)
    monkeypatch.setattr(cuda, "BUSY", 32)  # threads make several rows each
    monkeypatch.setattr(
        cuda,
        "empty_last",
        lambda shape, dtype: last(guarded(shape[:1] + shape[2:] + shape[1:2], dtype)),
    )
    cuda._launch.cache_clear()
    yield
    cuda._launch.cache_clear()


def last(x: Any) -> Any:
    """(N, H, W, C) as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", CASES)
def test_resizing(name: str, rng: np.random.Generator) -> None:
    lines, dtype, channels_last = CASES[name]
    sizes = [6 if line is None else line.ends[0] for line in lines]
    shape = (3, *sizes, 8) if channels_last else (3, 2, *sizes)
    given = rng.standard_normal(shape).astype(dtype)
    given = last(given) if channels_last else given
    x = on_device(given)
    found = cuda.resize(x, lines)
    expect_guards(found)
    expected = reference.resize(given.astype(np.float64), lines)
    assert found.dtype == dtype
    limit = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(found, expected, rtol=limit, atol=limit)
    assert is_stored_last(found) == channels_last


def test_what_has_no_weight_does_not_count(rng: np.random.Generator) -> None:
    given = rng.standard_normal((2, 2, 6, 6)).astype(np.float32)
    given[0, 0, 2, 3], given[1, 1, 5, 5] = np.nan, np.inf
    line = Line("linear", 6, 11, None, True)
    found = cuda.resize(on_device(given), (line, line))
    with np.errstate(invalid="ignore"):  # 0 · inf, which it leaves out
        expected = reference.resize(given, (line, line))
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
