"""Loss and accuracy of an epoch, gathered on the device so that no step waits for the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend.devices import copy
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.tensor import Tensor


class Reading(NamedTuple):
    """Mean loss and accuracy over all predictions of a `Meter`, and the loss of each step.

    `counted` is how many targets of a step were class numbers that are not ignored, as negative
    ones are; NaN where targets are no class numbers. Both means are NaN where all were ignored.
    """

    loss: float
    accuracy: float
    losses: np.ndarray
    counted: np.ndarray
    sums: list[np.ndarray]  # of the metrics: rows of K, or several times K, each

    def first_bad_step(self) -> int | None:
        """The index of the first loss that is not finite, though it had targets, or None."""
        bad = np.flatnonzero(~np.isfinite(self.losses) & (self.counted != 0))
        return int(bad[0]) if bad.size else None


def _score_cpu(loss: Any, logits: Any, target: Any, ignored: int) -> Any:
    counted = (target >= 0) & (target != ignored)
    right = (logits.argmax(axis=1) == target) & counted
    return np.array([loss.item(), right.sum(), counted.sum()], np.float32)


def _score_cuda(loss: Any, logits: Any, target: Any, ignored: int) -> Any:
    xp = backend.array_module(logits)
    with backend.on_device_of(logits):
        out = xp.empty(3, np.float32)
        logits = xp.ascontiguousarray(xp.moveaxis(logits, 1, -1), np.float32)
        target = xp.ascontiguousarray(target, np.int64)
        loss = loss.astype(np.float32, copy=False)
        numbers = (np.int64(target.size), np.int32(logits.shape[-1]), np.int64(ignored))
        _kernels.launch("meter_score", 1, (loss, logits, target, out, *numbers), block=1024)
    return out


_score = backend.Kernel(cpu=_score_cpu, cuda=_score_cuda)
_kernels = backend.CudaSource(__file__, "meter.cu")


def is_classification(output: Any, target: Any) -> bool:
    """Whether a target is class numbers, (N, ...) of an output (N, C, ...), C of 2 or more."""
    return (
        isinstance(output, Tensor)
        and isinstance(target, Tensor)
        and target.dtype.kind in "iu"
        and output.ndim == target.ndim + 1
        and output.shape[1] >= 2
        and (output.shape[0], *output.shape[2:]) == target.shape
    )


def score(loss: Tensor, output: Any, target: Any, ignored: int = -1) -> Tensor:
    """The loss of a step, its right answers and the targets that count, float32 (3,).

    It stays on the device. The loss has one element. Right answers are counted of an output
    (N, C, ...) whose target (N, ...) is class numbers, of which negative ones and `ignored`, the
    `ignore_index` of a loss, do not count; otherwise, of a regression say, both numbers are NaN.
    """
    if loss.size != 1:
        raise ValueError(f"[Trainer] expected a loss of one element, got shape {loss.shape}")
    if is_classification(output, target):
        return Tensor(_score(loss.data, output.data, target.data, ignored))
    xp = backend.array_module(loss.data)
    with backend.on_device_of(loss.data):
        out = xp.full(3, np.nan, np.float32)
        out[:1] = loss.data.reshape(1)
    return Tensor(out)


def count_by_share(scored: Tensor, is_sum: bool) -> None:
    """Make a `score` of this rank's part of a batch one that is added up over the ranks.

    The loss counts by the share of the samples, unless it `is_sum`.
    """
    share = ranks.split
    if share is None:
        return
    with backend.on_device_of(scored.data):
        if not share.present:
            scored.data[...] = 0
        elif not is_sum:
            scored.data[0] *= np.float32(share.weight)


class Meter:
    """Loss and right answers of each step, left on the device until somebody reads them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.counts: list[int] = []  # predictions per step, known without asking the device
        self.values: Any = None  # (steps, 3): loss, right answers, targets that count
        self.sums: Any = None  # (steps, K) float64: of metrics, K for each rank
        self.earlier = np.zeros(0)  # those of steps that another number of ranks did
        self._begun = 0  # steps of these
        self._elsewhere = False  # whether `load_state_dict` left them on the host

    def add(self, scored: Tensor, count: int, sums: Tensor | None = None) -> None:
        """Note the `score` of a step of `count` predictions, and the sums (K,) of metrics.

        ValueError beyond the last step.
        """
        if len(self.counts) == self.steps:
            raise ValueError(f"[Meter] expected {self.steps} steps, as len(loader) says, got more")
        if self.values is None:
            self.values = backend.full((self.steps, 3), 0.0, np.float32, scored.device)
        elif self._elsewhere:
            self.values = backend.to_device(self.values, scored.device)
            self.sums = None if self.sums is None else backend.to_device(self.sums, scored.device)
            self._elsewhere = False
        copy(scored.data, self.values[len(self.counts)])
        if sums is not None:
            if self.sums is not None and self.sums.shape[1] != sums.size:
                self._sums_are_earlier()
            if self.sums is None:
                shape = self.steps, sums.size
                self.sums = backend.full(shape, 0.0, np.float64, sums.device)
            copy(sums.data.reshape(-1), self.sums[len(self.counts)])
        self.counts.append(count)

    def add_over_ranks(self) -> None:
        """Add up what the ranks have, each of its part of every batch."""
        if self.values is not None and ranks.world is not None and ranks.world.size > 1:
            with backend.on_device_of(self.values):
                copy(ranks.world.total(self.values), self.values)

    def state_dict(self) -> dict[str, np.ndarray]:
        """What was added so far; one host read, two with metrics."""
        count = len(self.counts)
        values = np.zeros((0, 3), np.float32)
        if count:
            values = backend.to_numpy(self.values[:count]).copy()
        found: dict[str, np.ndarray] = {"values": values, "counts": np.array(self.counts, np.int64)}
        if self.sums is not None:
            found["sums"] = backend.to_numpy(self.sums[self._begun : count]).copy()
        if self._begun:
            rest = found.get("sums", np.zeros(0))
            found["sums"] = np.concatenate([self.earlier, rest.reshape(-1)])
        return found

    def _sums_are_earlier(self) -> None:
        sums = backend.to_numpy(self.sums[self._begun : len(self.counts)])
        self.earlier = np.concatenate([self.earlier, sums.reshape(-1)])
        self.sums, self._begun = None, len(self.counts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what the meter of as many steps that gave `state` had."""
        values, counts = np.asarray(state["values"], np.float32), np.asarray(state["counts"])
        if values.shape != (len(counts), 3) or len(counts) > self.steps:
            raise ValueError(
                f"[Meter] expected figures of at most {self.steps} steps, got {values.shape} and "
                f"{counts.shape}"
            )
        self.counts = counts.tolist()
        self.values, self._elsewhere = np.zeros((self.steps, 3), np.float32), True
        self.values[: len(counts)] = values
        self.sums, self.earlier, self._begun = None, np.zeros(0), 0
        if "sums" in state:
            sums = np.asarray(state["sums"], np.float64)
            if sums.ndim == 1:  # of several numbers of ranks
                self.earlier, self._begun = sums, len(counts)
                return
            if sums.ndim != 2 or len(sums) != len(counts):
                raise ValueError(f"[Meter] expected sums of {len(counts)} steps, got {sums.shape}")
            self.sums = np.zeros((self.steps, sums.shape[1]))
            self.sums[: len(counts)] = sums

    @property
    def on_cpu(self) -> bool:
        """Whether `read` is free: on a GPU it waits for the device."""
        return self.values is None or not backend.is_cuda(self.values)

    def last_loss(self) -> float:
        """The loss of the step that was added last; a host read."""
        return float(self.values[len(self.counts) - 1, 0])

    def diverged(self) -> bool:
        """Whether the step added last had targets and a loss that is not finite; a host read."""
        return bool(not np.isfinite(self.last_loss()) and self.values[len(self.counts) - 1, 2] != 0)

    def rows(self, count: int) -> np.ndarray:
        """Loss, right answers and targets that count of the last `count` steps; one host read."""
        end = len(self.counts)
        found: np.ndarray = backend.to_numpy(self.values[end - count : end]).astype(np.float64)
        return found

    def read(self) -> Reading:
        """What was added so far; one host read, two with metrics. ValueError when nothing was."""
        if not self.counts:
            raise ValueError(
                "[Meter] expected at least one step, got none: the loader gave nothing"
            )
        values = backend.to_numpy(self.values[: len(self.counts)]).astype(np.float64)
        losses, right, counted = values.T
        sums = [self.earlier] if self._begun else []
        if self.sums is not None:
            sums.append(backend.to_numpy(self.sums[self._begun : len(self.counts)]))
        weights = np.where(np.isnan(counted), self.counts, counted)
        some = weights > 0  # the mean loss of no target is NaN
        if not some.any():
            return Reading(np.nan, np.nan, losses, counted, sums)
        return Reading(
            float(np.average(losses[some], weights=weights[some])),
            float(right.sum() / weights.sum()),
            losses,
            counted,
            sums,
        )
