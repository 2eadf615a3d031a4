"""The Trainer on any data: regression, several inputs, loaders of any kind, augmentation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.samples import Squares
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.datasets import ArrayDataset, DataLoader, default_collate
from tinygrad_cupy.nn import augment, optim

X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
WEIGHT = np.array([[1.0], [-2.0], [0.5]], np.float32)


def line(name: str = "line") -> ArrayDataset:
    return ArrayDataset(X, X @ WEIGHT + 0.3, name=name)


def make(
    build: Callable[[], nn.Module], loss: Any = None, device: str | None = None, **options: Any
) -> nn.Trainer:
    tg.manual_seed(1)
    model = build().to(device or tg.default_device())
    adam = optim.Adam(model.parameters(), lr=0.05)
    StandInPool.owners[:] = [model, adam]
    return nn.Trainer(model, adam, loss, **options)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("jit", [True, False])
def test_regression(place: str, resident: bool, jit: bool) -> None:
    trainer = make(lambda: nn.Linear(3, 1), nn.MSELoss(), jit=jit)
    loader = DataLoader(line(), 16, shuffle=True, seed=0, resident=resident)
    history = trainer.fit(loader, loader, epochs=40)
    assert history[-1].val_loss is not None
    assert history[-1].val_loss < 1e-3
    assert np.isnan(history[-1].train_accuracy)
    result = trainer.evaluate(DataLoader(line(), 16, resident=resident))
    np.testing.assert_array_equal(result.labels, line().targets)
    np.testing.assert_allclose(result.probabilities, line().targets, atol=0.1)
    assert np.isnan(result.accuracy)
    found = trainer.predict(Tensor(X, device=tg.default_device()))
    np.testing.assert_allclose(found, result.probabilities, rtol=1e-5, atol=1e-6)
    alone = DataLoader(ArrayDataset(X), 16, resident=resident)
    np.testing.assert_allclose(trainer.predict(alone), found, rtol=1e-5, atol=1e-6)


def test_where_the_data_lies_changes_no_bit(place: str) -> None:
    weights = []
    for resident in (True, False):
        trainer = make(lambda: nn.Linear(3, 1), nn.MSELoss())
        trainer.fit(DataLoader(line(), 16, shuffle=True, seed=0, resident=resident), epochs=3)
        weights.append(trainer.model.state_dict()["weight"])
    np.testing.assert_array_equal(weights[0], weights[1])


class Two(nn.Module):
    """Two inputs, by position or by name."""

    def __init__(self) -> None:
        self.one, self.other = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y: Tensor = self.one(x) + self.other(z)
        return y


@pytest.mark.one_in(3)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("resident", [True, False])
def test_several_inputs(place: str, named: bool, resident: bool) -> None:
    z = np.stack([X[:, 0] * 2, X[:, 1]], axis=1)
    labels = (X.sum(axis=1) + z.sum(axis=1) > 0).astype(np.int32)
    inputs = {"z": z, "x": X} if named else (X, z)
    loader = DataLoader(ArrayDataset(inputs, labels), 16, resident=resident)
    trainer = make(Two)
    history = trainer.fit(loader, epochs=15)
    assert history[-1].train_accuracy > 0.9
    result = trainer.evaluate(loader)
    assert result.accuracy == (result.probabilities.argmax(axis=1) == labels).mean()
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("resident", [True, False])
def test_two_inputs_without_targets_are_both_given_to_the_model(place: str, resident: bool) -> None:
    z = X[:, :2].copy()
    loader = DataLoader(ArrayDataset((X, z)), 16, resident=resident)
    trainer = make(Two, answer=lambda output: output)
    device = tg.default_device()
    with tg.no_grad():
        expected = trainer.model(Tensor(X, device=device), Tensor(z, device=device)).numpy()
    np.testing.assert_allclose(trainer.predict(loader), expected, rtol=1e-5, atol=1e-6)


def test_a_loader_says_whether_it_has_targets() -> None:
    assert DataLoader(line(), 16).has_targets is True
    assert DataLoader(ArrayDataset((X, X)), 16).has_targets is False
    assert DataLoader(ArrayDataset((X, X)), 16, collate=default_collate).has_targets is None
    assert DataLoader(Squares(), 5).has_targets is None


def test_outputs_and_targets_in_dicts() -> None:
    class Heads(Two):
        def forward(self, x: Tensor, z: Tensor) -> Any:
            return {"a": self.one(x), "b": self.other(z)}

    targets = {"a": X[:, :2], "b": X[:, 1:]}
    loader = DataLoader(ArrayDataset((X, X[:, 1:]), targets), 16)

    def loss(output: Any, target: Any) -> Tensor:
        parts = [((output[name] - target[name]) ** 2).mean() for name in ("a", "b")]
        return parts[0] + parts[1]  # type: ignore[no-any-return]

    trainer = make(Heads, loss)
    trainer.fit(loader, epochs=30)
    result = trainer.evaluate(loader)
    np.testing.assert_allclose(result.probabilities["b"], result.labels["b"], atol=0.2)
    answer = make(Heads, loss, answer=lambda output: output["a"]).predict(loader)
    assert answer.shape == (50, 2)


def test_labels_of_each_place(device: str) -> None:
    """(N, H, W) labels of (N, C, H, W) logits: accuracy is of places, wherever batches are made."""
    images = np.random.default_rng(2).random((6, 2, 4, 4), np.float32)
    data = ArrayDataset(images, images.argmax(axis=1))
    accuracies = []
    for resident in (True, False):
        trainer = make(lambda: nn.Conv2d(2, 2, 1), device=device)
        loader = DataLoader(data, 4, device=device, resident=resident)
        accuracies.append(trainer.fit(loader, epochs=20)[-1].train_accuracy)
    assert 0.7 < accuracies[0] <= 1
    assert accuracies[0] == accuracies[1]


@pytest.mark.parametrize(("resident", "ignored"), [(True, -100), (False, -100), (True, 255)])
def test_ignored_targets(place: str, resident: bool, ignored: int) -> None:
    labels = (X[:, 0] > 0).astype(np.int64)
    labels[16:32] = ignored  # a batch of them
    labels[::5] = ignored
    loader = DataLoader(ArrayDataset(X, labels), 16, resident=resident)
    trainer = make(lambda: nn.Linear(3, 2), nn.CrossEntropyLoss(ignore_index=ignored))
    history = trainer.fit(loader, loader, epochs=20)
    assert history.stopped == "finished"
    assert history[-1].train_accuracy > 0.9
    assert np.isfinite(history[-1].train_loss)
    result = trainer.evaluate(loader)
    counts, guess = labels != ignored, result.probabilities.argmax(axis=1)
    assert result.accuracy == pytest.approx((guess == labels)[counts].mean())
    assert history[-1].val_loss == pytest.approx(result.loss)
    picked = np.log(result.probabilities[counts, labels[counts]])
    assert result.loss == pytest.approx(-picked.mean(), rel=1e-4)
    nothing = DataLoader(ArrayDataset(X, np.full(50, ignored)), 16, resident=resident)
    trainer.fit(nothing, nothing, epochs=1)
    np.testing.assert_allclose(trainer.predict(loader).sum(axis=1), 1, rtol=1e-5)


def test_one_output_beside_integers_is_no_classifier(place: str) -> None:
    labels = (X[:, 0] > 0).astype(np.int64)
    loader = DataLoader(ArrayDataset(X, labels), 16)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return ((output[:, 0] - target.astype("float32")) ** 2).mean()

    trainer = make(lambda: nn.Linear(3, 1), loss)
    assert np.isnan(trainer.fit(loader, epochs=2)[-1].train_accuracy)
    result = trainer.evaluate(loader)
    assert np.isnan(result.accuracy)
    with tg.no_grad():
        output = trainer.model(Tensor(X, device=tg.default_device())).numpy()
    np.testing.assert_allclose(result.probabilities, output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trainer.predict(loader), output, rtol=1e-5, atol=1e-6)


def test_any_dataset_by_a_collate(device: str) -> None:
    def collate(samples: list[Any]) -> Any:
        x, y = default_collate(samples)
        return x["x"] / 20, (y % 2).astype(np.int64)

    loader = DataLoader(Squares(), 8, collate=collate, device=device)
    history = make(lambda: nn.Linear(2, 2), device=device).fit(loader, epochs=1)
    assert 0 <= history[0].train_accuracy <= 1
    with pytest.raises(TypeError, match=re.escape("[Trainer] expected batches (x, y) of tensors")):
        make(lambda: nn.Linear(2, 2)).fit(
            DataLoader(Squares(), 8, collate=lambda samples: "x"), epochs=1
        )


def test_a_loss_of_many_elements_is_named() -> None:
    trainer = make(lambda: nn.Linear(3, 1), nn.MSELoss(reduction="none"))
    with pytest.raises((ValueError, RuntimeError), match="of one element"):
        trainer.evaluate(DataLoader(line(), 16))


class StopAt(nn.Callback):
    """Ends the run after so many steps, as a time limit would."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, trainer: nn.Trainer, step: nn.Step) -> None:
        if step.index == self.steps:
            raise nn.StopTraining("out of time")


