"""The optimizers that are one `Rule`: each is its state, its hyperparameters and a few lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinygrad_cupy.nn import checks

from .groups import Parameters
from .optimizer import Optimizer
from .rule import Rule
from .state import State


class Elementwise(Optimizer):
    """Base of the optimizers whose update is a `rule`, which says what one element becomes.

    A subclass names its `hyperparameters`, its `rule` (or `rule_at`, where it depends on a switch)
    and hands its arguments to this `__init__`.

    On a GPU one launch steps all parameters, and on the CPU float32 goes through C. Hyperparameters
    are numbers of at least 0, those named beta or rho below 1.

    >>> class Signs(nn.optim.Elementwise):
    ...     rule = nn.optim.Rule(names=("lr",), slots=(), derive="", update="p -= lr * sign(g)")
    ...     def __init__(self, params, lr=1e-3):
    ...         super().__init__(params, lr)
    >>> p = nn.Parameter([1.0, -3.0])
    >>> (p**2).sum().backward()
    >>> Signs([p], lr=0.5).step()
    >>> p.detach()
    Tensor([ 0.5, -2.5])
    """

    rule: Rule
    rules: tuple[Rule, ...] = ()  # all that `rule_at` gives

    def __init__(self, params: Parameters, lr: float, **values: Any) -> None:
        super().__init__(params, lr)
        for name, value in values.items():
            setattr(self, name, value)

    def rule_at(self, values: Mapping[str, Any]) -> Rule:
        """The rule with these hyperparameters; of the optimizer's own where one is missing."""
        return self.rule

    @property
    def kernel(self) -> Rule:  # type: ignore[override]
        return self.rule_at({})

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.rule_at({}).slots

    def slots_at(self, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        every = [slot for rule in (*self.rules, self.rule_at(values)) for slot in rule.slots]
        return self.rule_at(values).slots, tuple(dict.fromkeys(every))

    def check(self, name: str, value: Any) -> Any:
        if name in self.flags:
            return super().check(name, value)
        below = 1 if name.startswith(("beta", "rho")) else math.inf
        return checks.number(self, name, value, 0, below)

    def coefficients(self, step: int) -> tuple[float, ...]:
        """The numbers of one update: the hyperparameters and what the rule derives of them."""
        rule = self.rule_at({})
        return rule.coefficients({name: float(getattr(self, name)) for name in rule.names}, step)

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        rule = self.rule_at({})
        rule.update(coefficients, grad, param, *[state[slot] for slot in rule.slots])


class WithBetas:
    """Two rates `betas` at which moments forget, kept as `beta1` and `beta2`."""

    beta1: float
    beta2: float

    @property
    def betas(self) -> tuple[float, float]:
        """Both rates at which the moments forget, beta1 and beta2."""
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, betas: tuple[float, float]) -> None:
        self.beta1, self.beta2 = both_betas(self, betas)


def both_betas(owner: object, betas: Any) -> tuple[float, float]:
    """`betas` as two numbers from 0 to below 1."""
    if not isinstance(betas, list | tuple) or len(betas) != 2:
        raise ValueError(f"[{checks.name_of(owner)}] betas must be two numbers, got {betas!r}")
    one, two = (
        checks.number(owner, f"betas[{i}]", beta, least=0, below=1) for i, beta in enumerate(betas)
    )
    return one, two
