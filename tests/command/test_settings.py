"""Settings of a run: defaults that depend on the data and on the optimizer, resolved once."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from tinygrad_cupy.command.errors import UsageError
from tinygrad_cupy.command.settings import RunSettings, TrainSettings
from tinygrad_cupy.datasets import ArrayDataset


def data(name: str, count: int = 200) -> ArrayDataset:
    images = np.zeros((count, 1, 8, 8), np.uint8)
    return ArrayDataset(images, np.zeros(count, np.int64), ("0", "1"), name)


@pytest.mark.parametrize(
    ("asked", "name", "epochs", "lr"),
    [
        (TrainSettings(), "MNIST", 5, 0.001),
        (TrainSettings(), "digits", 30, 0.002),
        (TrainSettings(optimizer="sgd"), "digits", 30, 0.05),
        (TrainSettings(dataset="/"), "digits", 5, 0.001),  # a folder that is called so
        (TrainSettings(epochs=2, lr=0.5), "digits", 2, 0.5),
    ],
)
def test_defaults_are_those_of_data_and_optimizer(
    asked: TrainSettings, name: str, epochs: int, lr: float
) -> None:
    settings = asked.resolve(data(name), "cpu")
    assert (settings.epochs, settings.lr, settings.device) == (epochs, lr, "cpu")
    found = {"epochs", "lr", "device", "batch_size", "weight_decay", "augment", "model_file"}
    found |= {"among_seeds"}
    kept = {field.name for field in dataclasses.fields(RunSettings)} - found
    assert {key: getattr(settings, key) for key in kept} == {
        key: getattr(asked, key) for key in kept
    }


def test_a_batch_is_not_larger_than_the_data() -> None:
    text = "is more than the 200 training images of MNIST (after --val-fraction 0.1)"
    with pytest.raises(UsageError, match=re.escape(f"--batch-size: 201 {text}")):
        TrainSettings(batch_size=201).resolve(data("MNIST"), "cpu")
    with pytest.raises(UsageError, match=re.escape(f"--batch-sizes: 300 {text}")):
        TrainSettings().resolve(data("MNIST"), "cpu", 300)
    assert TrainSettings().resolve(data("MNIST"), "cpu", 200).batch_size == 200
