"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from tinygrad_cupy.nn import checks

from .groups import Parameters
from .optimizer import Optimizer
from .state import State
from .update import momentum_update, sgd_update


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al., 2013, as PyTorch writes it).

    g = grad + weight_decay * p; b = momentum * b + (1 - dampening) * g, b = g at the first step
    with momentum; p -= lr * b, or with `nesterov` p -= lr * (g + momentum * b). Without momentum
    p -= lr * g, and b stays what it is. ValueError for `nesterov` without momentum, or with
    dampening.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.SGD([p], lr=0.1, momentum=0.9)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach()  # 1 - 0.1 * 2
    Tensor([0.8])
    """

    hyperparameters: tuple[str, ...] = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    momentum, dampening, nesterov = 0.0, 0.0, False
    buffered = ("momentum_buffer",)
    torch_counts = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.maximize = maximize
        if nesterov and momentum == 0:
            self._refuse_nesterov(dampening)

    def check(self, name: str, value: Any) -> Any:
        if name in self.flags:
            return super().check(name, value)
        if name == "nesterov":
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"[{checks.name_of(self)}] nesterov must be a bool, got {value!r}")
            if value and self.dampening:
                self._refuse_nesterov(self.dampening)
            return bool(value)
        number = checks.number(self, name, value, least=0)
        if name == "dampening" and number and self.nesterov:
            self._refuse_nesterov(number)
        return number

    def _refuse_nesterov(self, dampening: float) -> NoReturn:
        raise ValueError(
            f"[{checks.name_of(self)}] nesterov needs a momentum above 0 and a dampening of 0, got "
            f"momentum {self.momentum} and dampening {dampening}"
        )

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.buffered if self.momentum else ()

    @property
    def kernel(self) -> str:  # type: ignore[override]
        return "momentum_step" if self.momentum else "sgd_step"

    def slots_at(self, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.buffered if values.get("momentum", self.momentum) else (), self.buffered

    def _first_numbers(self) -> list[float]:
        """Without dampening: momentum that is given later begins with the gradient as it is."""
        return self._numbers(dampening=0.0)

    def coefficients(self, step: int) -> tuple[float, ...]:
        """The learning rate, and how much of a gradient enters the momentum buffer."""
        return self.lr, 1.0 if step == 1 else 1.0 - self.dampening

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        lr, gain = coefficients
        if not self.momentum:
            sgd_update(grad, param, lr=lr, weight_decay=self.weight_decay)
            return
        momentum_update(
            grad, param, state["momentum_buffer"], lr=lr, gain=gain,
            momentum=self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov,
        )  # fmt: skip
