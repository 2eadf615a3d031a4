"""The kernels that are compiled ahead are those that a first step's backward and update launch."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import CudaSource, blas
from tinygrad_cupy.kernels.conv import cuda as conv_cuda
from tinygrad_cupy.kernels.conv import pooling, wgrad_sums
from tinygrad_cupy.nn import models, optim
from tinygrad_cupy.nn.optim import cuda as optim_cuda

pytestmark = pytest.mark.gpu

Compiled = set[tuple[CudaSource, tuple[str, ...]]]
FILES = {
    *(conv_cuda._mma, conv_cuda._wgmma, conv_cuda._wgrad),
    *(conv_cuda._few, wgrad_sums._sum, pooling._kernels, optim_cuda._kernels),
}


def watch(monkeypatch: pytest.MonkeyPatch, method: str) -> Compiled:
    """What ``method`` of those files is asked for from now on, and still does."""
    seen: Compiled = set()
    original = getattr(CudaSource, method)
    signature = inspect.signature(original)

    def spy(file: CudaSource, *arguments: Any, **named: Any) -> None:
        if file in FILES:
            given = signature.bind(file, *arguments, **named).arguments
            seen.add((file, given.get("defines", ())))
        original(file, *arguments, **named)

    monkeypatch.setattr(CudaSource, method, spy)
    return seen


@pytest.mark.parametrize("precision", blas.PRECISIONS)
@pytest.mark.parametrize("net", models.MNIST)
def test_a_step_launches_what_was_prepared(
    net: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tg.set_precision(precision)
    conv_cuda._prepare_backward.cache_clear()
    prepared = watch(monkeypatch, "prepare")
    model = models.build(net)
    model.to("cuda:0")
    optimizer = optim.Adam(model.parameters())
    rng = np.random.default_rng(0)
    images = Tensor(rng.random((5, 1, 28, 28)), dtype="float32", device="cuda:0")
    loss = model(images).cross_entropy(Tensor(rng.integers(10, size=5), device="cuda:0"))
    ahead = set(prepared)
    launched = watch(monkeypatch, "launch")
    loss.backward()
    optimizer.step()
    assert launched <= ahead
    assert {conv_cuda._few, wgrad_sums._sum, optim_cuda._kernels} <= {file for file, _ in launched}
