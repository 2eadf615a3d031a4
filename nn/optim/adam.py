"""Adam and AdamW. Step for step they follow PyTorch's formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinygrad_cupy.nn import checks

from .cuda import _ADAM, Launch
from .elementwise import WithBetas
from .groups import Parameters
from .optimizer import Optimizer
from .rule import Rule
from .state import State
from .update import adam_update

MOMENTS = ("exp_avg", "exp_avg_sq")
WITH_LARGEST = (*MOMENTS, "max_exp_avg_sq")

AMSGRAD = Rule(
    names=_ADAM,
    slots=WITH_LARGEST,
    derive="""
        root = sqrt(1 - power(beta2, t))
        step_size = lr * root / (1 - power(beta1, t))
        epsilon = eps * root
        keep = where(decoupled, 1 - lr * weight_decay, 1)
        decay = where(decoupled, 0, weight_decay)
        rest1 = 1 - beta1
        rest2 = 1 - beta2
    """,
    update="""
        g = g + decay * p
        exp_avg = beta1 * exp_avg + rest1 * g
        exp_avg_sq = beta2 * exp_avg_sq + rest2 * g * g
        max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
        p = keep * p - step_size * exp_avg / (sqrt(max_exp_avg_sq) + epsilon)
    """,
)


class Adam(WithBetas, Optimizer):
    """Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2014, algorithm 1).

    g = grad + weight_decay * p; m += (1 - beta1) * (g - m); v += (1 - beta2) * (g^2 - v);
    p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), t the step from 1.
    With `amsgrad` the largest v so far takes the place of v (Reddi et al., "On the convergence of
    Adam and beyond", 2018).

    >>> model = nn.Linear(3, 1)
    >>> optimizer = nn.optim.Adam(model.parameters(), lr=0.01)
    >>> x, y = Tensor.rand(8, 3), Tensor.rand(8, 1)
    >>> first = model(x).mse_loss(y).item()
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     model(x).mse_loss(y).backward()
    ...     optimizer.step()
    >>> model(x).mse_loss(y).item() < first
    True
    """

    decoupled = False
    kernel: Any = "adam_step"
    hyperparameters: tuple[str, ...] = ("lr", "beta1", "beta2", "eps", "weight_decay")
    flags = ("amsgrad", "maximize")
    amsgrad = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.amsgrad = amsgrad
        self.maximize = maximize

    def check(self, name: str, value: Any) -> Any:
        if name in self.flags:
            return super().check(name, value)
        return checks.number(self, name, value, 0, 1 if name in ("beta1", "beta2") else math.inf)

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return WITH_LARGEST if self.amsgrad else MOMENTS

    def slots_at(self, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if type(self).slots is not Adam.slots:  # a subclass has its own
            return super().slots_at(values)
        largest = values.get("amsgrad", self.amsgrad)
        return WITH_LARGEST if largest else MOMENTS, WITH_LARGEST

    def _launch(self) -> Launch | None:
        return AMSGRAD if self.amsgrad and self.kernel is not None else super()._launch()

    def coefficients(self, step: int) -> tuple[float, ...]:
        """Step size, epsilon, and the factor that the parameter itself is taken times."""
        if self.amsgrad:
            values = {name: float(getattr(self, name)) for name in _ADAM}
            return AMSGRAD.coefficients(values, step)
        # Both corrections moved out of the square root: m / (sqrt(v) / root + eps), times root.
        root = math.sqrt(1 - self.beta2**step)
        keep = 1 - self.lr * self.weight_decay if self.decoupled else 1.0
        return self.lr * root / (1 - self.beta1**step), self.eps * root, keep

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        if self.amsgrad:
            AMSGRAD.update(coefficients, grad, param, *[state[slot] for slot in WITH_LARGEST])
            return
        step_size, epsilon, keep = coefficients
        decay = 0.0 if self.decoupled else self.weight_decay
        adam_update(
            grad, param, state["exp_avg"], state["exp_avg_sq"],
            step_size=step_size, epsilon=epsilon, keep=keep,
            beta1=self.beta1, beta2=self.beta2, weight_decay=decay,
        )  # fmt: skip

    def torch_options(self) -> dict[str, Any]:
        return {"decoupled_weight_decay": self.decoupled}


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p, apart from the gradient.

    Loshchilov and Hutter, "Decoupled weight decay regularization" (2017). Default decay 0.01.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.AdamW([p], lr=0.1, weight_decay=0.1)
    >>> (p * 0).sum().backward()
    >>> optimizer.step()
    >>> p.detach()  # 1 - 0.1 * 0.1: decay alone
    Tensor([0.99])
    """

    decoupled = True
    kind = "AdamW"

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize)
