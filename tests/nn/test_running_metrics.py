"""Metrics of a `Trainer`: each against NumPy or scikit-learn's formula, over uneven batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import metrics
from tinygrad_cupy.nn.running_metrics import metrics_of

RNG = np.random.default_rng(0)
N, C, T = 23, 5, 4


class Batches:
    """(x, y) in batches of 7, the last one of 2."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return -(-len(self.x) // 7)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.x), 7):
            yield Tensor(self.x[start : start + 7]), Tensor(self.y[start : start + 7])


def over_batches(metric: nn.metrics.Metric, output: np.ndarray, target: np.ndarray) -> float:
    every = metrics_of({"one": metric})
    rows = [every.sums(o, y).numpy() for o, y in Batches(output, target)]
    return every.results(np.stack(rows))["one"]


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_regression() -> None:
    output, target = floats(N, 3), floats(N, 3) + 100
    error = output.astype(float) - target
    assert over_batches(metrics.MeanAbsoluteError(), output, target) == pytest.approx(
        np.abs(error).mean()
    )
    assert over_batches(metrics.RootMeanSquaredError(), output, target) == pytest.approx(
        np.sqrt((error**2).mean())
    )
    scatter = ((target - target.mean(axis=0, dtype=float)) ** 2).sum(axis=0)
    assert over_batches(metrics.R2Score(), output, target) == pytest.approx(
        (1 - (error**2).sum(axis=0) / scatter).mean(), rel=1e-6
    )


@pytest.mark.parametrize(("miss", "score"), [(0.0, 1.0), (0.5, 0.0)])
def test_r2_of_a_constant_target(miss: float, score: float) -> None:
    target = np.full((N, 1), 0.3, np.float32)
    assert over_batches(metrics.R2Score(), target + np.float32(miss), target) == score


@pytest.mark.parametrize(("mean", "spread"), [(1e4, 1e-2), (1.7e9, 100.0), (-3.0, 1e-9)])
def test_r2_far_from_zero(mean: float, spread: float) -> None:
    target = mean + spread * RNG.standard_normal((N, 2))
    output = target + 0.1 * spread * RNG.standard_normal((N, 2))
    scatter = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    expected = np.mean(1 - ((target - output) ** 2).sum(axis=0) / scatter)
    assert 0.9 < expected < 1
    assert over_batches(metrics.R2Score(), output, target) == pytest.approx(expected, rel=1e-5)


def test_the_largest_few_of_what_is_equal_or_nan() -> None:
    output = np.zeros((N, C), np.float32)
    target = np.arange(N) % C
    for k in (1, 2):
        found = over_batches(metrics.TopKAccuracy(k), output, target)
        assert found == pytest.approx((target < k).mean())  # the first are the largest
    assert over_batches(metrics.TopKAccuracy(1), output * np.nan, target) == 0
    assert over_batches(metrics.TopKAccuracy(C), output, target + C) == 0  # no such classes


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_f1_of_labels_and_of_classes(average: str) -> None:
    def f1(given: np.ndarray, true: np.ndarray) -> float:
        right, wrong, missed = ((a & b).sum(axis=0) for a, b in (
            (given, true), (given, ~true), (~given, true),
        ))  # fmt: skip
        if average == "micro":
            right, wrong, missed = right.sum(), wrong.sum(), missed.sum()
        return float(np.mean(2 * right / np.maximum(2 * right + wrong + missed, 1)))

    output, labels = floats(N, C), RNG.random((N, C)) < 0.4
    labels[:, 0] = False
    output[:, 0] = -1
    found = over_batches(metrics.F1Score(average), output, labels.astype(np.float32))
    assert found == pytest.approx(f1(output > 0, labels))
    classes = RNG.integers(0, C, N)
    found = over_batches(metrics.F1Score(average), output, classes)
    each = np.eye(C, dtype=bool)
    assert found == pytest.approx(f1(each[output.argmax(axis=1)], each[classes]))


def test_sequences_and_the_largest_few() -> None:
    output, target = floats(N, T, C), RNG.integers(0, C, (N, T))
    target[:, -1] = -100
    known = target >= 0
    right = (output.argmax(axis=-1) == target) & known
    assert over_batches(metrics.Accuracy(), output, target) == pytest.approx(
        right.sum() / known.sum()
    )
    order = np.argsort(-output, axis=-1)
    right = (order[..., :2] == target[..., None]).any(axis=-1)
    assert over_batches(metrics.TopKAccuracy(2), output, target) == pytest.approx(
        right[known].mean()
    )
    images = np.moveaxis(output, -1, 1)
    assert over_batches(metrics.TopKAccuracy(2, axis=1), images, target) == pytest.approx(
        right[known].mean()
    )
    labels = RNG.random((N, C)) < 0.5
    assert over_batches(metrics.Accuracy(), floats(N, C), labels.astype(np.float32)) <= 1


