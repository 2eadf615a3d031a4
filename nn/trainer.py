"""Training a model: the epoch loop, validation, early stopping, evaluation, prediction.

Letters: N examples, C classes.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from tinygrad_cupy.autograd.mode import no_grad
from tinygrad_cupy.backend.ranks import Share, ranks
from tinygrad_cupy.jit import jit as captured
from tinygrad_cupy.tensor import Tensor

from . import checks, resuming, steps, together
from .augment import pairs
from .batches import Item, Loader, check_loader, copied, has_place, items_of, to_host
from .checkpoint import Checkpoints
from .history import EpochRecord, History, Step, StopTraining
from .meter import Meter, Reading
from .module import Module
from .optim.averaging import AveragedModel, ExponentialMovingAverage
from .optim.optimizer import Optimizer
from .optim.scaler import GradScaler
from .progress import ProgressBar, shows_progress
from .resuming import Progress
from .running_metrics import Metric, metrics_of
from .schedules import LRSchedule
from .state import become
from .steps import Gather, Loss


class Watcher(Protocol):
    """What `Trainer` tells, and when: `Callback` is one that does nothing."""

    def on_fit_start(self, trainer: Trainer) -> None: ...

    def on_step_end(self, trainer: Trainer, step: Step) -> None: ...

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None: ...

    def on_fit_end(self, trainer: Trainer, history: History) -> None: ...


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

    `labels` is int64 (N,), `probabilities` float32 (N, C), both NumPy arrays. Where targets are no
    class numbers, accuracy is NaN, `labels` are the targets and `probabilities` the model's output,
    in the structure that each has. `metrics` are those of `Trainer(metrics=...)`, by name.

    >>> model = nn.Linear(2, 3)
    >>> trainer = nn.Trainer(model, nn.optim.SGD(model.parameters()))
    >>> found = trainer.evaluate(datasets.DataLoader(datasets.spiral(60), 20))
    >>> found.labels.shape, found.probabilities.shape
    ((60,), (60, 3))
    >>> 0 <= found.accuracy <= 1
    True
    """

    loss: float
    accuracy: float
    labels: Any
    probabilities: Any
    metrics: Mapping[str, float] = field(default_factory=dict)


