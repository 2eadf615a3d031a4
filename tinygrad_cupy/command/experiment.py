"""One training run from settings to results; nothing is printed or written here."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cupy as tg

from .. import backend
from ..datasets import ArrayDataset, DataLoader, DownloadError, catalog
from ..datasets.parallel import Progress
from ..datasets.picture_folder import FolderOptions
from ..datasets.picture_list import Skipped
from ..nn import (
    Callback,
    Checkpoints,
    Evaluation,
    History,
    Module,
    SyncBatchNorm,
    Trainer,
    models,
    together,
)
from ..nn import metrics as scores
from ..nn.batches import Loader
from ..nn.trainer import DivergedError
from . import recipe
from .errors import CommandError
from .limits import check_images
from .normalization import Normalization, NormalizedLoader
from .picture_input import FRAMED, SCALED, Framing
from .settings import RunSettings, TrainSettings

EVALUATION_BATCH = 256  # whatever the training batch is: evaluation does not depend on it
EVALUATION_PIXELS = 1 << 20  # of a batch: fewer pictures where these are large


@dataclass(frozen=True)
class Data:
    """What a run learns from, what it is steered by, what it is judged by, and why this data.

    `warning` says what went wrong where an error led to other data than was hoped for. `folder` is
    how the files of a folder were read, None for a data set that is no folder; `skipped` is what
    was found there and left out.
    """

    train: ArrayDataset
    val: ArrayDataset
    test: ArrayDataset
    reason: str
    warning: str | None = None
    folder: FolderOptions | None = None
    skipped: tuple[Skipped, ...] = ()

    @property
    def name(self) -> str:
        """The data set's name, e.g. "MNIST"."""
        return self.train.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return self.train.classes

    @cached_property
    def normalization(self) -> Normalization:
        """What is done to the values of all its pictures, measured on those to train on."""
        return Normalization.of(self.train.images)

    @cached_property
    def framing(self) -> Framing | None:
        """How the digit sets are drawn; None where pictures are read as they are."""
        if self.folder is not None or self.train.images.shape[1] != 1:
            return None
        return Framing.of(self.train.images)

    @property
    def counts(self) -> dict[str, int]:
        """How many images each part has."""
        return {"train": len(self.train), "val": len(self.val), "test": len(self.test)}


@dataclass
class Run:
    """A run that ended, with the weights it kept in `model`; `problem` is what cut it short."""

    settings: RunSettings
    data: Data
    model: Module
    history: History
    test: Evaluation
    val_accuracy: float
    problem: Exception | None

    @property
    def complete(self) -> bool:
        """Whether the run ended by itself, after all epochs or early."""
        return self.history.stopped in ("finished", "early")

    @property
    def confusion(self) -> np.ndarray:
        """Test images (classes, classes): by their label, and by what was read in them."""
        guesses = self.test.probabilities.argmax(axis=1)
        return scores.confusion_matrix(self.test.labels, guesses, len(self.data.classes))

    @property
    def seconds_per_epoch(self) -> float | None:
        """The median training time of an epoch: a first one that compiles kernels counts little."""
        seconds = [record.seconds for record in self.history]
        return float(np.median(seconds)) if seconds else None

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds; a figure that does not exist is None.

        `seconds_per_epoch` and `images_per_second` are of training alone (median over the epochs),
        `train_seconds` is the wall time of all epochs with their validation.
        """
        settings, history = self.settings, self.history
        rates = [record.images_per_second for record in history]
        figures = described(settings, self.data) | {
            "device": settings.device,
            "seed": settings.seed,
            "epochs": len(history),
            "kept_epoch": history.kept_epoch,
            "stopped": history.stopped,
            "batch_size": settings.batch_size,
            "optimizer": settings.optimizer,
            "lr": settings.lr,
            "schedule": settings.schedule,
            "warmup": settings.warmup,
            "weight_decay": settings.weight_decay,
            "clip_norm": settings.clip_norm,
            "ema": settings.ema,
            "augment": list(settings.augment),
            "precision": settings.precision,
            "val_fraction": settings.val_fraction,
            "patience": settings.patience,
            "parameters": count_parameters(self.model),
            "images": self.data.counts,
            "test_accuracy": self.test.accuracy,
            "test_loss": self.test.loss,
            "val_accuracy": self.val_accuracy,
            "train_seconds": history.seconds,
            "seconds_per_epoch": self.seconds_per_epoch,
            "images_per_second": float(np.median(rates)) if rates else None,
            "per_class": per_class(self.confusion, self.data.classes),
            "skipped": [list(one) for one in self.data.skipped],
            "versions": versions(),
        }
        return {name: _finite(figure) for name, figure in figures.items()}


def described(settings: RunSettings, data: Data) -> dict[str, Any]:
    """What must be known of a run's model to use it, known before it is trained."""
    own, framing, folder = settings.model_file, data.framing, data.folder
    return {
        "dataset": data.name,
        "dataset_reason": data.reason,
        "model": settings.model_label,
        "model_source": own.as_dict() if own else None,
        "classes": list(data.classes),
        "image_shape": list(data.train.images.shape[1:]),
        "pictures": FRAMED if framing else SCALED,
        "framing": framing.as_dict() if framing else None,
        "resize": folder.form.resize if folder else None,
        "mean": list(data.normalization.mean),
        "std": list(data.normalization.std),
    }


