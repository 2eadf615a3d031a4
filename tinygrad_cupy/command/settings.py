"""The options of a training run: checked once, before anything slow starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import backend
from ..datasets import ArrayDataset
from ..nn import Module, models, optim
from .errors import CommandError, UsageError, check_choice, near

DATASETS = ("auto", "mnist", "digits")
DEVICES = ("auto", "cpu", "cuda")
OPTIMIZERS = ("adam", "adamw", "sgd")
EPOCHS = 5
EPOCHS_OF_DIGITS = 30  # they are few: an epoch of them is short
LEARNING_RATES = {"adam": 0.001, "adamw": 0.001, "sgd": 0.05}
DIGITS_LEARNING_RATES = {"adam": 0.002, "adamw": 0.002, "sgd": 0.05}
MOMENTUM = 0.9


@dataclass(frozen=True)
class TrainSettings:
    """What `tinygrad-cupy train` was asked for; None means the default of dataset or optimizer.

    Raises `UsageError` for a value that cannot be, naming the option.
    """

    dataset: str = "auto"
    data_dir: Path | None = None
    model: str = "medium"
    epochs: int | None = None
    batch_size: int = 128
    lr: float | None = None
    optimizer: str = "adam"
    seed: int = 0
    device: str = "auto"
    val_fraction: float = 0.1
    patience: int | None = None
    jit: bool = True

    def __post_init__(self) -> None:
        check_choice("--model", self.model, models.NAMES)
        check_choice("--optimizer", self.optimizer, OPTIMIZERS)
        if not self.device.startswith("cuda:"):
            check_choice("--device", self.device, DEVICES)
        if self.dataset not in DATASETS and not Path(self.dataset).is_dir():
            raise UsageError(
                f"--dataset: {self.dataset!r} is neither {', '.join(DATASETS)} nor a folder "
                f"that exists{near(self.dataset, DATASETS)}"
            )
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise UsageError(f"--data-dir: there is no folder {str(self.data_dir)!r}")
        for option, value in (
            ("--epochs", self.epochs),
            ("--batch-size", self.batch_size),
            ("--patience", self.patience),
        ):
            if value is not None and value < 1:
                raise UsageError(f"{option}: expected at least 1, got {value}")
        if self.lr is not None and not 0 < self.lr < float("inf"):
            raise UsageError(f"--lr: expected a number above 0, got {self.lr:g}")
        if not 0 < self.val_fraction < 1:
            raise UsageError(
                f"--val-fraction: expected a number between 0 and 1, got {self.val_fraction:g}"
            )
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"--seed: expected a number from 0 to 2**64 - 1, got {self.seed}")

    def embedded_digits(self, training: ArrayDataset) -> bool:
        """Whether the data are the embedded digits, which have defaults of their own."""
        return self.dataset in ("auto", "digits") and training.name == "digits"

    def epochs_for(self, training: ArrayDataset) -> int:
        """`epochs`, or the default for this data."""
        return self.epochs or (EPOCHS_OF_DIGITS if self.embedded_digits(training) else EPOCHS)

    def make_optimizer(self, model: Module, training: ArrayDataset) -> optim.Optimizer:
        """The optimizer that was asked for; SGD runs with momentum 0.9."""
        rates = DIGITS_LEARNING_RATES if self.embedded_digits(training) else LEARNING_RATES
        lr = self.lr or rates[self.optimizer]
        if self.optimizer == "sgd":
            return optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM)
        kind = optim.Adam if self.optimizer == "adam" else optim.AdamW
        return kind(model.parameters(), lr=lr)

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

    def check_batch(self, training: ArrayDataset, option: str = "--batch-size") -> None:
        """Raise `UsageError` when a batch is larger than the data."""
        if self.batch_size > len(training):
            raise UsageError(
                f"{option}: {self.batch_size} is more than the {len(training)} training images "
                f"of {training.name} (after --val-fraction {self.val_fraction:g})"
            )
