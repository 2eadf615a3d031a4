"""Loaders that know less than a `DataLoader`."""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_cupy import Tensor
from tinygrad_cupy.datasets import DataLoader


class Pairs:
    """A loader that only gives batches: none of its rows, and no place to go on from."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.loader)
