"""Whether this process is one of several, its *ranks*, and which part of a batch is its own.

Nothing is here until `tinygrad_cupy.distributed.init` has found other ranks: then `ranks.world` is
set, and `ranks.share` while a batch is worked on that all ranks have a part of.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, NamedTuple

import numpy as np

# Where launchers say how many processes they started: Open MPI, MPICH and Intel's, MVAPICH,
# torchrun, and Slurm's `srun`.
SIZES = (
    *("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "WORLD_SIZE"),
    "SLURM_STEP_NUM_TASKS",
)


def may_be_several() -> bool:
    """Whether a launcher seems to have started other processes as well."""
    return any(os.environ.get(name, "1") != "1" for name in SIZES)


class Share(NamedTuple):
    """A batch that is split among ranks along axis 0, in their order, and whose part is meant.

    A rank without a sample computes the last one of the batch once more, at the weight 0: it takes
    part in whatever the others do together.
    """

    counts: tuple[int, ...]  # samples of each rank
    rank: int

    @property
    def total(self) -> int:
        """Samples of the batch."""
        return sum(self.counts)

    @property
    def present(self) -> bool:
        """Whether this rank has a sample of its own."""
        return self.counts[self.rank] > 0

    @property
    def samples(self) -> int:
        """How many samples this rank computes."""
        return max(self.counts[self.rank], 1)

    @property
    def start(self) -> int:
        """Where they begin in the batch."""
        return sum(self.counts[: self.rank]) if self.present else self.total - 1

    @property
    def rows(self) -> slice:
        """Where they are in the batch."""
        return slice(self.start, self.start + self.samples)

    @property
    def weight(self) -> float:
        """What the mean over this rank's samples counts in the mean over all."""
        return self.counts[self.rank] / self.total

    def at_least(self, count: int) -> int:
        """How many values all samples have at least, where those of this rank have as many."""
        return max(count, self.total) if count else 0

    @classmethod
    def even(cls, total: int, size: int, rank: int) -> Share:
        """As even as can be: the first ranks have one sample more where it does not come out."""
        least, more = divmod(total, size)
        return cls(tuple(least + (r < more) for r in range(size)), rank)


class Ranks:
    """What the engine asks of the other ranks; all of it None in a process by itself."""

    def __init__(self) -> None:
        self.world: Any = None  # `distributed.world.World`
        self.share: Share | None = None
        self.parallel: list[weakref.ref[Any]] = []  # of `distributed.data_parallel`
        self.captured: weakref.WeakSet[Any] = weakref.WeakSet()  # functions that hold graphs

    @property
    def split(self) -> Share | None:
        """The share, where other ranks have a part as well."""
        share = self.share
        return share if share is not None and len(share.counts) > 1 else None

    def loss_scale(self) -> float:
        """What a loss is multiplied by for its backward pass.

        Gradients are averaged over the ranks afterwards, so that of a mean over this rank's samples
        counts by its share; that of a sum counts whole.
        """
        share = self.split
        parallel = self._last_parallel()
        if share is None or parallel is None:
            return 1.0
        size = len(share.counts)
        if parallel.reduction == "sum":
            return float(size) if share.present else 0.0
        return share.weight * size

    def _last_parallel(self) -> Any:
        """That which was made last says what a loss is."""
        return next((one for ref in self.parallel[::-1] if (one := ref()) is not None), None)

    def whole_loss(self, value: float) -> float:
        """The loss of the whole batch, of that of each rank's part."""
        share, parallel = self.split, self._last_parallel()
        if share is None or parallel is None:
            return value
        counts = share.weight if parallel.reduction == "mean" else float(share.present)
        mine = np.array([value * counts if share.present else 0.0])
        self.world.client.begin("sum of losses")
        return float(self.world.host.all_reduce(mine, "sum")[0])

    def mean_weight(self) -> float:
        """What a loss of this rank will count, where it is a mean; above 0."""
        share = self.split
        parallel = self._last_parallel()
        if share is None or (parallel is not None and parallel.reduction == "sum"):
            return 1.0
        return max(share.weight, 1 / share.total)

    def before_reading(self, params: Any) -> None:
        """Called before gradients of parameters are read as a whole: reduce them."""
        for reference in self.parallel:
            parallel = reference()
            if parallel is not None:
                parallel.reduce_for(params)

    def after_writing(self, params: Any) -> None:
        """Called after reduced gradients were replaced by what follows from them."""
        for reference in self.parallel:
            parallel = reference()
            if parallel is not None:
                parallel.remember(params)


ranks = Ranks()
