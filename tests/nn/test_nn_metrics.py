"""Metrics against numbers counted by hand."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cupy.nn import metrics

#               guess: 0  1  2
MATRIX = np.array([[3, 1, 0], [0, 2, 0], [2, 0, 0]])


def test_confusion_matrix_has_truth_in_rows() -> None:
    matrix = metrics.confusion_matrix([0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 0, 0], 3)
    np.testing.assert_array_equal(matrix, MATRIX)
    assert matrix.dtype == np.int64


def test_scores_by_hand() -> None:
    assert metrics.accuracy(MATRIX) == 5 / 8
    np.testing.assert_allclose(metrics.precision(MATRIX), [3 / 5, 2 / 3, 0])  # 2 never guessed
    np.testing.assert_allclose(metrics.recall(MATRIX), [3 / 4, 1, 0])
    np.testing.assert_allclose(metrics.f1(MATRIX), [2 / 3, 4 / 5, 0])


def test_nothing_over_nothing_is_zero() -> None:
    empty = metrics.confusion_matrix([], [], 2)
    assert metrics.accuracy(empty) == 0
    for score in (metrics.precision, metrics.recall, metrics.f1):
        np.testing.assert_array_equal(score(empty), [0, 0])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_the_matrix_holds_every_example_once(pairs: list[tuple[int, int]]) -> None:
    truth, guess = zip(*pairs, strict=True)
    matrix = metrics.confusion_matrix(truth, guess, 5)
    for i in range(5):
        for j in range(5):
            assert matrix[i, j] == pairs.count((i, j))
    hits = sum(a == b for a, b in pairs)
    assert metrics.accuracy(matrix) == pytest.approx(hits / len(pairs))


@pytest.mark.parametrize(
    ("truth", "guess", "text"),
    [
        ([0, 1], [0], "truth and guess must be equally long, got 2 and 1"),
        ([0, 3], [0, 1], "truth must lie in [0, 3), got 3"),
        ([0, 1], [0, -1], "guess must lie in [0, 3), got -1"),
        ([0.5, 1], [0, 1], "truth must be integers, got float64"),
    ],
)
def test_wrong_labels_are_named(truth: Any, guess: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape("[confusion_matrix] " + text)):
        metrics.confusion_matrix(truth, guess, 3)


def test_a_matrix_that_is_not_square_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected a square confusion matrix, got shape \(2, 3\)"):
        metrics.accuracy(np.zeros((2, 3)))