def test_a_run_that_was_cut_short_goes_on_where_it_was(place: str) -> None:
    """Weights, moments, the loader's place and the random numbers: the rest is as it would be."""

    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def begun() -> tuple[nn.Trainer, DataLoader]:
        return make(net, nn.MSELoss()), DataLoader(line(), 8, shuffle=True)

    trainer, loader = begun()
    trainer.fit(loader, epochs=1)
    expected = trainer.model.state_dict()
    trainer, loader = begun()
    trainer.callbacks = [StopAt(3)]
    trainer.fit(loader, epochs=1)
    weights, moments = trainer.model.state_dict(), trainer.optimizer.state_dict()
    place_in_data, drawn = loader.state_dict(), tg.random.get_state()
    trainer, loader = begun()
    trainer.model.load_state_dict(weights)
    trainer.optimizer.load_state_dict(moments)
    loader.load_state_dict(place_in_data)
    tg.random.set_state(drawn)
    trainer.fit(loader, epochs=1)
    for name, values in trainer.model.state_dict().items():
        np.testing.assert_array_equal(values, expected[name])


def soft(output: Tensor, target: Tensor) -> Tensor:
    if target.ndim == 1:
        return output.cross_entropy(target)
    return -(output.log_softmax(axis=1) * target).sum(axis=1).mean()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("jit", [True, False])
def test_augmentation_in_training_alone(place: str, jit: bool) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 60)
    images = rng.integers(0, 120, (60, 3, 8, 8)) + 120 * labels[:, None, None, None]
    data = ArrayDataset(images.astype(np.uint8), labels, ("dark", "light"), "made up")
    layers = nn.Sequential(
        augment.RandomHorizontalFlip(), augment.RandomCrop(8, 1), augment.MixUp(0.4, 2)
    )
    trainer = make(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), soft, augment=layers, jit=jit
    )
    history = trainer.fit(DataLoader(data, 16, shuffle=True), DataLoader(data, 16), epochs=15)
    assert history[-1].val_accuracy is not None
    assert history[-1].val_accuracy > 0.9
    drawn = tg.random.get_state()
    trainer.evaluate(DataLoader(data, 16))
    assert str(tg.random.get_state()) == str(drawn)
    figures = (history.column("train_loss"), trainer.model.state_dict()["1.weight"].tobytes())
    assert SEEN.setdefault("figures", figures) == figures  # captured or not


SEEN: dict[str, Any] = {}
