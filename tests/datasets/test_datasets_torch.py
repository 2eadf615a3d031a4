"""PyTorch's datasets and samplers in a loader of ours, and the same batches as PyTorch's loader."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.peers import import_torch
from tinygrad_cupy.datasets import ArrayDataset, DataLoader

torch = import_torch()


def theirs(count: int = 23) -> Any:
    x = torch.arange(count * 3, dtype=torch.float64).reshape(count, 3)
    return torch.utils.data.TensorDataset(x, torch.arange(count) % 4, x[:, :1].half())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_pytorch(workers: int) -> None:
    data = theirs()
    loader = DataLoader(data, 5, num_workers=workers)
    batches = torch.utils.data.DataLoader(data, 5)
    for ours, their in zip(loader, batches, strict=True):
        assert len(ours) == 3
        for a, b in zip(ours, their, strict=True):
            assert str(b.dtype) == f"torch.{a.dtype}"
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    loader.close()


def test_a_subset_and_a_sampler_of_pytorch() -> None:
    data = torch.utils.data.Subset(theirs(), [4, 2, 8])
    assert next(iter(DataLoader(data, 3)))[0].numpy()[:, 0].tolist() == [12, 6, 24]
    sampler = torch.utils.data.WeightedRandomSampler([0.0, 1.0, 0.0], 7)
    loader = DataLoader(theirs(3), 3, sampler=sampler)
    assert [x[:, 0].tolist() for x, *_ in loader] == [[3.0] * 3, [3.0] * 3, [3.0]]


def test_a_collate_of_pytorch() -> None:
    collate = torch.utils.data.default_collate
    x, y, _ = next(iter(DataLoader(theirs(), 5, collate=collate)))
    assert (x.shape, str(x.dtype), y.tolist()) == ((5, 3), "float64", [0, 1, 2, 3, 0])


def test_an_array_dataset_of_tensors_of_pytorch() -> None:
    data = ArrayDataset(torch.ones(3, 2, dtype=torch.float64), torch.arange(3))
    assert (data.inputs.dtype, data[2][1]) == (np.float64, 2)
