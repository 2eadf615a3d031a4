"""Every optimizer, with the settings that take another way through its update."""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_cupy import Tensor
from tinygrad_cupy.nn import optim

OPTIMIZERS: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
    "SGD": lambda params: optim.SGD(params, lr=0.1, weight_decay=0.3),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.2),
    "nesterov": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda params: optim.Adam(params, lr=0.1, weight_decay=0.01),
    "forgetful": lambda params: optim.Adam(params, lr=0.1, betas=(0.0, 0.0)),
    "AdamW": lambda params: optim.AdamW(params, lr=0.1, weight_decay=0.1),
}
