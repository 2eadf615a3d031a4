"""Parts of datasets, and datasets dealt out at random."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy.datasets import ArrayDataset, DataError, DataLoader, Subset, random_split

WORDS = [f"word {number}" for number in range(10)]


def test_a_subset_looks_samples_up() -> None:
    part = Subset(WORDS, [7, 0, -1, 7])
    assert len(part) == 4
    assert list(part) == [part[0], part[1], part[2], part[-1]]
    assert list(part) == ["word 7", "word 0", "word 9", "word 7"]
    with pytest.raises(IndexError, match=re.escape("[Subset] there are 4 samples, got index 4")):
        part[4]


def test_a_subset_feeds_a_loader() -> None:
    part = Subset([(np.full(2, float(i)), i) for i in range(9)], np.array([8, 3, 5]))
    (batch,) = DataLoader(part, batch_size=8)
    assert batch[0].tolist() == [[8, 8], [3, 3], [5, 5]]
    assert batch[1].tolist() == [8, 3, 5]


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([10], "[Subset] expected indices of 10 samples, got 10"),
        ([0, -11], "[Subset] expected indices of 10 samples, got -11"),
        ([0.5], "[Subset] expected indices as integers (K,), got float64 (1,)"),
        ([[1]], "[Subset] expected indices as integers (K,), got int64 (1, 1)"),
    ],
)
def test_indices_that_are_none(indices: Any, text: str) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        Subset(WORDS, indices)


@pytest.mark.parametrize("lengths", [(6, 3, 1), (0.6, 0.3, 0.1), (0.55, 0.25, 0.2)])
def test_every_sample_is_in_one_part(lengths: tuple[float, ...]) -> None:
    parts = random_split(WORDS, lengths, seed=3)
    expected = {0.55: [6, 2, 2]}.get(lengths[0], [6, 3, 1])  # floors, and one more for the first
    assert [len(part) for part in parts] == expected
    assert sorted(word for part in parts for word in part) == WORDS
    assert all(list(part) == sorted(part) for part in parts)
    again = random_split(WORDS, lengths, seed=3)
    assert [list(part) for part in again] == [list(part) for part in parts]
    assert [list(part) for part in random_split(WORDS, lengths, seed=4)] != list(map(list, parts))


def test_arrays_stay_arrays_and_two_parts_are_those_of_split() -> None:
    data = ArrayDataset(np.arange(20.0), np.arange(20))
    part, rest = random_split(data, [5, 15], seed=1)
    assert isinstance(part, ArrayDataset)
    expected = data.split(0.25, seed=1)
    np.testing.assert_array_equal(part.targets, expected[1].targets)
    np.testing.assert_array_equal(rest.targets, expected[0].targets)


def test_without_a_seed_the_stream_of_shuffles_decides() -> None:
    def drawn() -> list[list[str]]:
        return [list(part) for part in random_split(WORDS, [5, 5])]

    tg.manual_seed(1)
    first, second = drawn(), drawn()
    tg.manual_seed(1)
    assert drawn() == first != second


@pytest.mark.parametrize("lengths", [[], [5, 4], [11, -1, 0], [0.5, 0.4], [1.5, -0.5], [np.nan]])
def test_lengths_that_do_not_add_up(lengths: list[float]) -> None:
    text = "[random_split] expected lengths that add up to 10, the number of samples, or shares"
    if lengths == [11, -1, 0]:
        text = "[random_split] expected a sample or more in each part, got [11, -1, 0]"
    with pytest.raises(DataError, match=re.escape(text)):
        random_split(WORDS, lengths, seed=0)


def test_a_share_of_no_sample() -> None:
    text = "[random_split] expected a sample or more in each part, got [10, 0, 0] of [0.99, 0.0,"
    with pytest.raises(DataError, match=re.escape(text)):
        random_split(WORDS, [0.99, 0.0, 0.01], seed=0)
