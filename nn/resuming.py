"""What a checkpoint of a `Trainer` holds, and how one goes on from it.

The arrays are the state_dicts of its parts, each behind the part's name and a dot:

    model optimizer schedule loss averaged   where they have one
    loader val_loader                        their places
    kept                                     the weights to go back to, where the model has others
    meter                                    losses and right answers of the epoch under way

Everything else that a later step depends on is figures: counters of random numbers, the loss scale,
numbers of steps and epochs, the history, the best validation loss.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cupy import backend, random
from tinygrad_cupy.backend.ranks import ranks

from .checkpoint import CheckpointError, Saved, number
from .history import EpochRecord, History
from .meter import Meter
from .module import Module
from .optim.averaging import AveragedModel
from .optim.optimizer import Optimizer
from .schedules import LRSchedule
from .state import host_array

if TYPE_CHECKING:
    from .batches import Loader
    from .trainer import Trainer

Figures = dict[str, Any]
Arrays = dict[str, np.ndarray]


@dataclass
class Progress:
    """How far a `Trainer.fit` has come.

    `epoch` counts finished ones, `meter` holds the steps of the one under way. `kept` are the
    weights to go back to, of epoch `history.kept_epoch`; `kept_is_now` says that the model has
    them. `whole` is false where a step is under way, whose state is none to go on from.
    """

    kept: dict[str, Any]
    history: History = field(default_factory=History)
    epoch: int = 0
    meter: Meter | None = None
    seconds: float = 0.0  # of all before this process
    epoch_seconds: float = 0.0  # of these, in the epoch under way
    kept_is_now: bool = True
    whole: bool = True

    def improves(self, record: EpochRecord, patience: int | None) -> bool:
        """Whether the weights after an epoch are to be kept; without patience, the last ones are.

        With it, those of the lowest validation loss; an epoch without one is not better than any.
        """
        kept = self.history[self.history.kept_epoch - 1] if self.history.kept_epoch else None
        if kept is None or patience is None or kept.val_loss is None or record.val_loss is None:
            return True
        return record.val_loss < kept.val_loss

    def exhausted(self, patience: int | None) -> bool:
        """Whether the validation loss has not improved for as many epochs as that."""
        return patience is not None and self.epoch - self.history.kept_epoch >= patience


def parts_of(trainer: Trainer, train: Loader, val: Loader | None) -> dict[str, Any]:
    """What of a trainer has a state of arrays, by name."""
    parts: dict[str, Any] = {
        "model": trainer.model,
        "optimizer": trainer.optimizer,
        "schedule": trainer.schedule,
        "loss": trainer.loss if isinstance(trainer.loss, Module) else None,
        "averaged": trainer.averaged,
        "loader": train,
        "val_loader": val,
    }
    return {name: part for name, part in parts.items() if hasattr(part, "load_state_dict")}


def collect(
    trainer: Trainer, now: Progress, train: Loader, val: Loader | None, meter: Arrays
) -> tuple[Figures, Arrays]:
    """The figures and arrays of a checkpoint, of which no later step changes any.

    `meter` is the state of that, read before.
    """
    arrays: Arrays = {}
    parts = parts_of(trainer, train, val)
    for name, part in parts.items():
        state = _named(name, part.state_dict())
        if not isinstance(part, Module | Optimizer | AveragedModel):  # whose arrays are copies
            state = {key: array.copy() for key, array in state.items()}
        arrays |= state
    arrays |= _named("meter", meter)
    if not now.kept_is_now:
        arrays |= {f"kept.{name}": backend.to_numpy(x) for name, x in now.kept.items()}
    drawn = random.get_state()
    figures = {
        "parts": sorted(parts),
        "epoch": now.epoch,
        "step": len(meter["counts"]),
        "steps": len(train),
        "steps_taken": trainer.steps_taken,
        "kept_epoch": now.history.kept_epoch,
        "kept_is_now": now.kept_is_now,
        "seconds": now.seconds,
        "epoch_seconds": now.epoch_seconds,
        "history": [_plain(record) for record in now.history],
        "random": {
            "seed": drawn["seed"],
            "counters": [[*key, count] for key, count in drawn["counters"].items()],
        },
        "metric_widths": list(trainer.metrics.widths),
        "scaler": None if trainer.scaler is None else trainer.scaler.state_dict(),
    }
    return figures, arrays


def restore(trainer: Trainer, saved: Saved, train: Loader, val: Loader | None) -> Progress:
    """Put all parts where they stood. CheckpointError, and the model is as before, if they differ.

    A validation loader may come or go.
    """
    parts, figures = parts_of(trainer, train, val), saved.figures
    before = trainer._copied_weights(trainer.model)
    try:
        _check_parts(trainer, parts, figures)
        for name, part in parts.items():
            if name in figures["parts"]:
                state = _below(name, saved.arrays)
                if isinstance(part, LRSchedule):
                    _check_schedule(part, state)
                part.load_state_dict(state)
        if trainer.scaler is not None:
            trainer.scaler.load_state_dict(figures["scaler"])
        now = _progress(trainer, saved, train)
        trainer.steps_taken = int(figures["steps_taken"])
        trainer.metrics.widths[:] = map(int, figures.get("metric_widths", []))
        _restore_random(figures["random"])
    except Exception as error:
        trainer._restore(before)
        raise CheckpointError(
            f"[Trainer] cannot go on from {str(saved.path)!r}: {error}"
        ) from error
    return now


def _check_parts(trainer: Trainer, parts: Mapping[str, Any], figures: Figures) -> None:
    loose = {"val_loader"}
    here, there = set(parts) - loose, set(figures["parts"]) - loose
    here |= {"scaler"} if trainer.scaler is not None else set()
    there |= {"scaler"} if figures["scaler"] is not None else set()
    if here != there:
        raise ValueError(
            f"expected the state of {', '.join(sorted(here))}, got that of "
            f"{', '.join(sorted(there))}"
        )


def _check_schedule(schedule: LRSchedule, state: Arrays) -> None:
    """That it is made as it was then: of one of other steps the rates so far would be others."""
    fresh = copy.deepcopy(schedule)
    before = repr(fresh)
    fresh.load_state_dict(state)
    if repr(fresh) != before:
        raise ValueError(
            f"expected the schedule {fresh!r}, as it was, got {before}; one over the steps of a "
            "longer run has to be given to it from its beginning"
        )


def _progress(trainer: Trainer, saved: Saved, train: Loader) -> Progress:
    figures = saved.figures
    history = History([_record(one) for one in figures["history"]])
    history.kept_epoch = int(figures["kept_epoch"])
    meter = None
    if figures["step"]:
        if figures["steps"] != len(train):
            raise ValueError(
                f"expected a loader of {figures['steps']} batches, as it was in the middle of an "
                f"epoch, got one of {len(train)}"
            )
        meter = Meter(len(train))
        meter.load_state_dict(_below("meter", saved.arrays))
    kept: dict[str, Any] = _below("kept", saved.arrays)
    return Progress(
        kept=trainer._weights() if figures["kept_is_now"] else kept,
        history=history,
        epoch=int(figures["epoch"]),
        meter=meter,
        seconds=float(figures["seconds"]),
        epoch_seconds=float(figures["epoch_seconds"]),
        kept_is_now=bool(figures["kept_is_now"]),
    )


def _restore_random(state: Figures) -> None:
    """A GPU that is not there counts no more."""
    count = backend.cuda_count() if backend.cuda_available() else 0
    here = {"cpu", *(f"cuda:{index}" for index in range(count))}
    if ranks.world is not None:  # the first rank's GPU stands for that of each
        own = backend.default_device()
        state["counters"] = [
            (stream, device if device == "cpu" else own, count)
            for stream, device, count in state["counters"]
        ]
    counters = {
        (int(stream), device): int(count)
        for stream, device, count in state["counters"]
        if device in here
    }
    random.set_state({"seed": int(state["seed"]), "counters": counters})


def _named(name: str, state: Mapping[str, Any]) -> Arrays:
    found: Arrays = {}
    for key, value in state.items():
        array = host_array(value, real=False)
        if array is None:
            raise TypeError(
                f"[Trainer] expected a state_dict of arrays of the {name}, got "
                f"{type(value).__name__} for {key!r}"
            )
        found[f"{name}.{key}"] = array
    return found


def _below(name: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    start = f"{name}."
    return {key.removeprefix(start): x for key, x in arrays.items() if key.startswith(start)}


def _plain(record: EpochRecord) -> Figures:
    figures = dataclasses.asdict(record)
    metrics = {name: number(x) for name, x in figures.pop("metrics").items()}
    return {
        **{name: x if name == "epoch" else number(x) for name, x in figures.items()},
        "metrics": metrics,
    }


def _record(figures: Figures) -> EpochRecord:
    metrics = {name: float(value) for name, value in figures.get("metrics", {}).items()}
    values: dict[str, Any] = {
        name: None if value is None else float(value)
        for name, value in figures.items()
        if name != "metrics"
    }
    return EpochRecord(**(values | {"epoch": int(figures["epoch"]), "metrics": metrics}))
