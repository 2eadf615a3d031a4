"""Runs of a sweep with figures that are made up, for its report."""

from __future__ import annotations

import numpy as np

from tinygrad_cupy import datasets, nn
from tinygrad_cupy.command.experiment import Data, Run
from tinygrad_cupy.command.settings import RunSettings, TrainSettings
from tinygrad_cupy.nn import EpochRecord, Evaluation, History


def settings(batch_size: int) -> RunSettings:
    """Of a run on 1000 images that do not exist."""
    asked = TrainSettings(epochs=50, patience=5, lr=0.1)
    images = np.zeros((1000, 1, 28, 28), np.uint8)
    data = datasets.ArrayDataset(images, np.zeros(1000, int), ("0", "1"), "made up")
    return asked.resolve(data, "cpu", batch_size)


def made_up(
    batch_size: int, right: int, seconds: float, epochs: int, stopped: str = "early"
) -> Run:
    """A run on 1000 test images of which `right` are, every mistake a 0 taken for 1."""
    labels = np.repeat(np.arange(2), 500)
    guesses = labels.copy()
    guesses[: 1000 - right] = 1
    images = np.zeros((1000, 1, 28, 28), np.uint8)
    part = datasets.ArrayDataset(images, labels, ("0", "1"), "made up")
    history = History(
        [
            EpochRecord(n, 0.1, 0.9, 0.2, 0.9, 0.1, seconds, 1000 / seconds)
            for n in range(1, epochs + 1)
        ],
        stopped=stopped,
        kept_epoch=epochs,
        seconds=seconds * epochs,
    )
    return Run(
        settings=settings(batch_size),
        data=Data(part, part, part, "Made up."),
        model=nn.Linear(2, 2),
        history=history,
        test=Evaluation(0.1, right / 1000, labels, np.eye(2, dtype=np.float32)[guesses]),
        val_accuracy=0.9,
        problem=None,
    )
