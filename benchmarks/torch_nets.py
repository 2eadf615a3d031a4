"""The three nets in PyTorch, for the comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def torch_net(name: str) -> Any:
    """The same net in PyTorch."""
    from torch import nn

    nets: dict[str, Callable[[], Any]] = {
        "small": lambda: [
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3),
            nn.Flatten(), nn.Linear(1568, 10),
        ],
        "medium": lambda: [
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(128, 10),
        ],
        "deep": lambda: [
            nn.Conv2d(1, 32, 5), nn.ReLU(), nn.Conv2d(32, 32, 5), nn.ReLU(), nn.BatchNorm2d(32),
            nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(),
            nn.BatchNorm2d(64), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(576, 10),
        ],
    }  # fmt: skip
    return nn.Sequential(*nets[name]())
