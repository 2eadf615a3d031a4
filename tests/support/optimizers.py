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
    "uphill": (optim.AdamW, {"weight_decay": 0.1, "maximize": True}),
    "amsgrad": (optim.Adam, {"amsgrad": True, "weight_decay": 0.01}),
    "RMSprop": (optim.RMSprop, {"weight_decay": 0.01}),
    "centered": (optim.RMSprop, {"centered": True, "momentum": 0.9, "maximize": True}),
    "Adagrad": (optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.125}),
    "Adadelta": (optim.Adadelta, {"weight_decay": 0.01}),
    "Adamax": (optim.Adamax, {"weight_decay": 0.01}),
    "NAdam": (optim.NAdam, {"weight_decay": 0.01}),
    "RAdam": (optim.RAdam, {"weight_decay": 0.01, "decoupled_weight_decay": True}),
    "Lion": (optim.Lion, {"weight_decay": 0.1}),
    "LAMB": (optim.LAMB, {}),
}
OPTIMIZERS: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
    name: partial(kind, lr=0.1, **options) for name, (kind, options) in SETTINGS.items()
}
