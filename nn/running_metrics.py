"""Metrics that a `Trainer` gathers while it trains and validates: sums over batches, on the device.

    nn.Trainer(model, optimizer, nn.MSELoss(), metrics={"mae": nn.metrics.MeanAbsoluteError()})

Letters in shapes: N examples, C classes or outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cupy.autograd.mode import no_grad
from tinygrad_cupy.ops.choose import take_along_axis
from tinygrad_cupy.ops.shape import concat, stack
from tinygrad_cupy.tensor import Tensor

from . import checks
from .augment import numbers_to

__all__ = [
    "Accuracy",
    "F1Score",
    "MeanAbsoluteError",
    "Metric",
    "R2Score",
    "RootMeanSquaredError",
    "TopKAccuracy",
]


class Metric:
    """Base: a figure that follows from sums over all predictions.

    `sums` runs inside a captured step, so it may not read values on the host; `result` is given
    NumPy's float64 of what `sums` gave, flattened and put `together` over the batches: added up,
    unless a subclass says otherwise.
    """

    def sums(self, output: Any, target: Any) -> Tensor:
        """What adds up, of a batch: a Tensor of any shape."""
        raise NotImplementedError(f"[{type(self).__name__}] defines no sums()")

    def together(self, rows: np.ndarray) -> np.ndarray:
        """The sums of all batches, of one row (K,) for each."""
        added: np.ndarray = rows.sum(axis=0)
        return added

    def result(self, sums: np.ndarray) -> float:
        """The figure, of the sums of all batches."""
        raise NotImplementedError(f"[{type(self).__name__}] defines no result()")


class MeanAbsoluteError(Metric):
    """The mean of |output - target| over all elements; both have one shape."""

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        difference = _difference(self, output, target).abs()
        return stack([difference.sum(), (difference * 0 + 1).sum()])

    def result(self, sums: np.ndarray) -> float:
        return _ratio(*sums)


class RootMeanSquaredError(Metric):
    """The root of the mean of (output - target)² over all elements; both have one shape."""

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        difference = _difference(self, output, target)
        return stack([(difference * difference).sum(), (difference * 0 + 1).sum()])

    def result(self, sums: np.ndarray) -> float:
        return math.sqrt(_ratio(*sums))


class R2Score(Metric):
    """R² = 1 - Σ (target - output)² / Σ (target - mean target)²; both have one shape (N, ...).

    Of several outputs the mean of theirs. Where a target never varies it is 1 for answers without
    an error and 0 for others, as in scikit-learn.
    """

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        error = _difference(self, output, target).reshape(target.shape[0], -1)
        y = target.astype(np.float64).reshape(target.shape[0], -1)
        mean = y.mean(axis=0)
        around = y - mean  # of a mean far from 0 the squares themselves would leave nothing
        added = ((y * 0 + 1).sum(axis=0), mean, (around * around).sum(axis=0))
        return stack([*added, (error * error).sum(axis=0), y.min(axis=0), y.max(axis=0)])  # (6, C)

    def together(self, rows: np.ndarray) -> np.ndarray:
        """By Chan, Golub and LeVeque, "Updating formulae", 1979."""
        count, mean, scatter, errors, low, high = np.moveaxis(rows.reshape(len(rows), 6, -1), 1, 0)
        whole = count.sum(axis=0)
        middle = mean[0] + (count * (mean - mean[0])).sum(axis=0) / whole
        between = (count * (mean - middle) ** 2).sum(axis=0)
        sums = whole, middle, scatter.sum(axis=0) + between, errors.sum(axis=0)
        return np.concatenate([*sums, low.min(axis=0), high.max(axis=0)])

    def result(self, sums: np.ndarray) -> float:
        _, _, scatter, errors, low, high = sums.reshape(6, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = 1 - errors / scatter
        constant = np.where(errors == 0, 1.0, 0.0)
        return float(np.mean(np.where(low == high, constant, scores)))


class Accuracy(Metric):
    """The share of right answers: the largest of the outputs along `axis` is the target's.

    Of a sequence, say, output (N, T, C) and target (N, T) with the default axis=-1; a target
    below 0 is left out. An output of the target's shape is of labels by themselves (multi-label):
    then it is right where it is above `threshold` and the target above 1/2, or neither.
    """

    def __init__(self, axis: int = -1, threshold: float = 0.0) -> None:
        self.axis, self.threshold = _axis(self, axis), float(threshold)

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        if output.shape == target.shape:
            right = (output > self.threshold) == (target > 0.5)
            return _counts(right, right | ~right)
        _check_classes(self, output, target, self.axis)
        known = target >= 0
        return _counts((output.argmax(axis=self.axis) == target) & known, known)

    def result(self, sums: np.ndarray) -> float:
        return _ratio(*sums)


class TopKAccuracy(Metric):
    """The share of targets that are among the `k` largest outputs along `axis`, the classes.

    Output (N, C) and target (N,), or (N, T, C) and (N, T); of images axis=1. A target below 0 is
    left out. Of equal outputs the first is the largest; NaN is right nowhere.
    """

    def __init__(self, k: int = 5, axis: int = -1) -> None:
        self.k, self.axis = checks.integer(self, "k", k), _axis(self, axis)

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        _check_classes(self, output, target, self.axis)
        classes = output.shape[self.axis]
        place = target.clip(0, classes - 1).unsqueeze(self.axis)
        own = take_along_axis(output, place, self.axis)
        numbers = numbers_to(classes, output.device)
        numbers = numbers.reshape(-1, *[1] * (output.ndim - 1 - self.axis % output.ndim))
        before = ~(output <= own) | ((output == own) & (numbers < place))
        known = target >= 0
        right = (before.sum(axis=self.axis) < self.k) & (target < classes)
        return _counts(right & known, known)

    def result(self, sums: np.ndarray) -> float:
        return _ratio(*sums)


class F1Score(Metric):
    """F1 = 2 TP / (2 TP + FP + FN): over all together, or per class and then the mean ("macro").

    Multi-label: output and target (N, C, ...) of one shape; a label is given where the output is
    above `threshold` (0, for logits) and true where the target is above 1/2. Classes: output
    (N, C, ...) and class numbers (N, ...), of which those below 0 are left out. A class that is
    neither there nor guessed has 0.
    """

    def __init__(self, average: str = "macro", threshold: float = 0.0) -> None:
        self.average = checks.choice(self, "average", average, ("macro", "micro"))
        self.threshold = float(threshold)

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        if output.shape == target.shape and output.ndim >= 2:
            given, true = output > self.threshold, target > 0.5
        else:
            _check_classes(self, output, target, 1)
            classes = numbers_to(output.shape[1], output.device)
            classes = classes.reshape(-1, *[1] * (output.ndim - 2))  # (C, 1, ...)
            known = (target >= 0).unsqueeze(1)
            given = (output.argmax(axis=1).unsqueeze(1) == classes) & known
            true = target.unsqueeze(1) == classes
        axes = tuple(axis for axis in range(given.ndim) if axis != 1)
        every = (given & true, given & ~true, ~given & true)
        return stack([one.astype(np.float64).sum(axis=axes) for one in every])  # (3, C)

    def result(self, sums: np.ndarray) -> float:
        right, wrong, missed = sums.reshape(3, -1)
        if self.average == "micro":
            right, wrong, missed = right.sum(), wrong.sum(), missed.sum()
        whole = np.asarray(2 * right + wrong + missed)
        return float(np.mean(np.where(whole > 0, 2 * right / np.maximum(whole, 1), 0.0)))


@dataclass(frozen=True)
class Function(Metric):
    """The mean over all examples of what a function (output, target) gives of a batch."""

    function: Callable[[Any, Any], Any]

    def sums(self, output: Any, target: Any) -> Tensor:
        value = self.function(output, target)
        if not isinstance(value, Tensor) or value.size != 1:
            shape = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"[Trainer] expected a metric's function to return a Tensor of one element, "
                f"got {shape}"
            )
        value = value.astype(np.float64).reshape(())
        count = _examples(target if target is not None else output)
        return stack([value * count, value * 0 + count])

    def result(self, sums: np.ndarray) -> float:
        return _ratio(*sums)


@dataclass(frozen=True, eq=False)
class Metrics:
    """The metrics of a `Trainer`, by name.

    `widths` are how many sums each has, known from the first batch on.
    """

    named: tuple[tuple[str, Metric], ...] = ()
    widths: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.named)

    def sums(self, output: Any, target: Any) -> Tensor:
        """Those of all, float64, one behind the other."""
        with no_grad():
            parts = [
                metric.sums(output, target).astype(np.float64).reshape(-1)
                for _, metric in self.named
            ]
        self.widths[:] = [one.size for one in parts]
        return concat(parts)

    def results(self, sums: Iterable[np.ndarray], prefix: str = "") -> dict[str, float]:
        """The figures, of a row of `sums` for each batch, by their names behind a prefix.

        Of several ranks a row has the sums of each, -inf of one that had no sample.
        """
        if not self.named:
            return {}
        rows = np.concatenate([one.reshape(-1, sum(self.widths)) for one in sums])
        rows = rows[~np.isneginf(rows).all(axis=1)]
        parts = np.split(rows, np.cumsum(self.widths)[:-1], axis=1)
        return {
            f"{prefix}{name}": float(metric.result(metric.together(part)))
            for (name, metric), part in zip(self.named, parts, strict=True)
        }


def metrics_of(given: Mapping[str, Metric | Callable[[Any, Any], Any]] | None) -> Metrics:
    """What `Trainer(metrics=...)` was given. Raises TypeError and ValueError."""
    if given is None:
        return Metrics()
    if not isinstance(given, Mapping):
        raise TypeError(
            f"[Trainer] expected metrics as a dict of names and metrics, got {type(given).__name__}"
        )
    named = []
    for name, metric in given.items():
        if not isinstance(name, str) or not name or name in ("loss", "accuracy"):
            raise ValueError(
                f"[Trainer] expected a metric's name other than loss and accuracy, got {name!r}"
            )
        if isinstance(metric, type) or not (isinstance(metric, Metric) or callable(metric)):
            raise TypeError(
                f"[Trainer] expected metric {name!r} as a Metric or a function (output, target), "
                f"got {metric!r}"
            )
        named.append((name, metric if isinstance(metric, Metric) else Function(metric)))
    return Metrics(tuple(named))


def _axis(owner: Metric, axis: int) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise TypeError(f"[{type(owner).__name__}] expected axis as an integer, got {axis!r}")
    return axis


def _examples(tree: Any) -> int:
    while not isinstance(tree, Tensor):
        tree = next(iter(tree.values() if isinstance(tree, Mapping) else tree))
    return tree.shape[0]


def _difference(owner: Metric, output: Tensor, target: Tensor) -> Tensor:
    if output.shape != target.shape:
        raise ValueError(
            f"[{type(owner).__name__}] expected output and target of one shape, got "
            f"{output.shape} and {target.shape}"
        )
    return output.astype(np.float64) - target.astype(np.float64)


def _check_classes(owner: Metric, output: Tensor, target: Tensor, axis: int) -> None:
    places = list(output.shape)
    if -len(places) <= axis < len(places):
        del places[axis]
    if tuple(places) != target.shape or target.dtype.kind not in "iu":
        raise ValueError(
            f"[{type(owner).__name__}] expected class numbers, integers of the output's shape "
            f"without axis {axis}, got {target.dtype} {target.shape} of an output {output.shape}"
        )


def _counts(right: Tensor, known: Tensor) -> Tensor:
    return stack([one.astype(np.float64).sum() for one in (right, known)])


def _ratio(part: float, whole: float) -> float:
    """NaN of nothing."""
    return float(part / whole) if whole else math.nan
