"""The CUDA kernels of recurrent layers, run on the CPU, against the reference in float64.

What they write is 77 before, so an element that a kernel leaves unwritten shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support import cuda_emulator, recurrent_nets
from support.cuda_emulator import on_device
from tinygrad_cupy import backend
from tinygrad_cupy.kernels.recurrent import cuda

pytestmark = [
    pytest.mark.slow,
    # A text: asked where one of them runs, not where it is collected.
    pytest.mark.skipif("cuda_emulator.compiler() is None", reason="no compiler of C++20"),
]


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    cuda_emulator.install(monkeypatch, tmp_path_factory.getbasetemp())
    monkeypatch.setattr(cuda, "import_cupy", backend.import_cupy)
    monkeypatch.setattr(cuda, "int32s", lambda *values: tuple(map(np.int32, values)))
    monkeypatch.setattr(cuda, "null", lambda: np.int64(0))
    monkeypatch.setattr(cuda._kernels, "threads", cuda_emulator.THREADS)
    monkeypatch.setattr(cuda, "FULL", 4)  # so that vectors are read where H allows it
    cuda._width.cache_clear()


@pytest.mark.parametrize("net", recurrent_nets.NETS.values(), ids=recurrent_nets.NETS)
@pytest.mark.parametrize(
    ("sizes", "padded", "reverse", "dtype"),
    [
        ((1, 1, 1), False, False, np.float64),
        ((3, 5, 3), True, True, np.float32),
        ((2, 17, 4), True, False, np.float32),
        ((3, 2, 34), False, True, np.float64),
    ],
)
def test_both_passes(
    net: Any, sizes: tuple[int, int, int], padded: bool, reverse: bool, dtype: Any
) -> None:
    how = net, sizes, padded, reverse, dtype
    recurrent_nets.check(cuda, *how, on_device, np.asarray)
