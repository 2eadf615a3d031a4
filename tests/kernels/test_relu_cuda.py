"""ReLU and its gate on a GPU: every layout and length, alignment, what is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.gpu_memory import on_gpu, poison
from tinygrad_cupy.kernels import activation

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
@pytest.mark.parametrize("last", [(False, False), (True, True), (True, False)])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (129, 65), (3, 17, 5, 7), (7, 64, 9, 6)])
def test_relu_and_gate(shape: tuple[int, ...], last: tuple[bool, bool], dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, grad = (np.asarray(rng.standard_normal(shape) * 3).astype(dtype) for _ in range(2))
    if x.size > 9 and x.dtype.kind == "f":
        x.flat[1], x.flat[5], grad.flat[2], grad.flat[3] = np.nan, np.inf, np.inf, np.nan
    y = activation.relu(on_gpu(x, last[0]))
    np.testing.assert_array_equal(y.get(), np.maximum(x, 0))
    gated = activation.relu_backward(on_gpu(grad, last[1]), y)
    np.testing.assert_array_equal(gated.get(), np.where(x <= 0, np.zeros((), dtype), grad))


def test_views() -> None:
    memory = np.random.default_rng(0).standard_normal(4001).astype(np.float32)
    for part in (slice(1, None), slice(None, None, 2), slice(None, None, -1)):
        x = on_gpu(memory)[part]
        y = activation.relu(x)
        np.testing.assert_array_equal(y.get(), np.maximum(memory[part], 0))
        np.testing.assert_array_equal(
            activation.relu_backward(x, y).get(), np.maximum(memory[part], 0)
        )
