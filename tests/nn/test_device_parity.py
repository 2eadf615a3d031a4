"""A training run on the GPU is the one on the CPU: masks, orders and, nearly, losses."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import backend, datasets, random
from tinygrad_cupy.datasets import DataLoader
from tinygrad_cupy.nn import models, optim

pytestmark = pytest.mark.gpu

SEED = 1  # one where no maximum of a window hangs on the last bit, so that losses can be compared


def _need_cuda() -> None:
    if not backend.cuda_available():
        pytest.skip("needs a CUDA device")


def _losses(model_name: str, device: str, steps: int) -> list[float]:
    tg.set_default_device(device)
    tg.manual_seed(SEED)
    train, _ = datasets.digits()
    model = models.build(model_name)
    adam = optim.Adam(list(model.parameters()), lr=1e-3)
    losses: list[float] = []
    loader = DataLoader(train, 64, shuffle=True, device=device)
    for x, y in loader:
        adam.zero_grad()
        loss = model(x).cross_entropy(y)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses[:steps]


@pytest.mark.parametrize("model_name", ["small", "medium"])
def test_first_losses_agree(model_name: str) -> None:
    _need_cuda()
    on_cpu, on_gpu = (_losses(model_name, device, 20) for device in ("cpu", "cuda:0"))
    assert len(on_cpu) == 20
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-4)


def test_words_shuffles_and_masks_are_bit_identical() -> None:
    _need_cuda()
    drawn = []
    for device in ("cpu", "cuda:0"):
        tg.manual_seed(SEED)
        ones = tg.Tensor.ones(7, 5, 3, device=device)
        drawn.append(
            [
                backend.to_numpy(random.words(1001, random.STREAM_WEIGHTS, device)),
                backend.to_numpy(random.permutation(54_000, device)),
                ones.dropout(0.3).numpy(),
                ones.dropout(0.3).numpy(),
            ]
        )
    for mine, theirs in zip(*drawn, strict=True):
        np.testing.assert_array_equal(mine, theirs)
