"""LAMB: Adam's direction, in each parameter as long as the parameter itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend import Array, array_module, int32s, on_device_of
from tinygrad_cupy.backend.dtypes import as_real_numbers
from tinygrad_cupy.nn import checks

from .cuda import DeviceMemory, Launch, step_source
from .elementwise import WithBetas
from .groups import Parameters
from .optimizer import Optimizer
from .state import State

NAMES = ("lr", "beta1", "beta2", "eps", "weight_decay")


class LambLaunch(Launch):
    """The three launches of lamb.cu."""

    def run(
        self, memory: DeviceMemory, defines: tuple[str, ...], table: Array, count: int, blocks: int
    ) -> None:
        xp = backend.import_cupy()
        blocks = max(blocks, 1)
        partials, ratios = xp.empty(2 * blocks, np.float64), xp.empty(count, np.float64)
        rows, kept = int32s(count), (memory.numbers, memory.counts)
        for name, grid, arguments in (
            ("lamb_squares", blocks, (*kept, partials)),
            ("lamb_ratios", count, (*int32s(blocks), partials, ratios)),
            ("lamb_step", blocks, (*kept, memory.ticket, ratios)),
        ):
            self.source.launch(name, grid, (table, *rows, *arguments), defines=defines)


LAUNCH = LambLaunch(
    step_source("lamb.cu", defines=(f"LAMB_NAMES={','.join(NAMES)}",)), "lamb_step", NAMES
)


class LAMB(WithBetas, Optimizer):
    """LAMB, for large batches (You et al., "Large batch optimization for deep learning", 2019,
    algorithm 2).

    m and v as Adam's of the gradient; d = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) +
    weight_decay * p; p -= lr * |p| / |d| * d, with the 2-norms of each parameter by itself. Where
    one of the norms is 0, p -= lr * d. On a GPU three launches step all parameters.

    >>> p = nn.Parameter([3.0, 4.0])
    >>> optimizer = nn.optim.LAMB([p], lr=0.1, weight_decay=0.0)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(3)  # a step of 0.1 times the length 5
    Tensor([2.646, 3.646])
    """

    hyperparameters = NAMES
    slots = ("exp_avg", "exp_avg_sq")
    kernel: Any = LAUNCH

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.maximize = maximize

    def check(self, name: str, value: Any) -> Any:
        if name in self.flags:
            return super().check(name, value)
        return checks.number(self, name, value, 0, 1 if name.startswith("beta") else np.inf)

    def coefficients(self, step: int) -> tuple[float, ...]:
        """What the bias of both moments is divided out by."""
        return 1 / (1 - self.beta1**step), 1 / (1 - self.beta2**step)

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        xp = array_module(param)
        p, g, m, v = (
            as_real_numbers(xp.ascontiguousarray(array))
            for array in (param, grad, state["exp_avg"], state["exp_avg_sq"])
        )
        with on_device_of(param):
            if p.dtype.itemsize == 2:  # computed in float32, and rounded when it is stored
                p, g, m, v = (array.astype(np.float32) for array in (p, g, m, v))
            m = self.beta1 * m + (1 - self.beta1) * g
            v = self.beta2 * v + (1 - self.beta2) * g * g
            first, second = coefficients
            d = first * m / (xp.sqrt(second * v) + self.eps) + self.weight_decay * p
            lengths = [xp.sqrt(xp.square(array, dtype=np.float64).sum()) for array in (p, d)]
            there = (lengths[0] > 0) & (lengths[1] > 0)
            ratio = xp.where(there, lengths[0], 1.0) / xp.where(there, lengths[1], 1.0)
            p = p - (self.lr * ratio).astype(p.dtype) * d
            for array, value in zip(
                (param, state["exp_avg"], state["exp_avg_sq"]), (p, m, v), strict=True
            ):
                value = value.astype(as_real_numbers(xp.empty(0, array.dtype)).dtype)
                array[...] = value.view(array.dtype).reshape(array.shape)
