"""Samplers: which samples a pass over the data consists of, and in which order.

Any iterable of row numbers with a length is one, PyTorch's too. Those here draw from the
counter-based streams, so that a seed gives the same samples on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_cupy import random

from .dataset import SAMPLER_KEY, DataError, seeded_words


class WeightedSampler:
    """Rows drawn with probability weights[i] / Σ weights, each pass anew.

    weights: one number of at least 0 for each sample (N,); they need not add up to 1
    count: rows of a pass; default N
    replacement: whether a row may come more than once. Without, rows are those of the `count`
        largest u^(1/w) (Efraimidis and Spirakis 2006), and `count` of the weights must be above 0.
    seed: fixes pass k by (seed, k); default: the global stream of shuffles, that of `manual_seed`

    Raises DataError where these do not fit.

    >>> labels = [0] * 99 + [1]
    >>> sampler = datasets.WeightedSampler.of_classes(labels, count=1000, seed=0)
    >>> rows = sampler.rows()
    >>> bool(400 < (rows == 99).sum() < 600)
    True
    """

    def __init__(
        self,
        weights: npt.ArrayLike,
        count: int | None = None,
        replacement: bool = True,
        seed: int | None = None,
    ) -> None:
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not self.weights.size:
            raise DataError(
                f"[WeightedSampler] expected weights (N,), got shape {self.weights.shape}"
            )
        if not (np.isfinite(self.weights) & (self.weights >= 0)).all() or not self.weights.any():
            raise DataError(
                "[WeightedSampler] expected finite weights of at least 0, not all of them 0"
            )
        self.count = len(self.weights) if count is None else int(count)
        most = np.inf if replacement else np.count_nonzero(self.weights)
        if not 1 <= self.count <= most:
            raise DataError(
                f"[WeightedSampler] expected a count from 1 to {most:g}, got {self.count}"
            )
        self.replacement, self.seed, self._passes = replacement, seed, 0
        if seed is not None:
            seeded_words(1, seed, SAMPLER_KEY)  # a seed that is none is an error now

    @classmethod
    def of_classes(
        cls,
        labels: npt.ArrayLike,
        class_weights: Sequence[float] | Mapping[int, float] | None = None,
        **options: Any,
    ) -> WeightedSampler:
        """Each class is drawn with probability class_weights[c] / Σ, however many samples it has.

        labels: integers (N,)
        class_weights: one number for each class, by label; default: all the same, which balances
            classes of different size. A class without samples counts for nothing.
        """
        found = np.asarray(labels)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise DataError(
                f"[WeightedSampler] expected labels as integers (N,), got {found.dtype} "
                f"{found.shape}"
            )
        classes, places, counts = np.unique(found, return_inverse=True, return_counts=True)
        if class_weights is None:
            each = np.ones(len(classes))
        else:
            try:
                each = np.array([class_weights[int(c)] for c in classes], np.float64)
            except (IndexError, KeyError):
                raise DataError(
                    f"[WeightedSampler] expected a weight for each class from {classes[0]} to "
                    f"{classes[-1]}, got {class_weights}"
                ) from None
        return cls((each / counts)[places], **options)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        """The rows of the next pass."""
        return iter(self.rows().tolist())

    def rows(self) -> npt.NDArray[np.int64]:
        """As iterating, as an array (count,)."""
        needed = self.count if self.replacement else len(self.weights)
        if self.seed is None:
            words = random.words(needed, random.STREAM_SHUFFLES, "cpu")
        else:
            words = seeded_words(needed, self.seed, SAMPLER_KEY, self._passes)
        self._passes += 1
        u = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53  # in [0, 1)
        if self.replacement:
            ends = np.cumsum(self.weights)
            last = int(np.flatnonzero(self.weights)[-1])  # rounding may lead u · Σ to the end
            rows = np.searchsorted(ends, u * ends[-1], side="right")
            return np.minimum(rows, last).astype(np.int64)  # type: ignore[no-any-return]
        with np.errstate(divide="ignore", invalid="ignore"):
            late = np.where(self.weights > 0, -np.log1p(-u) / self.weights, np.inf)
        return np.argsort(late, kind="stable")[: self.count].astype(np.int64)

    def state_dict(self) -> dict[str, np.ndarray]:
        """How many passes were begun: part of a loader's state."""
        return {"passes": np.asarray(self._passes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the pass that would have come."""
        self._passes = int(state["passes"])