class Trainer:
    """Trains `model` on batches (x, y) of a loader.

    x (N, ...) is the model's input; of several, in a tuple or dict, each is an argument of it.
    `loss(output, y)` defaults to the mean cross-entropy of logits (N, C) and class numbers y (N,);
    one for regression, such as `nn.MSELoss()`, takes what the data has. Accuracy is counted where y
    is integers (N, ...) of an output (N, C, ...), C at least 2, and NaN elsewhere. The loss's
    `ignore_index`, where it has one, and negative y count neither in it nor in the mean loss.
    `schedule(step)` is the learning rate of every step, counted from 0 over all epochs; without one
    the optimizer's own stays; a `Plateau` is told the validation loss after each epoch (the
    training loss without one). The model must be on the device of the loaders.

    augment: `augment(x, y)` gives the (x, y) that a training step takes in their place; layers of
        `nn.augment`, alone or in a Sequential, change x, its `MixUp` both. Evaluation has none.
    answer: what `evaluate` and `predict` make of the model's output; default: of classes their
        probabilities, otherwise the output itself. Which it is, `predict` knows of a Tensor by
        what was trained or evaluated before, and takes it for classes where nothing was.
    checkpoint: the folder, or an `nn.Checkpoints`, that `fit` writes checkpoints into and `resume`
        goes on from: after epochs, every few minutes and at the end (see docs/resuming.md)
    clip_norm: gradients are scaled down to a joint norm of at most this (`optim.clip_grad_norm`)
    autocast: "bf16" or "fp16", what the forward passes of training run in (`tg.autocast`); "fp16"
        with a `tg.GradScaler`, `self.scaler`. Evaluation runs in the parameters' own dtype.
    ema: from 0 to 1, as 0.999: `self.averaged` follows the weights (`ExponentialMovingAverage`).
        Validation is of these, and they are the ones that the model holds after `fit`.
    metrics: further figures by their names, of training and validation: classes of `nn.metrics`
        such as `R2Score()`, or functions (output, target) whose mean over the examples counts.
        `EpochRecord.metrics` has them as "train_NAME" and "val_NAME".
    progress: whether `fit` shows a line for each epoch and a bar; default: in a terminal and in a
        notebook. Where a callback shows them, none is added.

    On a GPU, training steps and evaluations are captured (`tinygrad_cupy.jit`): the model, the loss
    and `augment` must not read values on the host. `jit=False` runs every operation by itself, to
    the same figures.

    >>> train, test = datasets.spiral(120).split(0.2, seed=0)
    >>> model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))
    >>> trainer = nn.Trainer(model, nn.optim.Adam(model.parameters(), lr=0.05))
    >>> history = trainer.fit(datasets.DataLoader(train, 24, shuffle=True), epochs=8)
    >>> trainer.evaluate(datasets.DataLoader(test, 24)).accuracy > 0.5
    True
    >>> trainer.predict(Tensor([[0.1, 0.2]])).shape
    (1, 3)
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Loss | None = None,
        schedule: Callable[[int], float] | None = None,
        callbacks: Sequence[Watcher] = (),
        jit: bool = True,
        augment: Callable[..., Any] | None = None,
        answer: Callable[[Any], Any] | None = None,
        checkpoint: str | os.PathLike[str] | Checkpoints | None = None,
        clip_norm: float | None = None,
        autocast: str | None = None,
        ema: float | None = None,
        metrics: Mapping[str, Metric | Callable[[Any, Any], Any]] | None = None,
        progress: bool | None = None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.loss: Loss = loss or Tensor.cross_entropy
        self.schedule = schedule
        self.augment, self.answer = pairs(augment), answer
        self._classifies = True  # whether the targets seen last are class numbers
        self.callbacks = list(callbacks)
        if shows_progress(progress, self.callbacks):
            self.callbacks.append(ProgressBar())
        self.metrics = metrics_of(metrics)
        self.history = History()
        self.steps_taken = 0
        if checkpoint is not None and not isinstance(checkpoint, Checkpoints):
            checkpoint = Checkpoints(checkpoint)
        self.checkpoints = checkpoint
        self.options = self._options(clip_norm, autocast, ema)
        self._progress = Progress({})
        self.asked_to_stop = ""  # why, while other ranks do not know
        self.stop_now = False  # as all of them know
        self._clock = 0.0  # when `fit` began, of a run that goes on so much earlier
        self._train = _maybe_captured(jit, steps.train)
        self._validate = _maybe_captured(jit, steps.validate)
        self._evaluate = _maybe_captured(jit, steps.evaluate)
        self._predict = _maybe_captured(jit, steps.predict)

    def _options(
        self, clip_norm: float | None, autocast: str | None, ema: float | None
    ) -> steps.Options:
        if clip_norm is not None:
            clip_norm = checks.positive(self, "clip_norm", clip_norm)
        if autocast is not None:
            checks.choice(self, "autocast", autocast, ("bf16", "fp16"))
        averaged = None
        if ema is not None:
            decay = checks.positive(self, "ema", checks.number(self, "ema", ema, 0, 1))
            averaged = ExponentialMovingAverage(self.model, decay)
        scaler = GradScaler() if autocast == "fp16" else None
        return steps.Options(clip_norm, autocast, scaler, averaged)

    @property
    def scaler(self) -> GradScaler | None:
        """What scales the loss with `autocast="fp16"`."""
        return self.options.scaler

    @property
    def averaged(self) -> AveragedModel | None:
        """The average of the weights with `ema`."""
        return self.options.averaged

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
        validation loader, a loader without batches, or a folder that holds checkpoints of another
        run; `FolderBusyError` where another process writes into it.
        """
        _check_fit(train_loader, val_loader, epochs, patience)
        if self.checkpoints is not None and together.is_first() and not self.checkpoints.own():
            raise ValueError(
                f"[Trainer] {str(self.checkpoints.folder)!r} holds the checkpoints of another run: "
                "go on from them with resume(...), or choose another folder"
            )
        self._progress = Progress(self._copied_weights(self.model))
        return self._fit(train_loader, val_loader, epochs, patience)

    def resume(
        self,
        train_loader: Loader,
        val_loader: Loader | None = None,
        epochs: int = 5,
        patience: int | None = None,
    ) -> History:
        """`fit`, going on from the last checkpoint, to the bits that it would have come to.

        Model, optimizer, schedule and loaders are made as for the run that wrote it. `epochs` are
        all, with those that were done; there may be more of them than then. The history returned
        has those before, too. Where there is no checkpoint it says so and trains from the
        beginning, so a program may always call this one.

        Raises `ValueError` as `fit`, and without `checkpoint=`; `CheckpointError` where no
        checkpoint is whole, or the last one is of something else: it names the file.

        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> def trainer():
        ...     model = nn.Linear(2, 3)
        ...     adam = nn.optim.Adam(model.parameters())
        ...     return nn.Trainer(model, adam, checkpoint=f"{folder.name}/a")
        >>> loader = datasets.DataLoader(datasets.spiral(60), 20)
        >>> len(trainer().fit(loader, epochs=2))
        2
        >>> len(trainer().resume(loader, epochs=3))  # in another process, say
        3
        >>> folder.cleanup()
        """
        _check_fit(train_loader, val_loader, epochs, patience)
        if self.checkpoints is None:
            raise ValueError("[Trainer] resume needs checkpoint=, the folder to go on from")
        saved = together.loaded(self.checkpoints)
        if saved is None:
            together.tell(
                self.checkpoints,
                f"[Trainer] there is no checkpoint in {str(self.checkpoints.folder)!r}: training "
                "begins anew",
            )
            return self.fit(train_loader, val_loader, epochs, patience)
        self._progress = resuming.restore(self, saved, train_loader, val_loader)
        return self._fit(train_loader, val_loader, epochs, patience)

    def _fit(
        self, train_loader: Loader, val_loader: Loader | None, epochs: int, patience: int | None
    ) -> History:
        """From `self._progress` on."""
        if self.checkpoints is None or not together.is_first():
            return self._held_fit(train_loader, val_loader, epochs, patience)
        weights = sum(tensor.data.nbytes for _, tensor in self.model._saved())
        self.checkpoints.expect(3 * weights)  # with Adam's two moments
        with self.checkpoints.held():
            return self._held_fit(train_loader, val_loader, epochs, patience)

    def _held_fit(
        self, train_loader: Loader, val_loader: Loader | None, epochs: int, patience: int | None
    ) -> History:
        now = self._progress
        history = self.history = now.history
        loaders = train_loader, val_loader
        self._clock = time.perf_counter() - now.seconds
        together.begin(self)
        self._tell("on_fit_start")
        try:
            while now.epoch < epochs and not now.exhausted(patience):
                record = self._epoch(now.epoch + 1, epochs, *loaders)
                self._finish_epoch(record, patience)
                together.heeding(self, functools.partial(self._tell, "on_epoch_end", record))
                together.stop_if_asked(self)
                ended = now.epoch == epochs or now.exhausted(patience)
                self._save(*loaders, forced=ended)
            if now.exhausted(patience):
                history.stopped = "early"
        except StopTraining as stop:
            history.stopped = str(stop) or "stopped"
            if now.whole and (now.meter is None or has_place(train_loader)):
                self._save(*loaders, forced=True)
        except DivergedError:
            history.stopped = "diverged"
            raise
        except KeyboardInterrupt:
            history.stopped = "interrupted"
            raise
        except BaseException as error:
            history.stopped = f"failed: {type(error).__name__}"
            raise
        finally:
            # Without a finished epoch an interrupted run keeps the little it has learned.
            if history.kept_epoch or history.stopped == "diverged":
                self._restore(now.kept)
            history.seconds = time.perf_counter() - self._clock
            self._tell("on_fit_end", history)
        return history

    def _finish_epoch(self, record: EpochRecord, patience: int | None) -> None:
        now = self._progress
        better = now.improves(record, patience)
        now.history.records.append(record)
        if isinstance(self.schedule, LRSchedule):
            watched = record.val_loss if record.val_loss is not None else record.train_loss
            self.schedule.observe(watched)
        if better:
            now.kept, now.history.kept_epoch = self._weights(), record.epoch
            now.kept_is_now = True
        now.epoch, now.meter, now.epoch_seconds = record.epoch, None, 0.0
        now.whole = True

    def _save(self, train: Loader, val: Loader | None, forced: bool = False) -> None:
        """Write a checkpoint where one is due, or else if it is `forced`."""
        now, checkpoints = self._progress, self.checkpoints
        if checkpoints is None or not together.is_first():
            return
        if not (forced or checkpoints.due(now.meter is not None)):
            return
        # Waits for a GPU: what it still has to do is no cost of the checkpoint.
        meter = (now.meter or Meter(0)).state_dict()
        now.seconds = time.perf_counter() - self._clock
        checkpoints.begin(lambda: resuming.collect(self, now, train, val, meter))

    def _epoch(
        self, epoch: int, epochs: int, train_loader: Loader, val_loader: Loader | None
    ) -> EpochRecord:
        now = self._progress
        started = time.perf_counter() - now.epoch_seconds
        meter = now.meter = now.meter or Meter(len(train_loader))
        saves = self.checkpoints is not None and has_place(train_loader)
        self.model.train()
        begun = len(meter.counts)  # of an epoch that goes on, maybe all of it
        items = items_of(train_loader) if begun < len(train_loader) else ()
        for index, (gather, item, count) in enumerate(items, start=begun + 1):
            now.whole = now.kept_is_now = False
            self._step(gather, item, count, meter)
            if meter.on_cpu and meter.diverged():
                break
            now.epoch_seconds, now.whole = time.perf_counter() - started, True
            step = Step(epoch, epochs, index, len(train_loader), meter)
            together.heeding(self, functools.partial(self._tell, "on_step_end", step))
            if saves and index < len(train_loader):
                self._save(train_loader, val_loader)
        together.share_buffers(self)
        trained = self._read(meter)
        seconds = now.epoch_seconds = time.perf_counter() - started
        now.whole = False
        bad = trained.first_bad_step()
        if bad is not None:
            value = trained.losses[bad]
            raise DivergedError(value, epoch, bad + 1, len(train_loader), self.history)
        val_loss = val_accuracy = None
        figures = self._figures(trained, "train_")
        if val_loader is not None:
            checked = self._validation(val_loader)
            figures |= self._figures(checked, "val_")
            val_loss, val_accuracy = checked.loss, checked.accuracy
            if checked.first_bad_step() is not None:  # the last update broke what none had shown
                steps = len(train_loader)
                raise DivergedError(val_loss, epoch, steps, steps, self.history)
        return EpochRecord(
            epoch, trained.loss, trained.accuracy, val_loss, val_accuracy,
            float(self.optimizer.lr), seconds, sum(meter.counts) / seconds, figures,
        )  # fmt: skip

    def _step(self, gather: Gather, item: Item, count: int, meter: Meter) -> None:
        if self.schedule is not None:
            self.optimizer.lr = self.schedule(self.steps_taken)
        parts = self.model, self.optimizer, self.loss, self.augment, self.options, self.metrics
        asked = None if ranks.world is None else together.ask(self)
        score, *sums = self._train(*parts, gather, *item)
        self.steps_taken += 1
        meter.add(score, count, *sums)
        if asked is not None:
            self.stop_now = bool(asked.item())

    def _validation(self, loader: Loader) -> Reading:
        meter = Meter(len(loader))
        model = self._judged()
        with self._evaluating(model):
            for gather, item, count in items_of(loader):
                score, *sums = self._validate(model, self.loss, self.metrics, gather, *item)
                meter.add(score, count, *sums)
        meter.add_over_ranks()
        return self._read(meter)

    def _read(self, meter: Meter) -> Reading:
        reading = meter.read()
        self._classifies = not np.isnan(reading.counted).any()
        return reading

    def _figures(self, reading: Reading, prefix: str = "") -> dict[str, float]:
        return self.metrics.results(reading.sums, prefix)

    # --- using a model --------------------------------------------------------------------------

    def evaluate(self, loader: Loader) -> Evaluation:
        """Loss, accuracy and every answer on `loader`'s data, in evaluation mode."""
        check_loader("evaluation", loader)
        meter, labels, answers = Meter(len(loader)), [], []
        shares: list[Share | None] = []
        with self._evaluating():
            for gather, item, count in items_of(loader):
                parts = self.model, self.loss, self.answer, self.metrics
                (score, *sums), y, found = self._evaluate(*parts, gather, *item)
                meter.add(score, count, *sums)
                labels.append(copied(y))  # the next call may write over them
                answers.append(copied(found))
                shares.append(ranks.split)
        meter.add_over_ranks()
        read = self._read(meter)
        every, found = (together.gathered(to_host(one), shares) for one in (labels, answers))
        return Evaluation(read.loss, read.accuracy, every, found, self._figures(read))

    def predict(self, data: Loader | Tensor, batch_size: int = 256) -> Any:
        """The answers, of classes their probabilities (N, C), as a NumPy array; in evaluation mode.

        `data` is a loader (its targets are ignored, and need not be there) or a Tensor (N, ...) on
        the model's device, which is worked through `batch_size` examples at a time.
        """
        batch_size = checks.integer(self, "batch_size", batch_size)
        items: Iterable[tuple[Gather, Item, int]]
        if isinstance(data, Tensor):
            ends = range(batch_size, len(data) + batch_size, batch_size)
            items = ((None, (data[end - batch_size : end],), 0) for end in ends)
        else:
            items = items_of(data)
        answer = self.answer or (steps.softmax if self._classifies else _unchanged)
        answers: list[Any] = []
        shares: list[Share | None] = []
        with self._evaluating():
            for gather, item, _ in items:
                answers.append(copied(self._predict(self.model, answer, gather, *item)))
                shares.append(ranks.split)
        if not answers:
            raise ValueError("[Trainer] nothing to predict: the data is empty")
        return together.gathered(to_host(answers), shares)

    # --- helpers --------------------------------------------------------------------------------

    @contextmanager
    def _evaluating(self, model: Module | None = None) -> Iterator[None]:
        roots = [one for one in (model or self.model, self.loss) if isinstance(one, Module)]
        modes = [(module, module.training) for root in roots for _, module in root.named_modules()]
        for root in roots:
            root.eval()
        try:
            with no_grad():
                yield
        finally:
            for module, training in modes:  # one by one: some may be frozen
                module.training = training

    def _judged(self) -> Module:
        """What validation is of: the average of the weights where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def _weights(self) -> dict[str, Any]:
        """Those that the model would keep now."""
        return self._copied_weights(self._judged())

    def _copied_weights(self, model: Module) -> dict[str, Any]:
        """Copies of all parameters and saved buffers, on their own device."""
        return {name: tensor.data.copy() for name, tensor in model._saved()}

    def _restore(self, weights: dict[str, Any]) -> None:
        for name, tensor in self.model._saved():
            if name in weights:  # a layer may have made one at its first batch
                become(tensor, Tensor(weights[name]))

    def _tell(self, method: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            if getattr(callback, "only_first", False) and not together.is_first():
                continue
            getattr(callback, method)(self, *arguments)


def _maybe_captured(jit: bool, function: Callable[P, R]) -> Callable[P, R]:
    return captured(function) if jit else function


def _unchanged(output: Any) -> Any:
    return output


def _check_fit(
    train_loader: Loader, val_loader: Loader | None, epochs: int, patience: int | None
) -> None:
    if epochs < 1:
        raise ValueError(f"[Trainer] epochs must be at least 1, got {epochs}")
    if patience is not None and patience < 1:
        raise ValueError(f"[Trainer] patience must be at least 1, got {patience}")
    if patience is not None and val_loader is None:
        raise ValueError("[Trainer] patience needs a val_loader: there is nothing to watch")
    check_loader("training", train_loader)
    if val_loader is not None:
        check_loader("validation", val_loader)
