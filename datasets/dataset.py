"""A dataset in memory: images, labels and the names of the classes.

Letters in shapes: N images, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_cupy.printing import printable

# The high word of a Philox key keeps independent uses of one seed apart. The engine's global
# streams are numbered from 0; these are far away, so that a split never shifts or repeats them.
SPLIT_KEY = 1 << 32
LOADER_KEY = (1 << 32) + 1


class DataError(ValueError):
    """Data that cannot be used; the text names the file or argument, what was due, what came.

    The names are somebody else's: characters that do not print are shown as their escapes.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Images and their labels as NumPy arrays, checked when made.

    images: uint8, (N, C, H, W), N >= 1, values 0..255
    labels: int64, (N,), each in 0..len(classes) - 1
    classes: the name of each class, in the order of the labels
    name: what error texts and reports call this data

    Raises DataError when a dtype, a shape or a label does not fit.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                f"[{self.name}] expected images as uint8 (N, C, H, W), "
                f"got {images.dtype} {images.shape}"
            )
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise DataError(
                f"[{self.name}] expected labels as int64 (N,), got {labels.dtype} {labels.shape}"
            )
        if len(images) != len(labels):
            raise DataError(
                f"[{self.name}] expected one label per image, "
                f"got {len(images)} images and {len(labels)} labels"
            )
        if len(images) == 0:
            raise DataError(f"[{self.name}] expected at least one image, got none")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(
                f"[{self.name}] expected labels from 0 to {len(self.classes) - 1} "
                f"({len(self.classes)} classes), got labels from {low} to {high}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | npt.NDArray[Any]) -> "ArrayDataset":
        """The dataset of the images at `indices` (integers or a boolean mask), in that order."""
        chosen = np.asarray(indices)
        if chosen.size == 0:
            raise DataError(f"[{self.name}] take: expected at least one index, got none")
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def split(
        self, fraction: float, seed: int, stratify: bool = False
    ) -> tuple["ArrayDataset", "ArrayDataset"]:
        """Split into (rest, part), where `part` holds round(fraction * N) images chosen by `seed`.

        The choice depends on N and the seed alone (and on the labels with `stratify`, which takes
        the fraction of each class): it is the same on every machine, and no other random number
        of the program moves. Both halves keep the order of the images.

        Raises DataError when fraction is not between 0 and 1, or when a half would be empty.
        """
        if not 0.0 < fraction < 1.0:
            raise DataError(
                f"[{self.name}] split: expected a fraction between 0 and 1, got {fraction}"
            )
        order = seeded_permutation(len(self), seed, SPLIT_KEY)
        if stratify:
            labels = self.labels[order]
            groups = [order[labels == label] for label in range(len(self.classes))]
        else:
            groups = [order]
        in_part = np.zeros(len(self), dtype=bool)
        for group in groups:
            in_part[group[: round(fraction * len(group))]] = True
        if in_part.all() or not in_part.any():
            raise DataError(
                f"[{self.name}] split: a fraction of {fraction} of {len(self)} images "
                "leaves one half empty"
            )
        return self.take(~in_part), self.take(in_part)


def seeded_permutation(n: int, seed: int, key: int, counter: int = 0) -> npt.NDArray[np.int64]:
    """The numbers 0..n-1 in an order fixed by (seed, key, counter).

    It is a stable argsort of the words of Philox4x64-10 with the key (seed, key).

    Raises DataError when the seed does not fit into 64 bits.
    """
    if not 0 <= seed < 1 << 64:
        raise DataError(f"expected a seed from 0 to 2**64 - 1, got {seed}")
    words = np.random.Philox(
        key=np.array([seed, key], dtype=np.uint64),
        counter=np.array([0, 0, 0, counter], dtype=np.uint64),
    ).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
