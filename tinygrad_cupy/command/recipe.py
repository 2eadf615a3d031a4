"""How a run trains, as its options say: optimizer, schedule, augmentation, precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import Tensor, get_precision, set_precision
from ..nn import Buffer, Module, Sequential, augment, optim, schedules
from .normalization import Normalization
from .settings import RunSettings

MOMENTUM = 0.9  # of SGD
FALLS = (0.5, 0.75)  # of all steps: where `step` divides the rate by ten
BAD_EPOCHS = 2  # in a row that `plateau` bears before it does


def build_optimizer(settings: RunSettings, model: Module) -> optim.Optimizer:
    """The optimizer that was asked for; SGD runs with momentum 0.9."""
    lr, decay = settings.lr, settings.weight_decay
    if settings.optimizer == "sgd":
        return optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=decay)
    kind = optim.Adam if settings.optimizer == "adam" else optim.AdamW
    return kind(model.parameters(), lr=lr, weight_decay=decay)


def build_schedule(settings: RunSettings, steps: int) -> schedules.LRSchedule | None:
    """The learning rates of a run whose epochs have so many steps; None of a constant one."""
    warmup = round(settings.warmup * steps)
    left = max(settings.epochs * steps - warmup, 1)
    schedule = _behind_warmup(settings.schedule, settings.lr, left)
    if warmup == 0:
        return None if settings.schedule == "constant" else schedule
    return schedules.Warmup(schedule, warmup)


def _behind_warmup(name: str, lr: float, steps: int) -> schedules.LRSchedule:
    match name:
        case "cosine":
            return schedules.Cosine(lr, steps)
        case "linear":
            return schedules.Polynomial(lr, steps)
        case "step":
            return schedules.MultiStep(lr, [round(share * steps) for share in FALLS])
        case "onecycle":
            return schedules.OneCycle(lr, steps)
        case "plateau":
            return schedules.Plateau(lr, patience=BAD_EPOCHS)
    return schedules.Constant(lr)


class Normalize(Module):
    """`Normalization` as a layer, behind those that change pictures from 0 to 1."""

    def __init__(self, normalization: Normalization) -> None:
        mean = np.array(normalization.mean, np.float32)[:, None, None]  # (C, 1, 1)
        std = np.array(normalization.std, np.float32)[:, None, None]
        self.mean, self.std = Buffer(mean, persistent=False), Buffer(std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def build_augment(
    names: tuple[str, ...], image_shape: tuple[int, ...], classes: int, normalization: Normalization
) -> Sequential | None:
    """The augmentations of these names for images (C, H, W) from 0 to 1, then the normalization.

    On the default device. None without any.
    """
    if not names:
        return None
    height, width = image_shape[-2:]
    made: dict[str, Any] = {
        "flip": lambda: augment.RandomHorizontalFlip(),
        "crop": lambda: augment.RandomCrop(
            (height, width), padding=(max(1, height // 8), max(1, width // 8))
        ),
        "affine": lambda: augment.RandomAffine(10.0, translate=0.1, scale=(0.9, 1.1)),
        "cutout": lambda: augment.Cutout((max(1, height // 4), max(1, width // 4))),
        "color": lambda: augment.ColorJitter(0.3, 0.3, 0.3, 0.05),
        "mixup": lambda: augment.MixUp(0.2, classes),
    }
    layers: list[Module] = [made[name]() for name in names]
    if normalization.changes:
        layers.append(Normalize(normalization))
    return Sequential(*layers)


def autocast_of(precision: str | None) -> str | None:
    """What `tg.autocast` is given: the types of 16 bits."""
    return precision if precision in ("bf16", "fp16") else None


@contextmanager
def products_in(precision: str | None) -> Iterator[None]:
    """Products of float32 as `--precision fp32` or `tf32` says; otherwise as they are."""
    if precision not in ("fp32", "tf32"):
        yield
        return
    before = get_precision()
    set_precision(precision)
    try:
        yield
    finally:
        set_precision(before)
