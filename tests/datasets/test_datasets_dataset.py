"""ArrayDataset: what it accepts, and how it is split."""

from typing import Any

import numpy as np
import pytest

from tinygrad_cupy.datasets import ArrayDataset, DataError
from tinygrad_cupy.datasets.dataset import LOADER_KEY, SPLIT_KEY, seeded_permutation


def sample(count: int = 10, classes: int = 2) -> ArrayDataset:
    images = np.arange(count * 4, dtype=np.uint8).reshape(count, 1, 2, 2)
    names = tuple("abcdefghij"[:classes])
    return ArrayDataset(images, np.arange(count) % classes, names, "sample")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"inputs": np.float32(3)}, r"\[bad\] expected arrays of numbers .*, got float32 \(\)"),
        ({"inputs": np.array(["a"])}, r"\[bad\] expected arrays of numbers .*, got <U1 \(1,\)"),
        (
            {"targets": np.zeros(3, np.float32)},
            r"\[bad\] expected labels of 2 classes as integers \(N,\), got float32 \(3,\)",
        ),
        (
            {"targets": np.zeros(4, np.int64)},
            r"\[bad\] expected arrays of equally many samples, got 3 inputs, 4 targets",
        ),
        (
            {"inputs": (np.zeros(3), {"x": np.zeros(2)})},
            r"equally many samples, got 3 inputs\[0\], 2 inputs\[1\]\['x'\], 3 targets",
        ),
        ({"inputs": (), "targets": None}, r"equally many samples, got no array"),
        (
            {"inputs": np.zeros((0, 1, 2, 2), np.uint8), "targets": np.zeros(0, np.int64)},
            r"\[bad\] expected at least one sample, got none",
        ),
        (
            {"targets": np.array([0, 1, 2])},
            r"\[bad\] expected labels from 0 to 1 \(2 classes\), got labels from 0 to 2",
        ),
        (
            {"targets": np.array([0, -1, 1])},
            r"\[bad\] expected labels from 0 to 1 \(2 classes\), got labels from -1 to 1",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(change: dict[str, Any], text: str) -> None:
    good: dict[str, Any] = {
        "inputs": np.zeros((3, 1, 2, 2), np.uint8),
        "targets": np.zeros(3, np.int64),
        "classes": ("a", "b"),
        "name": "bad",
    }
    ArrayDataset(**good)
    with pytest.raises(DataError, match=text):
        ArrayDataset(**(good | change))


def test_take_keeps_images_and_labels_together() -> None:
    data = sample()
    part = data.take([7, 0, 7])
    np.testing.assert_array_equal(part.images[:, 0, 0, 0], [28, 0, 28])
    np.testing.assert_array_equal(part.labels, [1, 0, 1])
    assert (part.classes, part.name, len(part)) == (("a", "b"), "sample", 3)
    with pytest.raises(DataError, match=r"\[sample\] take: expected at least one index, got none"):
        data.take([])


def test_split_is_a_partition_in_the_order_of_the_data() -> None:
    rest, part = sample(50).split(0.3, seed=4)
    assert (len(rest), len(part)) == (35, 15)
    first = [int(x) for data in (rest, part) for x in data.images[:, 0, 0, 0]]
    assert sorted(first) == [4 * i for i in range(50)]
    assert all(sorted(half) == half for half in (first[:35], first[35:]))


def test_split_is_fixed_by_the_seed() -> None:
    def chosen(seed: int) -> list[int]:
        np.random.default_rng().random()
        return [int(x) // 4 for x in sample(10).split(0.3, seed)[1].images[:, 0, 0, 0]]

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)
    assert chosen(0) == SPLIT_OF_10_BY_SEED_0


# From a plain Python Philox4x64-10, not from NumPy's.
SPLIT_OF_10_BY_SEED_0 = [3, 5, 8]


def test_a_stratified_split_takes_the_fraction_of_each_class() -> None:
    images = np.zeros((60, 1, 2, 2), np.uint8)
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    data = ArrayDataset(images, labels, ("a", "b", "c"), "uneven")
    rest, part = data.split(0.2, seed=0, stratify=True)
    np.testing.assert_array_equal(np.bincount(part.labels), [2, 4, 6])
    np.testing.assert_array_equal(np.bincount(rest.labels), [8, 16, 24])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_an_error(fraction: float) -> None:
    text = rf"\[sample\] split: expected a fraction between 0 and 1, got {fraction}"
    with pytest.raises(DataError, match=text):
        sample().split(fraction, seed=0)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_an_empty_half_is_an_error(fraction: float) -> None:
    text = rf"\[sample\] split: a fraction of {fraction} of 10 samples leaves one half empty"
    with pytest.raises(DataError, match=text):
        sample().split(fraction, seed=0)


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_a_seed_beyond_64_bits_is_an_error(seed: int) -> None:
    with pytest.raises(DataError, match=rf"expected a seed from 0 to 2\*\*64 - 1, got {seed}"):
        sample().split(0.5, seed)


def test_permutations_of_different_use_differ() -> None:
    orders = [
        seeded_permutation(20, seed, key, counter).tolist()
        for seed, key, counter in [
            (0, SPLIT_KEY, 0),
            (1, SPLIT_KEY, 0),
            (0, LOADER_KEY, 0),
            (0, LOADER_KEY, 1),
        ]
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(20)) for order in orders)
