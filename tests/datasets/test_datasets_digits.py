"""The embedded digits: the published ones, enlarged, with a split that never changes."""

import hashlib

import numpy as np
import pytest

from tinygrad_cupy import datasets
from tinygrad_cupy.datasets import uci_digits


def test_the_sheet_holds_the_published_digits() -> None:
    # The hashes were computed from scikit-learn's arrays, not from the sheet.
    tiles, labels = uci_digits.read_sheet()
    assert (tiles.shape, str(tiles.dtype), str(labels.dtype)) == ((1797, 8, 8), "uint8", "int64")
    assert hashlib.sha256(tiles.tobytes()).hexdigest() == (
        "b41ca9fd335466eee997366c2e6f6bbe0a1b4582afe091fc4eba35f4a254182f"
    )
    assert hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest() == (
        "a3c91c262eddcf7ba8f0e37507c30284493c9b20412ffe4af30d536401f7ba21"
    )


def test_the_sheet_against_scikit_learn() -> None:
    source = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn").load_digits()
    tiles, labels = uci_digits.read_sheet()
    np.testing.assert_array_equal(np.round(tiles * (16 / 255)), source.images)
    np.testing.assert_array_equal(labels, source.target)


def test_sizes_classes_and_split() -> None:
    train, test = datasets.digits()
    assert (train.images.shape, test.images.shape) == ((1438, 1, 28, 28), (359, 1, 28, 28))
    assert train.classes == test.classes == tuple("0123456789")
    whole = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])  # as UCI counts them
    np.testing.assert_array_equal(np.bincount(test.labels), np.round(whole * 0.2))
    np.testing.assert_array_equal(np.bincount(train.labels) + np.bincount(test.labels), whole)
    np.testing.assert_array_equal(test.labels[:20], FIRST_TEST_LABELS)


# From a plain Python Philox4x64-10, not from NumPy's.
FIRST_TEST_LABELS = [3, 5, 4, 8, 2, 5, 5, 0, 8, 0, 7, 2, 6, 6, 1, 2, 1, 2, 1, 3]


def test_the_digits_look_like_mnist() -> None:
    train, _ = datasets.digits()
    mean = train.images[:, 0].mean(axis=0)
    center = np.average(np.arange(28), weights=mean.sum(axis=0))
    assert center == pytest.approx(13.5, abs=0.5)
    assert mean[:2].max() == mean[-2:].max() == 0  # a black frame
    assert train.images.max() == 255
    heights = [np.ptp(np.flatnonzero(image.max(axis=1) > 127)) + 1 for image in train.images[:, 0]]
    assert 17 <= np.median(heights) <= 21
