"""What of a batch is input and what target, and how a model takes several inputs."""

from __future__ import annotations

from typing import Any


def parted(batch: Any, has_targets: bool | None) -> tuple[Any, Any]:
    """(x, y) of a batch, y None where it has no targets.

    `has_targets` is what the loader says; where it says nothing, None, a pair is (x, y).
    """
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if has_targets is False or not pair:
        return batch, None
    x, y = batch
    return x, y


def targets_of(loader: Any) -> bool | None:
    """Whether a loader's batches have targets, None where it does not say."""
    found: bool | None = getattr(loader, "has_targets", None)
    return found


def forward(model: Any, x: Any) -> Any:
    """The model's output: several inputs are its arguments, those of a dict by name."""
    if isinstance(x, dict):
        return model(**x)
    return model(*x) if isinstance(x, tuple | list) else model(x)
