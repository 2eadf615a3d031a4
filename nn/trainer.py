"""Training a classifier: the epoch loop, validation, early stopping, evaluation, prediction.

Letters: N examples, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.autograd.mode import no_grad
from tinygrad_cupy.jit import jit as captured
from tinygrad_cupy.tensor import Tensor

from . import checks, steps
from .history import EpochRecord, History, Step, StopTraining
from .meter import Meter, Reading
from .module import Module
from .optim.optimizer import Optimizer
from .schedules import LRSchedule
from .state import become
from .steps import Gather, Loss


class Loader(Protocol):
    """What `Trainer` asks of a loader: batches (x, y), repeatedly, and their number.

    One that also has `rows` and `batch`, as a `DataLoader`, gathers its batches inside the
    captured step.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def __len__(self) -> int: ...


@runtime_checkable
class GatheringLoader(Loader, Protocol):
    """A loader that makes a batch of rows, on its device."""

    def rows(self) -> Iterator[Tensor]:
        """The row numbers (B,) of each batch of a new pass over the data."""
        ...

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(x, y) of these rows."""
        ...


class Watcher(Protocol):
    """What `Trainer` tells, and when: `Callback` is one that does nothing."""

    def on_fit_start(self, trainer: Trainer) -> None: ...

    def on_step_end(self, trainer: Trainer, step: Step) -> None: ...

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None: ...

    def on_fit_end(self, trainer: Trainer, history: History) -> None: ...


Item = tuple[Tensor, ...]  # (rows,) or (x, y)
P = ParamSpec("P")
R = TypeVar("R")


class DivergedError(ArithmeticError):
    """The loss turned NaN or infinite; the model is back at its last good weights.

    `epoch` and `step` (from 1) say where; `history` holds the epochs that finished before.
    """

    def __init__(self, value: float, epoch: int, step: int, steps: int, history: History) -> None:
        super().__init__(
            f"the loss became {value} in epoch {epoch}, step {step} of {steps}; "
            "a smaller learning rate usually helps"
        )
        self.value, self.epoch, self.step, self.steps = value, epoch, step, steps
        self.history = history


@dataclass(frozen=True)
class Evaluation:
    """A model's answers on a data set: mean loss, accuracy in [0, 1], and each answer.

    `labels` is int64 (N,), `probabilities` float32 (N, C), both NumPy arrays.
    """

    loss: float
    accuracy: float
    labels: np.ndarray
    probabilities: np.ndarray


class Trainer:
    """Trains `model`, a classifier from batches (N, ...) to logits (N, C).

    `loss(logits, target)` defaults to the mean cross-entropy. `schedule(step)` gives the learning
    rate of every step, counted from 0 over all epochs; without one the optimizer's own stays.
    The model must be on the device of the loaders.

    On a GPU, training steps and evaluations are captured (`tinygrad_cupy.jit`): the model and the
    loss must not read values on the host. `jit=False` runs every operation by itself, to the same
    figures.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss | None = None,
        schedule: Callable[[int], float] | None = None,
        callbacks: Sequence[Watcher] = (),
        jit: bool = True,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.loss: Loss = loss or Tensor.cross_entropy
        self.schedule = schedule
        self.callbacks = list(callbacks)
        self.history = History()
        self.steps_taken = 0
        self._train = _maybe_captured(jit, steps.train)
        self._validate = _maybe_captured(jit, steps.validate)
        self._evaluate = _maybe_captured(jit, steps.evaluate)
        self._predict = _maybe_captured(jit, steps.predict)

    # --- training -------------------------------------------------------------------------------

    def fit(
        self,
        train_loader: Loader,
        val_loader: Loader | None = None,
        epochs: int = 5,
        patience: int | None = None,
    ) -> History:
        """Train for `epochs` epochs and return their history (also kept as `self.history`).

        With `patience`, stop once the validation loss has not improved for so many epochs, and
        go back to the weights of the best one; without it the last weights stay. Losses and right
        answers gather on the device and are read once per epoch.

        Raises `DivergedError` when a loss is not finite: at the step itself on a CPU, at the
        epoch's end on a GPU (the text names the step all the same). The model then holds the
        weights of the best epoch (with `patience`), else of the last finished one, else the
        initial ones. Raises `ValueError` for epochs or patience below 1, patience without a
        validation loader, or a loader without batches.
        """
        _check_fit(train_loader, val_loader, epochs, patience)
        history = self.history = History()
        kept = self._weights()
        best = np.inf
        started = time.perf_counter()
        self._tell("on_fit_start")
        try:
            for epoch in range(1, epochs + 1):
                record = self._epoch(epoch, epochs, train_loader, val_loader)
                history.records.append(record)
                if isinstance(self.schedule, LRSchedule):
                    watched = record.val_loss if record.val_loss is not None else record.train_loss
                    self.schedule.observe(watched)
                # Without patience every epoch counts as better than the one before.
                score = -epoch if patience is None or record.val_loss is None else record.val_loss
                if score < best:
                    best, kept, history.kept_epoch = score, self._weights(), epoch
                self._tell("on_epoch_end", record)
                if patience is not None and epoch - history.kept_epoch >= patience:
                    history.stopped = "early"
                    break
        except StopTraining as stop:
            history.stopped = str(stop) or "stopped"
        except DivergedError:
            history.stopped = "diverged"
            raise
        finally:
            # Without a finished epoch an interrupted run keeps the little it has learned.
            if history.kept_epoch or history.stopped == "diverged":
                self._restore(kept)
            history.seconds = time.perf_counter() - started
            self._tell("on_fit_end", history)
        return history

    def _epoch(
        self, epoch: int, epochs: int, train_loader: Loader, val_loader: Loader | None
    ) -> EpochRecord:
        started = time.perf_counter()
        meter = Meter(len(train_loader))
        self.model.train()
        for index, (gather, item) in enumerate(_items(train_loader), start=1):
            self._step(gather, item, meter)
            if meter.on_cpu and not np.isfinite(meter.last_loss()):
                break
            self._tell("on_step_end", Step(epoch, epochs, index, len(train_loader), meter))
        trained = meter.read()
        seconds = time.perf_counter() - started
        bad = trained.first_bad_step()
        if bad is not None:
            value = trained.losses[bad]
            raise DivergedError(value, epoch, bad + 1, len(train_loader), self.history)
        val_loss = val_accuracy = None
        if val_loader is not None:
            val_loss, val_accuracy, _ = self._validation(val_loader)
            if not np.isfinite(val_loss):  # the last update broke what it had not yet shown
                steps = len(train_loader)
                raise DivergedError(val_loss, epoch, steps, steps, self.history)
        return EpochRecord(
            epoch, trained.loss, trained.accuracy, val_loss, val_accuracy,
            float(self.optimizer.lr), seconds, sum(meter.counts) / seconds,
        )  # fmt: skip

    def _step(self, gather: Gather, item: Item, meter: Meter) -> None:
        if self.schedule is not None:
            self.optimizer.lr = self.schedule(self.steps_taken)
        score = self._train(self.model, self.optimizer, self.loss, gather, *item)
        self.steps_taken += 1
        meter.add(score, item[-1].size)

    def _validation(self, loader: Loader) -> Reading:
        meter = Meter(len(loader))
        with self._evaluating():
            for gather, item in _items(loader):
                meter.add(self._validate(self.model, self.loss, gather, *item), item[-1].size)
        return meter.read()

    # --- using a model --------------------------------------------------------------------------

    def evaluate(self, loader: Loader) -> Evaluation:
        """Loss, accuracy and every answer on `loader`'s data, in evaluation mode."""
        _check_loader("evaluation", loader)
        meter, labels, probabilities = Meter(len(loader)), [], []
        with self._evaluating():
            for gather, item in _items(loader):
                score, y, answers = self._evaluate(self.model, self.loss, gather, *item)
                meter.add(score, y.size)
                labels.append(y.data.copy())  # the next call may write over them
                probabilities.append(answers.data.copy())
        loss, accuracy, _ = meter.read()
        return Evaluation(loss, accuracy, _to_host(labels), _to_host(probabilities))

    def predict(self, data: Loader | Tensor, batch_size: int = 256) -> np.ndarray:
        """Class probabilities (N, C) as a NumPy array, in evaluation mode.

        `data` is a loader (its labels are ignored) or a Tensor (N, ...) on the model's device,
        which is worked through `batch_size` examples at a time.
        """
        batch_size = checks.integer(self, "batch_size", batch_size)
        items: Iterable[tuple[Gather, Item]]
        if isinstance(data, Tensor):
            ends = range(batch_size, len(data) + batch_size, batch_size)
            items = ((None, (data[end - batch_size : end],)) for end in ends)
        else:
            items = _items(data)
        with self._evaluating():
            probabilities = [
                self._predict(self.model, gather, *item).data.copy() for gather, item in items
            ]
        if not probabilities:
            raise ValueError("[Trainer] nothing to predict: the data is empty")
        return _to_host(probabilities)

    # --- helpers --------------------------------------------------------------------------------

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        modes = [(module, module.training) for _, module in self.model.named_modules()]
        self.model.eval()
        try:
            with no_grad():
                yield
        finally:
            for module, training in modes:  # one by one: some may be frozen
                module.training = training

    def _weights(self) -> dict[str, Any]:
        """Copies of all parameters and saved buffers, on their own device."""
        return {name: tensor.data.copy() for name, tensor in self.model._saved()}

    def _restore(self, weights: dict[str, Any]) -> None:
        for name, tensor in self.model._saved():
            if name in weights:  # a layer may have made one at its first batch
                become(tensor, Tensor(weights[name]))

    def _tell(self, method: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(self, *arguments)


def _maybe_captured(jit: bool, function: Callable[P, R]) -> Callable[P, R]:
    return captured(function) if jit else function


def _items(loader: Loader) -> Iterator[tuple[Gather, Item]]:
    """Each batch as the functions in steps.py take it."""
    if isinstance(loader, GatheringLoader):
        return ((loader.batch, (rows,)) for rows in loader.rows())
    return ((None, tuple(batch)) for batch in loader)


def _to_host(arrays: list[Any]) -> np.ndarray:
    return backend.to_numpy(backend.array_module(arrays[0]).concatenate(arrays))


def _check_loader(role: str, loader: Loader) -> None:
    if len(loader) == 0:
        raise ValueError(
            f"[Trainer] the {role} loader has no batches (is the batch larger than the data?)"
        )


def _check_fit(
    train_loader: Loader, val_loader: Loader | None, epochs: int, patience: int | None
) -> None:
    if epochs < 1:
        raise ValueError(f"[Trainer] epochs must be at least 1, got {epochs}")
    if patience is not None and patience < 1:
        raise ValueError(f"[Trainer] patience must be at least 1, got {patience}")
    if patience is not None and val_loader is None:
        raise ValueError("[Trainer] patience needs a val_loader: there is nothing to watch")
    _check_loader("training", train_loader)
    if val_loader is not None:
        _check_loader("validation", val_loader)
