"""The CUDA kernel of sums, run on the CPU, over arrays that lie in memory in every way.

Every output is 77 before, so an element that the kernel leaves unwritten shows.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.cuda_emulator import OnDevice, on_device
from tinygrad_cupy.backend import strides_of
from tinygrad_cupy.kernels.common import sums_cuda, sums_plan

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]

BLOCKS = 6  # so that a tile has several parts, and several tiles one
PLANS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "columns": (lambda x: x.reshape(-1, 24), (0,)),
    "odd columns": (lambda x: x[:, :67, :1].reshape(-1, 67), (0,)),
    "gaps": (lambda x: x.reshape(-1, 8, 24)[..., 4:20], (0, 1)),
    "rows": (lambda x: x.reshape(4, -1), (1,)),
    "all": (lambda x: x, (0, 1, 2)),
    "every second": (lambda x: x[::-2, 1::2, ::3], (0, 2)),
    "outer and inner": (lambda x: x, (0, 2)),
    "three strides": (lambda x: x.reshape(-1, 4, 6, 8, 3)[:, :3, :, 1:7], (0, 1, 3)),
}


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())

    def unwritten(shape: Any, dtype: Any) -> Any:
        return np.full(shape, 77, dtype).view(OnDevice)

    cupy = SimpleNamespace(empty=unwritten, empty_like=lambda x: unwritten(x.shape, x.dtype))
    monkeypatch.setattr(sums_cuda, "import_cupy", lambda: cupy)
    monkeypatch.setattr(sums_cuda, "null", lambda: np.int64(0))
    monkeypatch.setattr(sums_cuda, "float64s", lambda value: (np.float64(value),))
    monkeypatch.setattr(sums_cuda, "ticket_of", lambda array: np.zeros(1024, np.uint32))
    monkeypatch.setattr(
        sums_cuda, "struct", lambda values, dtype: np.array(values, np.int64).view(dtype)
    )
    monkeypatch.setattr(sums_plan, "THREADS", cuda_emulator.THREADS)
    monkeypatch.setattr(sums_plan, "BLOCKS", BLOCKS)
    sums_cuda._ready.cache_clear()
    yield
    sums_cuda._ready.cache_clear()


def values(dtype: str, rng: np.random.Generator) -> Any:
    """(16, 96, 24): exact in every type that is added up here."""
    found = rng.integers(0 if dtype[0] in "ub" else -9, 10, (16, 96, 24)).astype(dtype)
    return on_device(found * np.array(1 - 2j) if dtype[0] == "c" else found)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in PLANS] + [("every second", "complex64")],
)
def test_sums(name: str, dtype: str, rng: np.random.Generator) -> None:
    view, axes = PLANS[name]
    x = view(values(dtype, rng).astype(dtype))
    made = np.dtype(dtype if dtype[0] in "fc" else "int64")
    for keepdims in (False, True):
        found = sums_cuda.sums(x, axes, keepdims, made)
        expected = np.asarray(x).sum(axis=axes, dtype=made, keepdims=keepdims)
        assert (found.dtype, found.shape) == (made, expected.shape)
        np.testing.assert_array_equal(found, expected)


def test_plans_of_the_kernel_have_what_they_are_tried_for(rng: np.random.Generator) -> None:
    plans = {}
    for name, (view, axes) in PLANS.items():
        x = view(values("float32", rng))
        start = x.ctypes.data % 16
        plan = sums_plan.plan_of(x.shape, strides_of(x), axes, False, x.itemsize, start)
        assert plan is not None
        plans[name] = plan
    rows = {name for name, plan in plans.items() if "ROWS" in plan.macros}
    assert {"rows", "all", "outer and inner"} <= rows
    assert not {"columns", "gaps"} & rows
    assert any(plan.grid[0] > 1 < plan.grid[1] for plan in plans.values())
    assert all(any(f"WIDTH={n}" in plan.macros for plan in plans.values()) for n in (1, 4))
    assert "WIDTH=4" in plans["gaps"].macros
    assert "SUMMED=3" in plans["three strides"].macros


@pytest.mark.parametrize(("rows", "columns"), [(7, 24), (513, 8)])
def test_the_gated_gradient(rows: int, columns: int, rng: np.random.Generator) -> None:
    grad, y = (on_device(rng.integers(-9, 10, (rows, columns)).astype("f4")) for _ in range(2))
    masked, total = sums_cuda.relu_backward_and_sum(grad, y)
    expected = np.where(np.asarray(y) > 0, grad, 0)
    np.testing.assert_array_equal(masked, expected)
    np.testing.assert_array_equal(total, expected.sum(0))


def test_a_mean(rng: np.random.Generator) -> None:
    x = values("int8", rng)
    found = sums_cuda.sums(x, (0, 1), False, np.dtype("f4"), 16.0 * 96)
    np.testing.assert_array_equal(found, np.asarray(x).mean(axis=(0, 1)).astype("f4"))
