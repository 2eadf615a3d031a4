"""Training on the real MNIST: a few hundred steps reach what a working engine reaches."""

from pathlib import Path

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import nn
from tinygrad_cupy.datasets import DataLoader, mnist
from tinygrad_cupy.nn import metrics, optim

pytestmark = pytest.mark.slow


def test_300_steps_of_the_medium_net(mnist_dir: Path, device: str) -> None:
    train, test = mnist(mnist_dir, download=False)
    model = nn.models.build("medium").to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    batches = iter(DataLoader(train, batch_size=128, shuffle=True, seed=0, device=device))
    for _ in range(300):
        images, labels = next(batches)
        optimizer.zero_grad()
        model(images).cross_entropy(labels).backward()
        optimizer.step()

    model.eval()
    matrix = np.zeros((10, 10), np.int64)
    with tg.no_grad():
        for images, labels in DataLoader(test, batch_size=500, device=device):
            guesses = model(images).argmax(axis=1)
            matrix += metrics.confusion_matrix(labels.numpy(), guesses.numpy(), 10)
    assert matrix.sum() == 10_000
    assert metrics.accuracy(matrix) > 0.96
