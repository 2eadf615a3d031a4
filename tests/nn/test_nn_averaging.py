"""Averages of weights, and the statistics of batch norm that belong to them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn import optim


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def moved(model: nn.Module, rng: np.random.Generator) -> list[np.ndarray]:
    """New parameters."""
    for param in model.parameters():
        param.assign_(rng.standard_normal(param.shape).astype(np.float32))
    return [param.numpy() for param in model.parameters()]


@pytest.mark.parametrize("decay", [0.0, 0.75])
def test_averages_by_hand(decay: float, rng: np.random.Generator, device: str) -> None:
    model = net().to(device)
    kind = optim.AveragedModel if decay == 0 else optim.ExponentialMovingAverage
    averaged = kind(model, decay)
    seen = []
    for _ in range(4):
        seen.append(moved(model, rng))
        averaged.update_parameters(model)
    expected = seen[0]
    for count, values in enumerate(seen[1:], start=2):
        share = 1 - decay if decay else 1 / count
        expected = [a + share * (b - a) for a, b in zip(expected, values, strict=True)]
    for param, value in zip(averaged.parameters(), expected, strict=True):
        np.testing.assert_allclose(param.numpy(), value, rtol=1e-5, atol=1e-6)
    assert averaged.n_averaged == 4
    assert averaged.decay == decay
    assert all(param.grad is None for param in model.parameters())


def test_frozen_parameters_are_averaged_too(rng: np.random.Generator) -> None:
    model = net()
    averaged = optim.AveragedModel(model)
    for param in (*model.parameters(), *averaged.parameters()):
        param.requires_grad = False
    values = moved(model, rng)
    averaged.update_parameters(model)
    for param, value in zip(averaged.parameters(), values, strict=True):
        np.testing.assert_array_equal(param.numpy(), value)


def test_a_state_continues_exactly(rng: np.random.Generator, device: str) -> None:
    model = net().to(device)
    averaged = optim.AveragedModel(model)
    for _ in range(3):
        moved(model, rng)
        averaged.update_parameters(model)
    other = optim.AveragedModel(net().to(device))
    assert not any(other.load_state_dict(averaged.state_dict()))
    twin = copy.deepcopy(averaged)
    moved(model, rng)
    for each in (averaged, other, twin):
        each.update_parameters(model)
    for name, value in averaged.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])
        np.testing.assert_array_equal(value, twin.state_dict()[name])
    assert averaged.state_dict()["n_averaged"] == 4
    saved = averaged.state_dict()
    del saved["n_averaged"]
    with pytest.raises(ValueError, match="n_averaged: expected a number of updates, got none"):
        other.load_state_dict(saved)


class Holder(nn.Module):
    """A net beside an average of it, as a script saves both at once."""

    def __init__(self, device: str = "cpu") -> None:
        self.model = net().to(device)
        self.averaged = optim.AveragedModel(self.model)


def test_a_module_around_it_saves_and_loads_the_count(
    rng: np.random.Generator, device: str
) -> None:
    one, other = Holder(device), Holder(device)
    for _ in range(3):
        moved(one.model, rng)
        one.averaged.update_parameters(one.model)
    assert one.averaged.n_averaged.dtype == np.int64
    assert one.averaged.n_averaged.device == next(one.model.parameters()).device
    saved = one.state_dict()
    assert saved["averaged.n_averaged"] == 3
    for _ in range(7):  # an average of its own, which has to be forgotten
        other.averaged.update_parameters(other.model)
    other.load_state_dict(saved)
    moved(one.model, rng)
    for each in (one, other):
        each.averaged.update_parameters(one.model)
    for name, value in one.averaged.state_dict().items():
        np.testing.assert_array_equal(value, other.averaged.state_dict()[name])
    assert other.averaged.n_averaged.item() == 4


def test_a_captured_update_goes_on_from_what_its_parent_loads(
    place: str, rng: np.random.Generator
) -> None:
    holder = Holder(place)
    values = [[p + float(i) for p in moved(holder.model, rng)] for i in range(4)]
    step = tg.jit(lambda: holder.averaged.update_parameters(holder.model))
    StandInPool.owners[:] = [holder]

    def update(index: int) -> None:
        for param, value in zip(holder.model.parameters(), values[index], strict=True):
            param.assign_(value)
        step()

    update(0)
    saved = holder.state_dict()
    for index in (1, 2, 3, 3):
        update(index)
    assert holder.averaged.n_averaged.item() == 5
    holder.load_state_dict(saved)
    update(2)
    assert holder.averaged.n_averaged.item() == 2
    for param, a, b in zip(holder.averaged.parameters(), values[0], values[2], strict=True):
        np.testing.assert_allclose(param.numpy(), (a + b) / 2, rtol=1e-5, atol=1e-6)


def test_another_model_is_refused() -> None:
    averaged = optim.AveragedModel(net())
    with pytest.raises(ValueError, match=r"\[AveragedModel\] expected a model of parameters and"):
        averaged.update_parameters(nn.Linear(3, 4))
    with pytest.raises(TypeError, match=r"\[ExponentialMovingAverage\] expected a Module, got int"):
        optim.ExponentialMovingAverage(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"decay must be a number of at least 0 and below 1"):
        optim.ExponentialMovingAverage(net(), decay=1.0)


def test_updates_are_captured(place: str, rng: np.random.Generator) -> None:
    models = [net().to(place) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [optim.SGD(model.parameters(), lr=0.1) for model in models]
    averages = [optim.ExponentialMovingAverage(model, 0.5) for model in models]

    def work(index: int, x: Tensor) -> None:
        optimizers[index].zero_grad()
        (models[index](x) ** 2).sum().backward()
        optimizers[index].step()
        averages[index].update_parameters(models[index])

    step = tg.jit(lambda x: work(0, x))
    StandInPool.owners[:] = [models[0], optimizers[0], averages[0]]
    for _ in range(6):
        x = Tensor(rng.standard_normal((5, 3)).astype(np.float32), device=place)
        step(x)
        work(1, x)
    assert averages[0].n_averaged == 6
    for name, value in averages[1].state_dict().items():
        np.testing.assert_array_equal(averages[0].state_dict()[name], value)


class Frozen(nn.Module):
    """A net one of whose layers is not trained."""

    def __init__(self) -> None:
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.drop.eval()

    def forward(self, x: Any) -> Any:
        return self.drop(self.norm(x))


def test_statistics_are_the_mean_over_all_batches(rng: np.random.Generator, device: str) -> None:
    batches = [rng.standard_normal((6, 3)).astype(np.float32) + 2 for _ in range(4)]
    model = Frozen().to(device)
    model.norm.running_mean.assign_(7)
    tensors = [Tensor(batch, device=device) for batch in batches]
    optim.update_bn(((x, None) for x in tensors), model)
    expected = np.mean([batch.mean(axis=0) for batch in batches], axis=0)
    np.testing.assert_allclose(model.norm.running_mean.numpy(), expected, rtol=1e-5)
    variances = np.mean([batch.var(axis=0, ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(model.norm.running_var.numpy(), variances, rtol=1e-5)
    assert model.norm.num_batches_tracked.item() == 4
    assert (model.norm.momentum, model.norm.training, model.drop.training) == (0.1, True, False)
    optim.update_bn(tensors, nn.Linear(3, 2))  # nothing to do


class Both(nn.Module):
    """Two inputs, one of them normed."""

    def __init__(self) -> None:
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Any, z: Any) -> Any:
        return self.norm(x) + z


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_statistics_of_a_model_of_several_inputs(
    labelled: bool, named: bool, rng: np.random.Generator
) -> None:
    x, z = (rng.standard_normal((8, 3)).astype(np.float32) for _ in range(2))
    inputs = {"z": z, "x": x} if named else (x, z)
    data = ArrayDataset(inputs, np.arange(8) if labelled else None)
    model = Both()
    optim.update_bn(DataLoader(data, 4, device="cpu"), model)
    expected = x.reshape(2, 4, 3).mean(axis=(0, 1))
    np.testing.assert_allclose(model.norm.running_mean.numpy(), expected, rtol=1e-4, atol=1e-6)
