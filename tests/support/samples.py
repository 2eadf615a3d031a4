"""Datasets for tests of loaders, at the top of a module: worker processes can import them."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import numpy as np

from tinygrad_cupy import Tensor


class Squares:
    """Sample i is ({"x": [i, i + 1], "name": "i"}, i²): any object with a length and items."""

    def __init__(self, count: int = 20) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        x = np.array([index, index + 1], np.float32)
        return {"x": x, "name": str(index)}, index * index


class Failing(Squares):
    """Sample 7 is an error, or what `how` says."""

    def __init__(self, how: str = "raise", count: int = 20) -> None:
        super().__init__(count)
        self.how = how

    def __getitem__(self, index: int) -> Any:
        if index == 7:
            if self.how == "raise":
                raise KeyError("no such file")
            if self.how == "exit":
                os._exit(3)
            if self.how == "sleep":
                time.sleep(1000)
        return super().__getitem__(index)


class Unreadable(Squares):
    """Cannot be unpickled in another process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise OSError("the database is not there")


class Batched(Squares):
    """Gives several samples at once, as PyTorch's datasets may."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


class Drawn(Squares):
    """Sample i is random numbers of Python, NumPy and the library, and i."""

    def __getitem__(self, index: int) -> Any:
        ours = Tensor.rand(1, device="cpu").item()
        return np.array([random.random(), np.random.random(), ours]), index  # noqa: NPY002


def largest(samples: list[Any]) -> np.ndarray:
    """A collate function: the largest x of each sample."""
    return np.array([sample["x"].max() for sample, _ in samples])
