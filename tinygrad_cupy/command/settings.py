"""The options of a training run: checked before anything slow starts, resolved once it is known
what data and device there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .. import backend
from ..datasets import ArrayDataset, catalog
from ..datasets.picture_folder import FolderOptions
from ..datasets.picture_form import PictureForm
from ..nn import models
from .errors import CommandError, UsageError, check_choice, near
from .model_file import ModelFile, label_of

DATASETS = catalog.NAMES
DEVICES = ("auto", "cpu", "cuda")
OPTIMIZERS = ("adam", "adamw", "sgd")
BATCH_SIZE = 128
STEPS = 8  # of an epoch at least, unless a batch size is asked for: a folder may hold few pictures
EPOCHS = 5
EPOCHS_OF_DIGITS = 30  # they are few: an epoch of them is short
LEARNING_RATES = {"adam": 0.001, "adamw": 0.001, "sgd": 0.05}
DIGITS_LEARNING_RATES = {"adam": 0.002, "adamw": 0.002, "sgd": 0.05}
WEIGHT_DECAYS = {"adam": 0.0, "adamw": 0.01, "sgd": 0.0}
SCHEDULES = ("constant", "cosine", "linear", "step", "onecycle", "plateau")
ENDLESS = ("constant", "plateau")  # the schedules that do not depend on how many epochs there are
AUGMENTATIONS = ("flip", "crop", "affine", "cutout", "color", "mixup")
MINUTES = 5.0  # between checkpoints within an epoch
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
FOLDER_OPTIONS = ("image_size", "channels", "resize", "class_depth", "test_fraction")
RESIZE = "fit"
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class TrainSettings:
    """What `tinygrad-cupy train` was asked for; None means the default of dataset or optimizer.

    `resolve` makes of it what a run needs.

    Raises `UsageError` for a value that cannot be, naming the option.
    """

    dataset: str = "auto"
    data_dir: Path | None = None
    model: str = "medium"
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    optimizer: str = "adam"
    seed: int = 0
    device: str = "auto"
    val_fraction: float = 0.1
    patience: int | None = None
    jit: bool = True
    image_size: str | None = None
    channels: int | None = None
    resize: str | None = None
    class_depth: int | None = None
    test_fraction: float | None = None
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float | None = None
    clip_norm: float | None = None
    ema: float | None = None
    augment: str | None = None
    precision: str | None = None
    checkpoint_minutes: float = MINUTES

    def __post_init__(self) -> None:
        if ModelFile.parse(self.model) is None:
            check_choice("--model", self.model, models.CLASSIFIERS)
        check_choice("--optimizer", self.optimizer, OPTIMIZERS)
        check_choice("--schedule", self.schedule, SCHEDULES)
        if self.precision is not None:
            check_choice("--precision", self.precision, PRECISIONS)
        _ = self.augmentations
        if not self.device.startswith("cuda:"):
            check_choice("--device", self.device, DEVICES)
        if self.dataset not in DATASETS and not Path(self.dataset).is_dir():
            raise UsageError(
                f"--dataset: {self.dataset!r} is neither {', '.join(DATASETS)} nor a folder "
                f"that exists{near(self.dataset, DATASETS)}"
            )
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise UsageError(f"--data-dir: there is no folder {str(self.data_dir)!r}")
        if self.dataset in DATASETS:
            self._expect_no_folder_options()
        elif self.data_dir is not None:
            raise UsageError(
                "--data-dir: is for data sets by name; a folder of pictures is named by --dataset"
            )
        _ = self.folder_options
        for option, value in (
            ("--epochs", self.epochs),
            ("--batch-size", self.batch_size),
            ("--patience", self.patience),
        ):
            if value is not None and value < 1:
                raise UsageError(f"{option}: expected at least 1, got {value}")
        for option, rate in (("--lr", self.lr), ("--clip-norm", self.clip_norm)):
            if rate is not None and not 0 < rate < float("inf"):
                raise UsageError(f"{option}: expected a number above 0, got {rate:g}")
        if self.weight_decay is not None and not 0 <= self.weight_decay < float("inf"):
            raise UsageError(
                f"--weight-decay: expected a number of at least 0, got {self.weight_decay:g}"
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"--ema: expected a number between 0 and 1, got {self.ema:g}")
        self._check_warmup()
        if not 0 <= self.checkpoint_minutes < float("inf"):
            raise UsageError(
                "--checkpoint-minutes: expected a number of at least 0, got "
                f"{self.checkpoint_minutes:g}"
            )
        if not 0 < self.val_fraction < 1:
            raise UsageError(
                f"--val-fraction: expected a number between 0 and 1, got {self.val_fraction:g}"
            )
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"--seed: expected a number from 0 to 2**64 - 1, got {self.seed}")

    def _check_warmup(self) -> None:
        if not 0 <= self.warmup < float("inf"):
            raise UsageError(f"--warmup: expected a number of at least 0, got {self.warmup:g}")
        if self.warmup and self.schedule == "onecycle":
            raise UsageError("--warmup: is not for --schedule onecycle, which has its own")

    @property
    def augmentations(self) -> tuple[str, ...]:
        """What `--augment` names, each once, in the order of `AUGMENTATIONS`."""
        if self.augment is None:
            return ()
        words = [word.strip() for word in self.augment.split(",")]
        for word in words:
            check_choice("--augment", word, AUGMENTATIONS)
        return tuple(name for name in AUGMENTATIONS if name in words)

    def _expect_no_folder_options(self) -> None:
        for name in FOLDER_OPTIONS:
            if getattr(self, name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')}: is for folders of pictures; "
                    f"--dataset is {self.dataset}"
                )

    @property
    def folder_options(self) -> FolderOptions:
        """How a folder of pictures is to be read. Raises `UsageError`, naming the option."""
        size = None if self.image_size is None else parse_image_size(self.image_size)
        fraction = TEST_FRACTION if self.test_fraction is None else self.test_fraction
        try:
            form = PictureForm(size, self.channels, self.resize or RESIZE)
            return FolderOptions(form, self.class_depth, fraction)
        except ValueError as error:
            name, _, told = str(error).partition(": ")
            raise UsageError(f"--{name.replace('_', '-')}: {told}") from None

    @property
    def model_label(self) -> str:
        """The model's name, or the name of its file and function."""
        return label_of(self.model)

    @property
    def folder_name(self) -> str:
        """What a run folder is called after its time."""
        return self.model_label.replace(".py:", "-")

    def resolve_device(self) -> str:
        """The engine's name of the device, e.g. "cuda:0".

        Raises `CommandError` when CUDA is asked for and absent, saying what to do.
        """
        if self.device == "auto":
            return backend.default_device()
        try:
            return backend.normalize_device(self.device)
        except (RuntimeError, ValueError) as error:
            raise CommandError(f"--device {self.device}: {error}; or use --device cpu") from error

    def resolve(
        self, training: ArrayDataset, device: str, batch_size: int | None = None
    ) -> RunSettings:
        """The settings of a run on these training images, at one `batch_size` of a sweep.

        Raises `UsageError` when a batch is larger than the data.
        """
        option = "--batch-sizes" if batch_size else "--batch-size"
        batch_size = batch_size or self.batch_size or self._default_batch_size(len(training))
        if batch_size > len(training):
            raise UsageError(
                f"{option}: {batch_size} is more than the {len(training)} training images "
                f"of {training.name} (after --val-fraction {self.val_fraction:g})"
            )
        embedded = self.dataset in ("auto", "digits") and training.name == "digits"
        rates = DIGITS_LEARNING_RATES if embedded else LEARNING_RATES
        epochs = self.epochs or (EPOCHS_OF_DIGITS if embedded else EPOCHS)
        if self.warmup >= epochs:
            raise UsageError(f"--warmup: expected less than {epochs} epochs, got {self.warmup:g}")
        decay = self.weight_decay
        return RunSettings(
            dataset=self.dataset,
            model=self.model,
            epochs=epochs,
            batch_size=batch_size,
            lr=self.lr or rates[self.optimizer],
            optimizer=self.optimizer,
            seed=self.seed,
            device=device,
            val_fraction=self.val_fraction,
            patience=self.patience,
            jit=self.jit,
            data_dir=self.data_dir,
            schedule=self.schedule,
            warmup=self.warmup,
            weight_decay=WEIGHT_DECAYS[self.optimizer] if decay is None else decay,
            clip_norm=self.clip_norm,
            ema=self.ema,
            augment=self.augmentations,
            precision=self.precision,
            checkpoint_minutes=self.checkpoint_minutes,
            model_file=ModelFile.parse(self.model),
        )

    def _default_batch_size(self, images: int) -> int:
        if self.dataset in DATASETS:
            return BATCH_SIZE
        return min(BATCH_SIZE, max(1, images // STEPS))


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What one run needs of `TrainSettings`, with no default left open.

    `dataset` is as it was asked for, `device` the engine's name of it. `warmup` is in epochs.
    """

    dataset: str
    model: str
    epochs: int
    batch_size: int
    lr: float
    optimizer: str
    seed: int
    device: str
    val_fraction: float
    patience: int | None
    jit: bool
    data_dir: Path | None = None
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    ema: float | None = None
    augment: tuple[str, ...] = ()
    precision: str | None = None
    checkpoint_minutes: float = MINUTES
    model_file: ModelFile | None = None
    among_seeds: bool = False  # of a sweep that tries several

    @property
    def model_label(self) -> str:
        """The model's name, or the name of its file and function."""
        return label_of(self.model)


def check_resume(resume: Path | None, out: Path | None, overwrite: bool) -> None:
    """Raise `UsageError` for options that do not go together."""
    for option, there in (("--out", out is not None), ("--overwrite", overwrite)):
        if resume is not None and there:
            raise UsageError(f"{option}: a run goes on in its own folder, that of --resume")


def parse_image_size(text: str) -> tuple[int, int]:
    """(H, W) of "24x40" or "24×40", or of "32", which is both. Raises `UsageError`."""
    found = re.fullmatch(r"\s*(\d{1,5})(?:\s*[xX×*]\s*(\d{1,5}))?\s*", text, re.ASCII)
    if not found:
        raise UsageError(f"--image-size: expected HEIGHTxWIDTH, as in 24x40, got {text!r}")
    height, width = found[1], found[2] or found[1]
    return int(height), int(width)
