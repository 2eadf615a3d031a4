"""A dataset of arrays: inputs, targets and, of classes, their names.

Letters in shapes: N samples, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tinygrad_cupy import backend
from tinygrad_cupy.printing import printable
from tinygrad_cupy.tensor import Tensor

from .mapped import Rows, is_mapped, received, to_send
from .trees import leaves, like, mapped

# The high word of a Philox key keeps independent uses of one seed apart. The engine's global
# streams are numbered from 0; these are far away, so that a split never shifts or repeats them.
SPLIT_KEY = 1 << 32
LOADER_KEY = (1 << 32) + 1
SAMPLER_KEY = (1 << 32) + 2
MADE_UP_KEY = (1 << 32) + 3


class DataError(ValueError):
    """Data that cannot be used; the text names the file or argument, what was due, what came.

    The names are somebody else's: characters that do not print are shown as their escapes.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Inputs and their targets as arrays of any dtype and shape, whose first axis counts samples.

    inputs: an array (N, ...), or a tuple or dict of them for a model of several inputs, nested as
        you like. NumPy's, CuPy's, memory-mapped ones (`np.load(path, mmap_mode="r")`), of which
        only the rows that are asked for are read, or tensors. Anything else is made an array,
        Python's floats float32.
    targets: the same, or None: samples are inputs alone then
    classes: of class labels, which are integers (N,) from 0 to len(classes) - 1, their names in
        order; () for other targets
    name: what error texts and reports call this data

    `data[3]` is a sample, (inputs, targets) or inputs alone; `data[2:5]` is a dataset, in memory
    that it shares, and so is `data[[7, 1]]` or `data[mask]`, of copies (see `take`). Inputs that
    are uint8 (N, C, H, W) are pictures, which a `DataLoader` gives as float32 from 0 to 1.

    Raises DataError when lengths differ, when there is nothing, when values are no numbers, or
    when a label has no class.

    >>> data = datasets.ArrayDataset(np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1]))
    >>> x, y = data[3]
    >>> x, int(y)
    (array([6., 7.]), 1)
    >>> train, test = data.split(1 / 3, seed=0)
    >>> len(train), len(test), len(data[data.targets == 1])
    (4, 2, 3)
    """

    inputs: Any
    targets: Any = None
    classes: tuple[str, ...] = ()
    name: str = "data"

    def __post_init__(self) -> None:
        for part in ("inputs", "targets"):
            if getattr(self, part) is not None or part == "inputs":
                object.__setattr__(self, part, self._arrays(getattr(self, part)))
        object.__setattr__(self, "classes", tuple(self.classes))
        lengths = [(path, leaf.shape[0]) for path, leaf in self.leaves()]
        if len({length for _, length in lengths}) != 1:
            found = ", ".join(f"{length} {path}" for path, length in lengths) or "no array"
            raise DataError(f"[{self.name}] expected arrays of equally many samples, got {found}")
        if len(self) == 0:
            raise DataError(f"[{self.name}] expected at least one sample, got none")
        if self.classes:
            self._check_labels()

    def _arrays(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._arrays(child) for key, child in value.items()}
        if isinstance(value, tuple):
            return like(value, [self._arrays(child) for child in value])
        if isinstance(value, Tensor):
            value = value.data
        if not (isinstance(value, np.ndarray | Rows) or backend.is_cuda(value)):
            python = not hasattr(value, "dtype")
            value = np.asarray(value)
            if python and value.dtype == np.float64:
                value = value.astype(np.float32)
        if not value.shape or value.dtype.kind in "OSUMm":
            raise DataError(
                f"[{self.name}] expected arrays of numbers with an axis of samples, "
                f"got {value.dtype} {tuple(value.shape)}"
            )
        return value

    def _check_labels(self) -> None:
        labels = self.targets
        if not hasattr(labels, "shape") or labels.dtype.kind not in "iu" or labels.ndim != 1:
            kind = f"{labels.dtype} {labels.shape}" if hasattr(labels, "shape") else type(labels)
            raise DataError(
                f"[{self.name}] expected labels of {len(self.classes)} classes as integers (N,), "
                f"got {kind}"
            )
        labels = np.asarray(labels) if isinstance(labels, Rows) else labels
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(
                f"[{self.name}] expected labels from 0 to {len(self.classes) - 1} "
                f"({len(self.classes)} classes), got labels from {low} to {high}"
            )

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Every array, with what it is: "inputs[0]", "targets"."""
        yield from leaves(self.inputs, "inputs")
        if self.targets is not None:
            yield from leaves(self.targets, "targets")

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """The inputs, of which there is one array."""
        return self._only("images", self.inputs)  # type: ignore[no-any-return]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The targets, of which there is one array."""
        return self._only("labels", self.targets)  # type: ignore[no-any-return]

    def _only(self, what: str, tree: Any) -> Any:
        if not hasattr(tree, "shape"):
            raise DataError(f"[{self.name}] has no {what}: there is {type(tree).__name__}")
        return tree

    def __len__(self) -> int:
        return next((int(leaf.shape[0]) for _, leaf in self.leaves()), 0)

    def __iter__(self) -> Iterator[Any]:
        """The samples, one by one."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        """A sample for an integer; a dataset for a slice, for several integers or for a mask."""
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"[{self.name}] there are {len(self)} samples, got index {index}")
            return self._each(lambda leaf: leaf[int(index)])
        if isinstance(index, slice):
            return self._replaced(lambda leaf: leaf[index])
        return self.take(index)

    def gather(self, indices: npt.NDArray[np.int64]) -> Any:
        """The samples at `indices` as a batch: what `data[i]` gives, each array with (B, ...)."""
        return self._each(lambda leaf: leaf[_beside(leaf, indices)])

    def take(self, indices: Sequence[int] | npt.NDArray[Any]) -> Self:
        """The dataset of the samples at `indices` (integers or a boolean mask), in that order.

        A copy; of what is memory-mapped nothing is read, the rows are looked up when they are used.

        >>> datasets.sine(100).take([5, 7]).inputs.shape
        (2, 1)
        """
        chosen = np.asarray(indices)
        if chosen.size == 0:
            raise DataError(f"[{self.name}] take: expected at least one index, got none")
        return self._replaced(lambda leaf: _rows(leaf, chosen))

    def _each(self, function: Any) -> Any:
        inputs = mapped(function, self.inputs)
        return inputs if self.targets is None else (inputs, mapped(function, self.targets))

    def _replaced(self, function: Any) -> Self:
        targets = None if self.targets is None else mapped(function, self.targets)
        return replace(self, inputs=mapped(function, self.inputs), targets=targets)

    def split(self, fraction: float, seed: int, stratify: bool = False) -> tuple[Self, Self]:
        """Split into (rest, part), where `part` holds round(fraction * N) samples chosen by `seed`.

        The choice depends on N and the seed alone (and on the labels with `stratify`, which takes
        the fraction of each class): it is the same on every machine, and no other random number
        of the program moves. Both halves keep the order of the samples.

        Raises DataError when fraction is not between 0 and 1, or when a half would be empty.

        >>> train, test = datasets.spiral(90).split(0.1, seed=0, stratify=True)
        >>> np.bincount(test.targets)
        array([3, 3, 3])
        """
        if not 0.0 < fraction < 1.0:
            raise DataError(
                f"[{self.name}] split: expected a fraction between 0 and 1, got {fraction}"
            )
        order = seeded_permutation(len(self), seed, SPLIT_KEY)
        if stratify:
            labels = on_host(self.labels)[order]
            groups = [order[labels == label] for label in np.unique(labels)]
        else:
            groups = [order]
        in_part = np.zeros(len(self), dtype=bool)
        for group in groups:
            in_part[group[: round(fraction * len(group))]] = True
        if in_part.all() or not in_part.any():
            raise DataError(
                f"[{self.name}] split: a fraction of {fraction} of {len(self)} samples "
                "leaves one half empty"
            )
        return self.take(~in_part), self.take(in_part)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {part: mapped(to_send, vars(self)[part]) for part in _PARTS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {part: _received(state[part]) for part in _PARTS})


_PARTS = ("inputs", "targets")


def _received(tree: Any) -> Any:
    """As `mapped(received, tree)`, for `InFile` is a tuple."""
    if isinstance(tree, dict):
        return {key: _received(child) for key, child in tree.items()}
    found = received(tree)
    if found is tree and isinstance(tree, tuple | list):
        return like(tree, [_received(child) for child in tree])
    return found


def _beside(leaf: Any, indices: npt.NDArray[Any]) -> Any:
    """Indices where they can index an array."""
    return backend.to_device(indices, backend.device_of(leaf)) if backend.is_cuda(leaf) else indices


def _rows(leaf: Any, chosen: npt.NDArray[Any]) -> Any:
    if not is_mapped(leaf):
        return leaf[_beside(leaf, chosen)]
    numbers = np.arange(leaf.shape[0])[chosen]  # of a mask, and of negative ones
    return Rows(leaf.array, leaf.rows[numbers]) if isinstance(leaf, Rows) else Rows(leaf, numbers)


def on_host(array: Any) -> np.ndarray:
    """An array of either kind, or `Rows`, as NumPy's."""
    return backend.to_numpy(array) if backend.is_cuda(array) else np.asarray(array)


def size_of_sample(array: Any) -> int:
    """How many numbers a row of an array has."""
    return math.prod(array.shape[1:])


def seeded_permutation(n: int, seed: int, key: int, counter: int = 0) -> npt.NDArray[np.int64]:
    """The numbers 0..n-1 in an order fixed by (seed, key, counter).

    It is a stable argsort of the words of Philox4x64-10 with the key (seed, key).

    Raises DataError when the seed does not fit into 64 bits.
    """
    words = seeded_words(n, seed, key, counter)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def seeded_words(n: int, seed: int, key: int, counter: int = 0) -> npt.NDArray[np.uint64]:
    """n words of Philox4x64-10 with the key (seed, key), in the `counter`-th of 2⁶⁴ places."""
    if not 0 <= seed < 1 << 64:
        raise DataError(f"expected a seed from 0 to 2**64 - 1, got {seed}")
    return np.random.Philox(
        key=np.array([seed, key], dtype=np.uint64),
        counter=np.array([0, 0, 0, counter], dtype=np.uint64),
    ).random_raw(n)
