"""Numbers that judge a classifier, from its confusion matrix. Plain NumPy on the host.

Those that a `Trainer` gathers by itself, of regression, labels and sequences too, are classes:
`running_metrics` has them.

Letters in shapes: N examples, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .running_metrics import Accuracy as Accuracy
from .running_metrics import F1Score as F1Score
from .running_metrics import MeanAbsoluteError as MeanAbsoluteError
from .running_metrics import Metric as Metric
from .running_metrics import R2Score as R2Score
from .running_metrics import RootMeanSquaredError as RootMeanSquaredError
from .running_metrics import TopKAccuracy as TopKAccuracy


def confusion_matrix(truth: ArrayLike, guess: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts (K, K): row is the true class, column the guessed one.

    `truth` and `guess` are integers (N,) in [0, classes). ValueError when their shapes differ or a
    class is out of range.

    >>> nn.metrics.confusion_matrix([0, 0, 1, 2], [0, 1, 1, 2], classes=3)
    array([[1, 1, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    both = {"truth": np.asarray(truth).ravel(), "guess": np.asarray(guess).ravel()}
    if both["truth"].shape != both["guess"].shape:
        raise ValueError(
            f"[confusion_matrix] truth and guess must be equally long, got "
            f"{both['truth'].size} and {both['guess'].size}"
        )
    for name, labels in both.items():
        if labels.size and not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"[confusion_matrix] {name} must be integers, got {labels.dtype}")
        outside = labels[(labels < 0) | (labels >= classes)]
        if outside.size:
            raise ValueError(
                f"[confusion_matrix] {name} must lie in [0, {classes}), got {outside[0]}"
            )
    cells = both["truth"].astype(np.int64) * classes + both["guess"].astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracy(matrix: ArrayLike) -> float:
    """The share of examples on the diagonal of a confusion matrix; 0.0 when it is empty.

    >>> nn.metrics.accuracy([[3, 1], [0, 4]])  # 7 of 8
    0.875
    """
    counts = _counts(matrix)
    return float(_ratio(np.trace(counts), counts.sum()))


def precision(matrix: ArrayLike) -> NDArray[np.float64]:
    """Per class (K,): of what was guessed as it, the share that was it. Never guessed: 0.

    >>> nn.metrics.precision([[3, 1], [0, 4]])  # 3 of 3, 4 of 5
    array([1. , 0.8])
    """
    counts = _counts(matrix)
    return _ratio(np.diagonal(counts), counts.sum(axis=0))


def recall(matrix: ArrayLike) -> NDArray[np.float64]:
    """Per class (K,): of what was it, the share that was guessed as it. No examples: 0.

    >>> nn.metrics.recall([[3, 1], [0, 4]])  # 3 of 4, 4 of 4
    array([0.75, 1.  ])
    """
    counts = _counts(matrix)
    return _ratio(np.diagonal(counts), counts.sum(axis=1))


def f1(matrix: ArrayLike) -> NDArray[np.float64]:
    """Per class (K,): the harmonic mean of precision and recall, 2PR / (P + R). 0 / 0 is 0.

    >>> nn.metrics.f1([[1, 1], [0, 2]]).round(3)
    array([0.667, 0.8  ])
    """
    counts = _counts(matrix)
    # 2PR / (P + R) is twice the hits over guesses plus examples, and needs no other 0 / 0 case.
    return _ratio(2 * np.diagonal(counts), counts.sum(axis=0) + counts.sum(axis=1))


def _counts(matrix: ArrayLike) -> NDArray[np.int64]:
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"[metrics] expected a square confusion matrix, got shape {counts.shape}")
    return counts


def _ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """part / whole, and 0 where whole is 0."""
    whole = np.asarray(whole, np.float64)
    result = np.zeros_like(whole)
    np.divide(part, whole, out=result, where=whole != 0)
    return result
