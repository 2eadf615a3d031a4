"""Parts of a dataset: some of its samples, and all of them dealt out at random."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_cupy import random

from .dataset import SPLIT_KEY, ArrayDataset, DataError, seeded_permutation


class Subset:
    """The samples of a dataset at `indices`, in that order, which are looked up when asked for.

    dataset: any object with `__len__` and `__getitem__`; of an `ArrayDataset`, `data[indices]` is a
        dataset of arrays, which a `DataLoader` gathers faster
    indices: integers, negative ones counted from the end; they may repeat

    Raises DataError for an index that the dataset has not.

    >>> words = ["a", "list", "of", "words"]
    >>> part = datasets.Subset(words, [3, -4])
    >>> list(part), len(part)
    (['words', 'a'], 2)
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | npt.NDArray[Any]) -> None:
        count, chosen = len(dataset), np.asarray(indices)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise DataError(
                f"[Subset] expected indices as integers (K,), got {chosen.dtype} {chosen.shape}"
            )
        outside = chosen[(chosen < -count) | (chosen >= count)]
        if outside.size:
            raise DataError(f"[Subset] expected indices of {count} samples, got {outside[0]}")
        self.dataset = dataset
        self.indices = chosen.astype(np.int64) % max(count, 1)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """The sample at a place of `indices`."""
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"[Subset] there are {len(self)} samples, got index {index}")
        return self.dataset[int(self.indices[place])]

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))


def random_split(
    dataset: Any, lengths: Sequence[int] | Sequence[float], seed: int | None = None
) -> tuple[Any, ...]:
    """A dataset dealt out at random: every sample is in one part, which keeps their order.

    dataset: any object with `__len__` and `__getitem__`; parts of an `ArrayDataset` are such, those
        of others a `Subset`
    lengths: how many samples each part has, N together; or shares that add up to 1, of which parts
        have floor(share · N), and the first ones one of those that are left over
    seed: the choice depends on it and N alone, on every machine; default: drawn from the global
        stream of shuffles, that of `manual_seed`

    `ArrayDataset.split` can keep the shares of classes. Raises DataError for lengths that do not
    add up, or a part without samples.

    >>> train, val, test = datasets.random_split(datasets.spiral(50), [0.8, 0.1, 0.1], seed=0)
    >>> len(train), len(val), len(test)
    (40, 5, 5)
    """
    count = len(dataset)
    sizes = _sizes(list(lengths), count)
    if seed is None:
        order = random.permutation(count, "cpu")
    else:
        order = seeded_permutation(count, seed, SPLIT_KEY)
    parts = [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]
    if isinstance(dataset, ArrayDataset):
        return tuple([dataset.take(part) for part in parts])
    return tuple([Subset(dataset, part) for part in parts])


def _sizes(lengths: list[Any], count: int) -> list[int]:
    """How many samples each part has."""
    whole = all(isinstance(length, int | np.integer) for length in lengths)
    sizes = [int(length) for length in lengths] if whole else []
    if lengths and not whole and math.isclose(sum(lengths), 1) and min(lengths) >= 0:
        sizes = [math.floor(share * count) for share in lengths]
        for part in range(count - sum(sizes)):
            sizes[part % len(sizes)] += 1
    if sum(sizes) != count or not sizes:
        raise DataError(
            f"[random_split] expected lengths that add up to {count}, the number of samples, or "
            f"shares that add up to 1, got {lengths}"
        )
    if min(sizes) < 1:
        raise DataError(
            f"[random_split] expected a sample or more in each part, got {sizes} of {lengths}"
        )
    return sizes
