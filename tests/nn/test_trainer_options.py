"""Trainer's clip_norm, autocast and ema: the bits of a loop that says the same by hand."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn import optim

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 40)
X = (RNG.normal(size=(40, 4)) + 2 * np.eye(3, 4)[LABELS]).astype(np.float32)
EPOCHS = 2
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "clip": {"clip_norm": 0.2},
    "bf16": {"autocast": "bf16"},
    "fp16": {"autocast": "fp16"},
    "fp16, clip": {"autocast": "fp16", "clip_norm": 0.2},
    "ema": {"ema": 0.8},
    "all": {"autocast": "fp16", "clip_norm": 0.2, "ema": 0.8},
}


def start() -> tuple[nn.Module, optim.Optimizer, DataLoader]:
    tg.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model.to(tg.default_device())
    adam = optim.Adam(model.parameters(), lr=0.02)
    return model, adam, DataLoader(ArrayDataset(X, LABELS), 16, shuffle=True, seed=1)


def by_hand(
    clip_norm: float | None = None, autocast: str | None = None, ema: float | None = None
) -> tuple[nn.Module, nn.Module | None]:
    """The model after training, and the average of its weights."""
    model, adam, loader = start()
    scaler = tg.GradScaler(enabled=autocast == "fp16")
    averaged = None if ema is None else optim.ExponentialMovingAverage(model, ema)
    for _ in range(EPOCHS):
        for x, y in loader:
            adam.zero_grad()
            with nullcontext() if autocast is None else tg.autocast(autocast):
                loss = model(x).cross_entropy(y)
            scaler.scale(loss).backward()
            if clip_norm is not None:
                scaler.unscale_(adam)
                optim.clip_grad_norm(adam.params, clip_norm)
            scaler.step(adam)
            scaler.update()
            if averaged is not None:
                averaged.update_parameters(model)
    return model, averaged and averaged.module


def assert_same(one: nn.Module, other: nn.Module) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        np.testing.assert_array_equal(states[0][name], states[1][name])


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_weights_are_those_of_a_loop(place: str, name: str, jit: bool) -> None:
    options = OPTIONS[name]
    model, averaged = by_hand(**options)
    own, adam, loader = start()
    trainer = nn.Trainer(own, adam, jit=jit, **options)
    owners = (own, adam, trainer.averaged, trainer.scaler)
    StandInPool.owners[:] = [one for one in owners if one is not None]
    history = trainer.fit(loader, DataLoader(ArrayDataset(X, LABELS), 16), epochs=EPOCHS)
    assert_same(own, averaged or model)  # what the model holds after fit
    assert (trainer.scaler is not None) == (options.get("autocast") == "fp16")
    result = trainer.evaluate(DataLoader(ArrayDataset(X, LABELS), 16))
    assert history[-1].val_loss == result.loss  # of these weights, in float32
    if trainer.averaged is not None:
        assert trainer.averaged.n_averaged.item() == EPOCHS * 3


def test_early_stopping_keeps_the_best_average(device: str) -> None:
    model, adam, loader = start()
    wrong = DataLoader(ArrayDataset(X, (LABELS + 1) % 3), 16, device=device)
    kept: list[dict[str, np.ndarray]] = []

    class Noting(nn.Callback):
        def on_epoch_end(self, trainer: nn.Trainer, record: nn.EpochRecord) -> None:
            assert trainer.averaged is not None
            kept.append(trainer.averaged.module.state_dict())

    trainer = nn.Trainer(model, adam, callbacks=[Noting()], ema=0.5)
    history = trainer.fit(loader, wrong, epochs=30, patience=2)
    assert history.stopped == "early"
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, kept[history.kept_epoch - 1][name])


def test_a_step_that_overflows_is_left_out(device: str) -> None:
    """The first scales are too large for float16: they fall until a step is taken."""
    model, adam, loader = start()
    trainer = nn.Trainer(model, adam, lambda y, t: y.cross_entropy(t) * 100, autocast="fp16")
    trainer.fit(loader, epochs=EPOCHS)
    assert trainer.scaler is not None
    assert trainer.scaler.get_scale() < 65536
    assert all(np.isfinite(array).all() for array in model.state_dict().values())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"clip_norm": 0}, "[Trainer] clip_norm must be a number above 0, got 0"),
        ({"autocast": "int8"}, "[Trainer] autocast must be one of bf16, fp16, got 'int8'"),
        ({"ema": 1.0}, "[Trainer] ema must be a number of at least 0 and below 1, got 1.0"),
        ({"ema": 0}, "[Trainer] ema must be a number above 0, got 0.0"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], text: str) -> None:
    model, adam, _ = start()
    with pytest.raises(ValueError, match=re.escape(text)):
        nn.Trainer(model, adam, **options)


def test_the_average_is_of_the_model_as_it_is_trained() -> None:
    """Weights loaded after the Trainer was made are the first of the average, not those before."""
    model, adam, loader = start()
    trainer = nn.Trainer(model, adam, ema=0.9)
    with tg.no_grad():
        for parameter in model.parameters():
            parameter.assign_(Tensor(np.zeros(parameter.shape, np.float32)))
    trainer.fit(loader, epochs=1)
    assert all(abs(p.numpy()).max() < 1.5 for p in model.parameters())
