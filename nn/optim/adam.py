"""Adam and AdamW. Step for step they follow PyTorch's formulas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from .optimizer import Optimizer
from .state import State
from .update import adam_update


class Adam(Optimizer):
    """Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2014, algorithm 1).

    g = grad + weight_decay * p; m += (1 - beta1) * (g - m); v += (1 - beta2) * (g^2 - v);
    p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), t the step from 1.
    """

    decoupled = False
    kernel = "adam_step"
    slots: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
    hyperparameters: tuple[str, ...] = ("lr", "beta1", "beta2", "eps", "weight_decay")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    @property
    def betas(self) -> tuple[float, float]:
        """Both rates at which the moments forget, beta1 and beta2."""
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, betas: tuple[float, float]) -> None:
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ValueError(f"[{checks.name_of(self)}] betas must be two numbers, got {betas!r}")
        both = [
            checks.number(self, f"betas[{i}]", beta, least=0, below=1)
            for i, beta in enumerate(betas)
        ]
        self.beta1, self.beta2 = both

    def check(self, name: str, value: Any) -> Any:
        return checks.number(self, name, value, 0, 1 if name in ("beta1", "beta2") else math.inf)

    def coefficients(self, step: int) -> tuple[float, ...]:
        """Step size, epsilon, and the factor that the parameter itself is taken times."""
        # Both corrections moved out of the square root: m / (sqrt(v) / root + eps), times root.
        root = math.sqrt(1 - self.beta2**step)
        keep = 1 - self.lr * self.weight_decay if self.decoupled else 1.0
        return self.lr * root / (1 - self.beta1**step), self.eps * root, keep

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        step_size, epsilon, keep = coefficients
        decay = 0.0 if self.decoupled else self.weight_decay
        adam_update(
            grad, param, state["exp_avg"], state["exp_avg_sq"],
            step_size=step_size, epsilon=epsilon, keep=keep,
            beta1=self.beta1, beta2=self.beta2, weight_decay=decay,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p, apart from the gradient.

    Loshchilov and Hutter, "Decoupled weight decay regularization" (2017). Default decay 0.01.
    """

    decoupled = True
    kind = "AdamW"

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
