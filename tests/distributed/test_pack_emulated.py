"""The kernel that gathers gradients into one buffer, run on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support import cuda_emulator
from support.cuda_emulator import on_device
from tinygrad_cupy.distributed import flat

pytestmark = [
    pytest.mark.slow,
    # A text: asked where it runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_element_is_written_and_nothing_else(
    dtype: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())
    monkeypatch.setattr(flat, "int32s", lambda *values: tuple(map(np.int32, values)))
    rng = np.random.default_rng(0)
    sizes = [1, flat.EACH, 2 * flat.EACH + 7, 0, 30, *[5] * flat.ROWS]  # more than a table has
    layout = flat.Flat(dtype, [np.empty(size, dtype) for size in sizes])
    count = len(sizes)
    buffer = on_device(np.full(layout.end + count, np.nan, dtype))
    expected = buffer.copy()
    rows: list[Any] = []
    for i, (start, size) in enumerate(zip(layout.starts, sizes, strict=True)):
        values = on_device(rng.standard_normal(size + 1).astype(dtype))
        array = None if i % 5 == 4 else values[i % 2 :][:size]  # some are not aligned
        rows.append((array, start, size, 1 / 3, layout.end + i))
        expected[start : start + size] = 0 if array is None else array * dtype(1 / 3)
        expected[layout.end + i] = array is not None
    flat._pack_on_gpu(buffer, rows)
    np.testing.assert_array_equal(buffer, expected)