def per_class(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each class, by its name, from a confusion matrix."""
    columns = {
        "precision": scores.precision(matrix),
        "recall": scores.recall(matrix),
        "f1": scores.f1(matrix),
    }
    return {
        name: {column: float(values[index]) for column, values in columns.items()}
        for index, name in enumerate(classes)
    }


def load_data(settings: TrainSettings, progress: Progress | None = None) -> Data:
    """Training, validation and test images; the validation part comes out of the training set."""
    try:
        found = catalog.find(settings.dataset, settings.data_dir, settings.folder_options, progress)
    except DownloadError as error:
        if Path(settings.dataset).is_dir():
            told = f"{error} (--dataset ./{settings.dataset} is the folder of that name)"
            raise CommandError(told) from error
        raise
    classes = found.train.classes
    if len(classes) < 2:
        raise CommandError(
            f"--dataset: {found.train.name} has one class only, nothing to tell apart"
        )
    check_images(found.train.images.shape[1:], len(classes))
    train, val = found.train.split(settings.val_fraction, settings.seed)
    folder = replace(settings.folder_options, form=found.form) if found.form else None
    return Data(train, val, found.test, found.reason, found.warning, folder, found.skipped)


def build_model(settings: RunSettings, data: Data) -> Module:
    """The net for this data on the default device; the seed gives its initial weights."""
    tg.manual_seed(settings.seed)
    classes, (_, channels, height, width) = len(data.classes), data.train.images.shape
    if own := settings.model_file:
        return own.build(classes, channels, (height, width))
    return models.build(settings.model, classes, channels, (height, width))


def untrained_state(settings: RunSettings, data: Data) -> dict[str, np.ndarray]:
    """The weights before training, from the CPU: as large as those after it.

    Raises `CommandError` for a model of the user's that does not fit the data.
    """
    before = backend.default_device()
    backend.set_default_device("cpu")
    try:
        model = build_model(settings, data)
        if own := settings.model_file:
            channels, height, width = data.train.images.shape[1:]
            own.check(model, len(data.classes), (channels, height, width))
        return model.state_dict()
    finally:
        backend.set_default_device(before)


def execute(
    settings: RunSettings,
    data: Data,
    callbacks: Sequence[Callback] = (),
    trained: Callable[[Module, History], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Run:
    """Train and test one model; `trained` is called in between, also on a second Ctrl-C.

    It goes on from the last of the `checkpoints`, if there is one.
    A loss that is not finite and a callback that stops the run are results, not errors: the run
    holds the last good weights. Running out of memory raises `CommandError`, naming the batch size.
    """
    before = backend.default_device()
    backend.set_default_device(settings.device)
    try:
        # The trainer looks for losses that are not finite itself; NumPy need not warn of them, here
        # or in the engine's threads.
        quiet = np.errstate(all="ignore"), warnings.catch_warnings()
        with quiet[0], quiet[1], recipe.products_in(settings.precision):
            warnings.simplefilter("ignore", RuntimeWarning)
            if checkpoints is None:
                return _execute(settings, data, callbacks, trained, checkpoints)
            with together.held(checkpoints):  # the last one is written while the model is tested
                return _execute(settings, data, callbacks, trained, checkpoints)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        raise CommandError(
            f"out of memory on {settings.device} with --batch-size {settings.batch_size} and "
            f"--model {settings.model_label}: choose a smaller batch"
        ) from error
    finally:
        backend.set_default_device(before)


def _execute(
    settings: RunSettings,
    data: Data,
    callbacks: Sequence[Callback],
    trained: Callable[[Module, History], None] | None,
    checkpoints: Checkpoints | None,
) -> Run:
    model, device = build_model(settings, data), settings.device
    if together.several():
        model = SyncBatchNorm.convert(model)
    loader = DataLoader(data.train, settings.batch_size, shuffle=True, device=device)
    augment = recipe.build_augment(
        settings.augment, data.train.images.shape[1:], len(data.classes), data.normalization
    )
    # Augmentations take values from 0 to 1, and normalize behind themselves.
    train_loader = _normalized(loader, data.normalization) if augment is None else loader
    trainer = Trainer(
        model,
        recipe.build_optimizer(settings, model),
        schedule=recipe.build_schedule(settings, len(loader)),
        callbacks=callbacks,
        jit=settings.jit,
        augment=augment,
        checkpoint=checkpoints,
        clip_norm=settings.clip_norm,
        autocast=recipe.autocast_of(settings.precision),
        ema=settings.ema,
        progress=False,
    )
    val_loader = evaluation_loader(data.val, data.normalization, device)
    problem: Exception | None = None
    begun = checkpoints is not None and bool(checkpoints.numbers())
    train = trainer.resume if together.of_first("whether a run goes on", begun) else trainer.fit
    try:
        train(train_loader, val_loader, settings.epochs, settings.patience)
    except DivergedError as error:
        problem = error
    except KeyboardInterrupt:
        if trained is not None and trainer.history.kept_epoch:
            trained(model, trainer.history)
        raise
    history = trainer.history
    if trained is not None:
        trained(model, history)
    if history.kept_epoch:
        val_accuracy = history[history.kept_epoch - 1].val_accuracy or 0.0
    else:
        val_accuracy = trainer.evaluate(val_loader).accuracy
    test = trainer.evaluate(evaluation_loader(data.test, data.normalization, device))
    return Run(settings, data, model, history, test, val_accuracy, problem)


def evaluation_loader(part: ArrayDataset, normalization: Normalization, device: str) -> Loader:
    """Batches of a part of the data, in order, as a model is tested on them."""
    pixels = part.images.shape[2] * part.images.shape[3]
    size = min(EVALUATION_BATCH, len(part), max(1, EVALUATION_PIXELS // pixels))
    return _normalized(DataLoader(part, size, device=device), normalization)


def _normalized(loader: DataLoader, normalization: Normalization) -> Loader:
    return NormalizedLoader(loader, normalization) if normalization.changes else loader


def count_parameters(model: Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.size for parameter in model.parameters())


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that a result depends on, where installed."""
    installed = {"python": platform.python_version()}
    for name in ("tinygrad-cupy", "numpy", "scipy", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            installed[name.replace("tinygrad-", "tinygrad_")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _is_out_of_memory(error: Exception) -> bool:
    """NumPy and CuPy raise MemoryError; the CUDA runtime and cuBLAS say it in their texts."""
    text = str(error).lower().replace("_", " ").replace("memoryallocation", "out of memory")
    return isinstance(error, MemoryError) or "out of memory" in text or "alloc failed" in text


def _finite(value: Any) -> Any:
    """The same figure, or None where it is one that JSON cannot write."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
