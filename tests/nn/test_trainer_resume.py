"""A Trainer that goes on from a checkpoint: to the bits of one that was never stopped."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from support.loaders import Pairs
from tinygrad_cupy import nn
from tinygrad_cupy.datasets import ArrayDataset, DataLoader, WeightedSampler
from tinygrad_cupy.folders import FolderBusyError, Lock
from tinygrad_cupy.nn import optim, schedules

EPOCHS, STEPS = 3, 5
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 70)
X = (RNG.normal(size=(70, 4)) + 2 * np.eye(3, 4)[LABELS]).astype(np.float32)
TRAIN, VAL = ArrayDataset(X, LABELS), ArrayDataset(X[:20] + 0.5, LABELS[:20])


class Killed(BaseException):
    """Ends a run where a callback raises it, and nothing looks after it."""


class KillAt(nn.Callback):
    """Ends the run at a step of an epoch, or (index None) at the end of the epoch."""

    def __init__(self, epoch: int, index: int | None, error: BaseException | None = None) -> None:
        self.epoch, self.index = epoch, index
        self.error = error or Killed()

    def on_step_end(self, trainer: nn.Trainer, step: nn.Step) -> None:
        if (step.epoch, step.index) == (self.epoch, self.index):
            raise self.error

    def on_epoch_end(self, trainer: nn.Trainer, record: nn.EpochRecord) -> None:
        if (record.epoch, None) == (self.epoch, self.index):
            raise self.error


def always(folder: Path, **options: Any) -> nn.Checkpoints:
    """A checkpoint after every step."""
    return nn.Checkpoints(folder, **{"minutes": 0, "share": 1e9, **options})


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )


@dataclasses.dataclass
class Case:
    """How a run is made, from nothing."""

    optimizer: Callable[[nn.Module], optim.Optimizer] = lambda m: optim.Adam(m.parameters(), 0.01)
    schedule: Callable[[], Any] = lambda: None
    loader: dict[str, Any] = dataclasses.field(default_factory=lambda: {"shuffle": True})
    fit: dict[str, Any] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def make(
        self, checkpoint: Any, *callbacks: nn.Callback
    ) -> tuple[nn.Trainer, tuple[DataLoader, DataLoader]]:
        tg.manual_seed(4)
        model = network().to(tg.default_device())
        optimizer = self.optimizer(model)
        trainer = nn.Trainer(
            model, optimizer, schedule=self.schedule(), callbacks=callbacks,
            checkpoint=checkpoint, **self.options,
        )  # fmt: skip
        owned = (model, optimizer, trainer.averaged, trainer.scaler)
        StandInPool.owners[:] = [one for one in owned if one is not None]
        loader = dict(self.loader)
        if "sampler" in loader:
            loader["sampler"] = loader["sampler"]()
        train = DataLoader(TRAIN, 16, **loader)
        return trainer, (train, DataLoader(VAL, 8, shuffle=True, seed=3))


def groups(model: nn.Module) -> optim.Optimizer:
    return optim.AdamW(optim.no_decay(model, lr=0.02), lr=0.01, weight_decay=0.1)


def sgd(model: nn.Module) -> optim.Optimizer:
    return optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


CASES = {
    "adam": Case(),
    "groups": Case(groups, lambda: schedules.Cosine(0.01, 15, warmup=3)),
    "sgd": Case(sgd, loader={"shuffle": True, "seed": 5}),
    "plateau": Case(schedule=lambda: schedules.Plateau(0.05, patience=0, threshold=0.5)),
    "lambda": Case(schedule=lambda: lambda step: 0.01 / (1 + step)),
    "patience": Case(sgd, fit={"patience": 1}),
    "host": Case(loader={"shuffle": True, "resident": False}),
    "sampler": Case(loader={"sampler": lambda: WeightedSampler(np.arange(70) + 1.0, 70)}),
    "no jit": Case(options={"jit": False}),
    "clip": Case(options={"clip_norm": 0.1}),
    "bf16": Case(options={"autocast": "bf16"}),
    "fp16": Case(options={"autocast": "fp16", "clip_norm": 0.5}),
    "ema": Case(options={"ema": 0.9}),
    "ema, patience": Case(fit={"patience": 1}, options={"ema": 0.5}),
}
PLACES = [(1, 2), (2, 3), (2, STEPS), (2, None)]


def figures(trainer: nn.Trainer) -> list[Any]:
    """All that must be equal in two runs."""
    history = trainer.history
    parts: list[Any] = [trainer.model, trainer.optimizer, trainer.averaged]
    states = [part.state_dict() for part in parts if part is not None]
    records = [
        (r.epoch, r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy, r.learning_rate)
        for r in history
    ]
    schedule = repr(getattr(trainer.schedule, "state_dict", int)())
    scale = trainer.scaler and trainer.scaler.state_dict()
    return [
        [array.tobytes() for state in states for array in state.values()],
        [name for state in states for name in state],
        records, history.kept_epoch, history.stopped, trainer.steps_taken, schedule, scale,
        tg.random.get_state(),
    ]  # fmt: skip


_whole: dict[tuple[str, str], list[Any]] = {}


def whole(name: str) -> list[Any]:
    """The figures of the run that was never stopped, and writes no checkpoint."""
    key = name, tg.default_device()
    if key not in _whole:
        trainer, loaders = CASES[name].make(None)
        trainer.fit(*loaders, epochs=EPOCHS, **CASES[name].fit)
        _whole[key] = figures(trainer)
    return _whole[key]


FAST = {("adam", (2, 3)), ("plateau", (2, None)), ("fp16", (2, 3)), ("ema, patience", (2, STEPS))}
TRIED = [
    pytest.param(name, at, marks=() if (name, at) in FAST else pytest.mark.slow, id=f"{name} {at}")
    for name in CASES
    for at in PLACES
]


@pytest.mark.parametrize(("name", "at"), TRIED)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(
    place: str, tmp_path: Path, name: str, at: tuple[int, int | None]
) -> None:
    case = CASES[name]
    expected = whole(name)
    trainer, loaders = case.make(always(tmp_path / "c"), KillAt(*at))
    with pytest.raises(Killed):
        trainer.fit(*loaders, epochs=EPOCHS, **case.fit)
    assert trainer.history.stopped == "failed: Killed"
    del trainer
    again, loaders = case.make(always(tmp_path / "c"))
    tg.manual_seed(1)
    again.resume(*loaders, epochs=EPOCHS, **case.fit)
    assert figures(again) == expected


# --- what is said, and refused ------------------------------------------------------------------


def killed(folder: Path, at: tuple[int, int | None] = (2, 3), name: str = "sgd") -> Case:
    """A run that was killed, in a folder; how it was made."""
    trainer, loaders = CASES[name].make(always(folder), KillAt(*at))
    with pytest.raises(Killed):
        trainer.fit(*loaders, epochs=EPOCHS)
    return CASES[name]


def test_without_a_checkpoint_it_begins_anew_and_says_so(tmp_path: Path) -> None:
    trainer, loaders = CASES["sgd"].make(tmp_path / "c")
    text = f"[Trainer] there is no checkpoint in {str(tmp_path / 'c')!r}: training begins anew"
    with pytest.warns(UserWarning, match=re.escape(text)):
        history = trainer.resume(*loaders, epochs=EPOCHS)
    assert len(history) == EPOCHS
    assert figures(trainer) == whole("sgd")


def test_a_run_that_was_finished_goes_on_with_more_epochs(tmp_path: Path) -> None:
    case = CASES["adam"]
    trainer, loaders = case.make(tmp_path / "c")
    trainer.fit(*loaders, epochs=1)
    again, loaders = case.make(tmp_path / "c")
    history = again.resume(*loaders, epochs=1)  # nothing is left to do
    assert (len(history), history.kept_epoch, history.stopped) == (1, 1, "finished")
    assert again.model.state_dict().keys() == trainer.model.state_dict().keys()
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(again.model.state_dict()[name], array)
    again, loaders = case.make(tmp_path / "c")
    again.resume(*loaders, epochs=EPOCHS)
    assert figures(again) == whole("adam")


def linear(folder: Path, schedule: Any = None) -> tuple[nn.Trainer, DataLoader]:
    """A regression whose loss falls in every epoch."""
    tg.manual_seed(0)
    model = nn.Linear(1, 1)
    sgd = optim.SGD(model.parameters(), lr=0.05)
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    loader = DataLoader(ArrayDataset(x, 3 * x + 1), 5)
    return nn.Trainer(model, sgd, nn.MSELoss(), schedule, checkpoint=folder), loader


def test_patience_and_validation_may_come_with_the_epochs_that_are_added(tmp_path: Path) -> None:
    trainer, loader = linear(tmp_path / "a")
    trainer.fit(loader, loader, epochs=3)
    again, loader = linear(tmp_path / "a")
    history = again.resume(loader, loader, epochs=9, patience=2)
    assert (history.stopped, history.kept_epoch, len(history)) == ("finished", 9, 9)
    trainer, loader = linear(tmp_path / "b")
    trainer.fit(loader, epochs=3)
    again, loader = linear(tmp_path / "b")
    history = again.resume(loader, loader, epochs=9, patience=2)
    assert (history.stopped, history.kept_epoch, len(history)) == ("finished", 9, 9)


def test_another_schedule_is_refused(tmp_path: Path) -> None:
    trainer, loader = linear(tmp_path / "c", schedules.Cosine(0.1, 8))
    trainer.fit(loader, epochs=2)
    again, loader = linear(tmp_path / "c", schedules.Cosine(0.1, 40))
    text = "expected the schedule Cosine(lr=0.1, steps=8, warmup=0, final_lr=0.0), as it was, got "
    with pytest.raises(ValueError, match=re.escape(text)):
        again.resume(loader, epochs=10)


def test_metrics_of_some_epochs_alone(tmp_path: Path) -> None:
    history = nn.History()
    for epoch, metrics in ((1, {}), (2, {"val_f1": 0.5})):
        history.records.append(nn.EpochRecord(epoch, 1, 1, 1, 1, 0.1, 1, 1, metrics))
    assert history.column("val_f1") == [None, 0.5]
    history.plot(tmp_path / "history.png")
    with pytest.raises(AttributeError):
        history.column("val_f2")


def test_a_run_that_a_callback_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    """The checkpoint of its last step is written, though none was due."""
    case = CASES["adam"]
    stop = KillAt(2, 2, nn.StopTraining("enough"))
    trainer, loaders = case.make(tmp_path / "c", stop)
    history = trainer.fit(*loaders, epochs=EPOCHS)
    assert (history.stopped, history.kept_epoch) == ("enough", 1)
    content = json.loads(max((tmp_path / "c").glob("*.json")).read_text())
    assert (content["figures"]["epoch"], content["figures"]["step"]) == (1, 2)
    again, loaders = case.make(tmp_path / "c")
    again.resume(*loaders, epochs=EPOCHS)
    assert figures(again) == whole("adam")


def test_stopped_again_before_an_epoch_ended_the_weights_are_those_of_the_last_one(
    tmp_path: Path,
) -> None:
    case = killed(tmp_path / "c")
    trainer, loaders = case.make(always(tmp_path / "c"), KillAt(2, 4, nn.StopTraining()))
    history = trainer.resume(*loaders, epochs=EPOCHS)
    one, loaders = case.make(None)
    one.fit(*loaders, epochs=1)
    assert (history.kept_epoch, len(history)) == (1, 1)
    for name, array in one.model.state_dict().items():
        np.testing.assert_array_equal(trainer.model.state_dict()[name], array)


def test_a_loader_without_a_place_goes_on_from_epochs(tmp_path: Path) -> None:
    case = CASES["adam"]
    trainer, loaders = case.make(always(tmp_path / "c"), KillAt(2, 3))
    with pytest.raises(Killed):
        trainer.fit(Pairs(loaders[0]), Pairs(loaders[1]), epochs=EPOCHS)
    again, loaders = case.make(always(tmp_path / "c"))
    loaders[1].load_state_dict(loaders[1].state_dict() | {"iteration": np.asarray(1)})
    again.resume(Pairs(loaders[0]), Pairs(loaders[1]), epochs=EPOCHS)
    assert figures(again) == whole("adam")


def test_fit_leaves_the_checkpoints_of_another_run_alone(tmp_path: Path) -> None:
    case = killed(tmp_path / "c")
    trainer, loaders = case.make(tmp_path / "c")
    text = f"[Trainer] {str(tmp_path / 'c')!r} holds the checkpoints of another run: go on"
    with pytest.raises(ValueError, match=re.escape(text)):
        trainer.fit(*loaders)
    trainer.resume(*loaders, epochs=EPOCHS)
    trainer.fit(*loaders, epochs=1)  # these are its own


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "c")
    trainer, loaders = CASES["sgd"].make(tmp_path / "c")
    text = "[Checkpoints] another run is writing its checkpoints to "
    for train in (trainer.fit, trainer.resume):
        with pytest.raises(FolderBusyError, match=re.escape(text)):
            train(*loaders)
    lock.close()
    trainer.fit(*loaders, epochs=1)


def test_resume_needs_a_folder() -> None:
    trainer, loaders = CASES["sgd"].make(None)
    with pytest.raises(ValueError, match=r"\[Trainer\] resume needs checkpoint=, the folder"):
        trainer.resume(*loaders)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"optimizer": CASES["adam"].optimizer}, "expected the state of Adam, got that of SGD"),
        ({"options": {"ema": 0.9}}, "expected the state of averaged, loader, model, optimizer"),
        ({"options": {"autocast": "fp16"}}, "loader, model, optimizer, scaler, got that of loa"),
        ({"loader": {"shuffle": True, "seed": 1}}, "the state of a loader with seed 1, got 5"),
    ],
)
def test_the_checkpoint_of_something_else(
    tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    case = killed(tmp_path / "c")
    trainer, loaders = dataclasses.replace(case, **change).make(tmp_path / "c")
    before = trainer.model.state_dict()
    path = str(max((tmp_path / "c").glob("*.json")))
    with pytest.raises(nn.CheckpointError, match=re.escape(path)) as caught:
        trainer.resume(*loaders)
    assert text in str(caught.value)
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(before[name], array)


def test_no_step_waits_for_a_checkpoint_that_is_not_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics are read twice an epoch; arrays are fetched when a checkpoint is written alone."""
    reads: list[int] = []
    read = tg.backend.to_numpy

    def counted(array: Any) -> np.ndarray:
        reads.append(array.size)
        return read(array)

    monkeypatch.setattr(tg.backend, "to_numpy", counted)
    counts = []
    for checkpoint in (None, nn.Checkpoints(tmp_path / "c", share=1e-9)):
        reads.clear()
        trainer, loaders = CASES["no jit"].make(checkpoint)
        trainer.fit(*loaders, epochs=4)
        counts.append(len(reads))
    arrays = 2 * (1 + 5 + 2 * 6 + 1)  # two checkpoints, of the first epoch and of the last
    assert counts[1] - counts[0] <= 2 * arrays
