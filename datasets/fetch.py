"""Batches of any dataset, on the host: by worker processes, or here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .collate import default_collate
from .dataset import ArrayDataset
from .workers import SampleError


class Fetch:
    """The batch of some rows of a dataset: a function that can be sent to another process."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None) -> None:
        self.dataset, self.collate = dataset, collate

    def __call__(self, rows: np.ndarray) -> Any:
        """Raises SampleError for whatever the dataset or `collate` raises."""
        numbers = rows.tolist()
        try:
            if isinstance(self.dataset, ArrayDataset) and self.collate is None:
                return self.dataset.gather(rows)
            samples = self._samples(numbers)
            return (self.collate or default_collate)(samples)
        except SampleError:
            raise
        except Exception as error:
            raise SampleError(
                f"[DataLoader] a batch of samples {_few(numbers)}{_of(error)}"
            ) from error

    def _samples(self, numbers: list[int]) -> list[Any]:
        """`dataset.__getitems__`, PyTorch's way to ask for several at once, where there is one."""
        at_once = getattr(self.dataset, "__getitems__", None)
        if at_once is not None:
            return list(at_once(numbers))
        return [self._sample(number) for number in numbers]

    def _sample(self, number: int) -> Any:
        try:
            return self.dataset[number]
        except Exception as error:
            raise SampleError(f"[DataLoader] sample {number}{_of(error)}", number) from error


def _of(error: Exception) -> str:
    return f": {type(error).__name__}: {error}"


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"
