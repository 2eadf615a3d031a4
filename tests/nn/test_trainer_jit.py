"""The Trainer with captured steps: the same history and weights as without, bit for bit."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.jit_runs import network
from support.loaders import Pairs
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.datasets import ArrayDataset, DataLoader
from tinygrad_cupy.nn import optim, schedules
from tinygrad_cupy.nn.meter import Meter, score


def digits(count: int, seed: int) -> ArrayDataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 100, (count, 1, 8, 8)) + 50 * labels[:, None, None, None]
    return ArrayDataset(images.astype(np.uint8), labels, ("a", "b", "c"), "made up")


def trained(jitted: bool, pairs: bool) -> tuple[nn.Trainer, list[Any]]:
    """A trainer after three epochs, and every figure and weight that it gave."""
    tg.manual_seed(2)
    model = network(0.2)
    adam = optim.Adam(list(model.parameters()), lr=0.01)
    StandInPool.owners[:] = [model, adam]
    trainer = nn.Trainer(model, adam, schedule=schedules.Cosine(0.01, 30, warmup=3), jit=jitted)
    train: Any = DataLoader(digits(70, 1), 16, shuffle=True)
    val: Any = DataLoader(digits(20, 2), 8)
    if pairs:
        train, val = Pairs(train), Pairs(val)
    history = trainer.fit(train, val, epochs=3)
    records = [
        (r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy, r.learning_rate)
        for r in history
    ]
    result = trainer.evaluate(val)
    images = Tensor(digits(20, 2).images / np.float32(255), device=tg.default_device())
    return trainer, [
        records,
        result.loss,
        result.accuracy,
        result.labels,
        result.probabilities,
        trainer.predict(val),
        trainer.predict(images, batch_size=8),
        *model.state_dict().values(),
        *adam.state_dict().values(),
    ]


@pytest.mark.parametrize("pairs", [False, True])
def test_history_and_weights_are_those_without_captures(place: str, pairs: bool) -> None:
    _, plain = trained(False, pairs)
    trainer, captured = trained(True, pairs)
    for one, other in zip(plain, captured, strict=True):
        np.testing.assert_array_equal(one, other)
    calls = 3 * 5
    assert getattr(trainer._train, "calls") == calls  # noqa: B009


def test_gathering_inside_of_the_step_changes_nothing(place: str) -> None:
    for one, other in zip(trained(True, False)[1], trained(True, True)[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_score_and_meter(device: str) -> None:
    logits = Tensor([[1.0, 3.0, 3.0], [5.0, 1.0, 0.0], [0.0, 0.0, 0.0], [np.nan, 1.0, np.nan]])
    target = Tensor([1, 2, 0, 0])
    meter = Meter(3)
    meter.add(score(Tensor(0.5), logits, target), 4)
    meter.add(score(Tensor([2.5]), logits[:2], target[:2]), 2)
    reading = meter.read()
    assert reading.losses.tolist() == [0.5, 2.5]
    assert reading.loss == pytest.approx(7 / 6)
    assert reading.accuracy == pytest.approx((3 + 1) / 6)
    assert meter.last_loss() == 2.5
    many = Tensor(np.tile(np.eye(10, dtype=np.float64), (700, 1)), device=device)
    labels = Tensor(np.arange(7000) % 10 % 9, device=device)
    assert score(Tensor(0.0), many, labels).tolist() == [0.0, 6300.0, 7000.0]
    assert score(Tensor(0.0), many.T[None], labels[None]).tolist() == [0.0, 6300.0, 7000.0]


def test_ignored_targets_do_not_count(device: str) -> None:
    logits = Tensor(np.eye(3, dtype=np.float32), device=device)
    target = Tensor([0, -100, 1], device=device)
    meter = Meter(3)
    scored = score(Tensor(0.5, device=device), logits, target)
    assert scored.tolist() == [0.5, 1.0, 2.0]
    for left_out, right in ((0, 0.0), (1, 1.0)):  # the class that a loss leaves out
        found = score(Tensor(0.5, device=device), logits, target, left_out)
        assert found.tolist() == [0.5, right, 1.0]
    meter.add(scored, 3)
    ignored = Tensor([-100, -100, -1], device=device)
    meter.add(score(Tensor(np.nan, device=device), logits, ignored), 3)
    assert not meter.diverged()
    reading = meter.read()
    assert (reading.loss, reading.accuracy, reading.first_bad_step()) == (0.5, 0.5, None)
    meter.add(score(Tensor(np.nan, device=device), logits, target), 3)
    assert meter.diverged()
    assert meter.read().first_bad_step() == 2


def test_the_trainer_does_not_keep_itself_alive() -> None:
    trainer, _ = trained(True, False)
    seen = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert seen() is None
    finally:
        gc.enable()
