"""What the trainers of several ranks do as one; by itself a process has nothing to do here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend.ranks import Share, ranks
from tinygrad_cupy.pytree import flatten, rebuild
from tinygrad_cupy.tensor import Tensor

from .checkpoint import Checkpoints, Saved
from .history import StopTraining

if TYPE_CHECKING:
    from .trainer import Trainer


def several() -> bool:
    """Whether there are other ranks."""
    return ranks.world is not None and ranks.world.size > 1


def is_first() -> bool:
    """Whether this rank is the one that shows and writes."""
    return ranks.world is None or ranks.world.rank == 0


def of_first(what: str, value: Any) -> Any:
    """What the first rank gives, for all; each calls it."""
    return ranks.world.exchange(what, value if is_first() else None)[0] if several() else value


def begin(trainer: Trainer) -> None:
    """One model on all ranks, from the weights of the first."""
    if ranks.world is None:
        return
    from tinygrad_cupy.distributed import data_parallel

    is_sum = getattr(trainer.loss, "reduction", "mean") == "sum"
    data_parallel(trainer.model, trainer.optimizer, "sum" if is_sum else "mean")


def share_buffers(trainer: Trainer) -> None:
    """Give all ranks the buffers of the first: running statistics of its samples."""
    if several() and trainer.optimizer.parallel is not None:
        trainer.optimizer.parallel.share_buffers()


# --- stopping -------------------------------------------------------------------------------------


def heeding(trainer: Trainer, tell: Callable[[], None]) -> None:
    """Tell callbacks; that one asks to stop is only noted where other ranks must stop as well."""
    try:
        tell()
    except StopTraining as stop:
        if not several():
            raise
        trainer.asked_to_stop = trainer.asked_to_stop or str(stop) or "stopped"
    if trainer.stop_now:
        stop_if_asked(trainer)


def ask(trainer: Trainer) -> Tensor | None:
    """Have ranks on CPUs learn in the next step whether one was asked to stop; then all do.

    On GPUs, which no step waits for, that is asked after an epoch alone.
    """
    parallel = trainer.optimizer.parallel
    if not several() or parallel is None or parallel.params[0].device != "cpu":
        return None
    asked = Tensor(np.array([float(bool(trainer.asked_to_stop))], np.float32))
    parallel.carry(asked)
    return asked


def stop_if_asked(trainer: Trainer) -> None:
    """Raise StopTraining on all ranks where one was asked to stop."""
    if not several():
        return
    trainer.stop_now = False
    reasons = ranks.world.exchange("whether to stop", trainer.asked_to_stop)
    reason = next(filter(None, reasons), "")
    if reason:
        trainer.asked_to_stop = ""
        raise StopTraining(reason)


# --- checkpoints and results ----------------------------------------------------------------------


def loaded(checkpoints: Checkpoints) -> Saved | None:
    """The last checkpoint, which the first rank reads for all."""
    saved = None
    if is_first():
        with checkpoints.held():
            saved = checkpoints.load()
    if not several():
        return saved
    mine = None if saved is None else (str(saved.path), saved.figures, saved.arrays)
    found = ranks.world.exchange("the checkpoint", mine)[0]
    return None if found is None else Saved(Path(found[0]), found[1], found[2])


def held(checkpoints: Checkpoints) -> AbstractContextManager[None]:
    """`checkpoints.held()`, by the rank that writes them."""
    return checkpoints.held() if is_first() else nullcontext()


def tell(checkpoints: Checkpoints, text: str) -> None:
    """Say it once."""
    if is_first():
        checkpoints.tell(text)


def gathered(tree: Any, shares: Sequence[Share | None]) -> Any:
    """Arrays (N, ...) of all ranks in the order of the data, of this rank's parts of batches."""
    if not any(shares) or ranks.world is None:
        return tree
    known = [share for share in shares if share is not None]
    leaves: list[np.ndarray] = []
    structure = flatten(tree, leaves, once=False)
    everyone = ranks.world.exchange("answers", [backend.to_numpy(one) for one in leaves])
    found = []
    for place in range(len(leaves)):
        parts = []
        at = [0] * ranks.world.size
        for share in known:
            for rank, count in enumerate(share.counts):
                parts.append(everyone[rank][place][at[rank] : at[rank] + count])
                at[rank] += max(count, 1)  # one without samples has computed another's
        found.append(np.concatenate(parts))
    return rebuild(structure, found)
