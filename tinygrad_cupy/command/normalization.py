"""Values of colour pictures on the scale that nets start from: mean 0 and deviation 1 per channel.

Gray pictures stay from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import Tensor
from ..datasets import DataLoader

CHUNK = 256  # pictures that are counted at a time
LEAST_STD = 1 / 255  # a channel that hardly varies is not blown up


@dataclass(frozen=True)
class Normalization:
    """x -> (x - mean) / std, for pictures (B, C, H, W) from 0 to 1; a number per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: np.ndarray) -> Normalization:
        """That of training images, uint8 (N, C, H, W); of gray ones it changes nothing."""
        channels = images.shape[1]
        if channels == 1:
            return cls((0.0,), (1.0,))
        counts = np.zeros((channels, 256))  # of each value
        for start in range(0, len(images), CHUNK):
            for channel in range(channels):
                values = images[start : start + CHUNK, channel].ravel()
                counts[channel] += np.bincount(values, minlength=256)
        levels, total = np.arange(256) / 255, counts.sum(axis=1)
        mean = counts @ levels / total
        std = np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, LEAST_STD**2))
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return any(self.mean) or any(one != 1 for one in self.std)

    def __call__(self, x: Tensor) -> Tensor:
        """The pictures (B, C, H, W), normalized."""
        if not self.changes:
            return x
        return (x - self._by_channel(self.mean, x.device)) / self._by_channel(self.std, x.device)

    def _by_channel(self, values: tuple[float, ...], device: str) -> Tensor:
        return Tensor(np.array(values, np.float32)[:, None, None], device=device)  # (C, 1, 1)


class NormalizedLoader:
    """A `DataLoader` whose pictures come out normalized; gathers its batches as that does."""

    def __init__(self, loader: DataLoader, normalization: Normalization) -> None:
        self.loader = loader
        self._mean = normalization._by_channel(normalization.mean, loader.device)
        self._std = normalization._by_channel(normalization.std, loader.device)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.batch, self.rows())

    def state_dict(self) -> dict[str, np.ndarray]:
        """As the loader's."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As the loader's."""
        self.loader.load_state_dict(state)

    def rows(self) -> Iterator[Tensor]:
        """As the loader's."""
        return self.loader.rows()

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(x, y) of these rows, on the device: part of a captured step."""
        x, y = self.loader.batch(rows)
        return (x - self._mean) / self._std, y
