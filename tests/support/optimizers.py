"""Every optimizer, with the settings that take another way through its update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tinygrad_cupy import Tensor
from tinygrad_cupy.nn import optim

SETTINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGD": (optim.SGD, {"weight_decay": 0.3}),
    "momentum": (optim.SGD, {"momentum": 0.9, "dampening": 0.2}),
    "nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adam": (optim.Adam, {"weight_decay": 0.01}),
    "forgetful": (optim.Adam, {"betas": (0.0, 0.0)}),
    "AdamW": (optim.AdamW, {"weight_decay": 0.1}),
}
OPTIMIZERS: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
    name: partial(kind, lr=0.1, **options) for name, (kind, options) in SETTINGS.items()
}