@pytest.mark.parametrize(
    ("metric", "output", "target", "text"),
    [
        (
            metrics.MeanAbsoluteError(),
            (4, 1),
            np.zeros(4),
            "[MeanAbsoluteError] expected output and target of one shape, got (4, 1) and (4,)",
        ),
        (
            metrics.TopKAccuracy(),
            (4, 3),
            np.zeros(4),
            "[TopKAccuracy] expected class numbers, integers of the output's shape without axis "
            "-1, got float64 (4,) of an output (4, 3)",
        ),
        (
            metrics.F1Score(),
            (4, 3, 2),
            np.zeros(4, int),
            "[F1Score] expected class numbers, integers of the output's shape without axis 1, got "
            "int64 (4,) of an output (4, 3, 2)",
        ),
    ],
)
def test_shapes_that_do_not_fit(
    metric: metrics.Metric, output: tuple[int, ...], target: np.ndarray, text: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        metric.sums(Tensor(floats(*output)), Tensor(target))


# --- in a trainer -------------------------------------------------------------------------------


def trainer(given: Any, **options: Any) -> nn.Trainer:
    model = nn.Linear(3, 1)
    optimizer = nn.optim.SGD(model.parameters(), lr=0.01)
    return nn.Trainer(model, optimizer, nn.MSELoss(), metrics=given, **options)


def test_a_trainer_gathers_them() -> None:
    data = Batches(floats(N, 3), floats(N, 1))
    own = trainer({
        "mae": metrics.MeanAbsoluteError(), "mine": lambda o, y: (o - y).abs().mean(),
    })  # fmt: skip
    history = own.fit(data, data, epochs=2)
    assert set(history[0].metrics) == {"train_mae", "train_mine", "val_mae", "val_mine"}
    assert history.measured() == ["loss", "mae", "mine"]
    answers = own.evaluate(data)
    mean = np.abs(answers.probabilities - answers.labels).mean(dtype=float)
    assert answers.metrics == pytest.approx({"mae": mean, "mine": mean}, rel=1e-5)
    assert history.column("val_mae")[-1] == answers.metrics["mae"]
    assert history[0].metrics["train_mine"] == pytest.approx(history[0].metrics["train_mae"])


def test_metrics_change_no_weight() -> None:
    data, states = Batches(floats(N, 3), floats(N, 1)), []
    for given in (None, {"r2": metrics.R2Score()}):
        own = trainer(given)
        own.model.load_state_dict(
            {"weight": np.ones((1, 3), np.float32), "bias": np.zeros(1, np.float32)}
        )
        own.fit(data, epochs=2)
        states.append(own.model.state_dict()["weight"].tolist())
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (["mae"], TypeError, "expected metrics as a dict of names and metrics, got list"),
        ({"loss": len}, ValueError, "expected a metric's name other than loss and accuracy"),
        ({"mae": metrics.R2Score}, TypeError, "expected metric 'mae' as a Metric or a function"),
        ({"mae": 3}, TypeError, "expected metric 'mae' as a Metric or a function"),
    ],
)
def test_what_is_no_metric(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(f"[Trainer] {text}")):
        trainer(given)


def test_a_function_returns_one_number() -> None:
    data = Batches(floats(N, 3), floats(N, 1))
    with pytest.raises(ValueError, match=re.escape("a Tensor of one element, got shape (7, 1)")):
        trainer({"mine": lambda o, y: o - y}).fit(data, epochs=1)


def test_they_go_on_from_a_checkpoint(tmp_path: Any) -> None:
    data = Batches(floats(N, 3), floats(N, 1))
    given = {"mae": metrics.MeanAbsoluteError()}
    whole = trainer(given).fit(data, data, epochs=1)
    first = trainer(given, checkpoint=tmp_path)
    first.fit(data, data, epochs=1)
    again = trainer(given, checkpoint=tmp_path)
    history = again.resume(data, data, epochs=2)
    assert history[0].metrics == first.history[0].metrics
    assert set(history[1].metrics) == set(whole[0].metrics)
