"""RMSprop, Adagrad and Adadelta: a step divided by the size that gradients have had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .elementwise import Elementwise
from .groups import Parameters
from .rule import Rule


def _rmsprop(centered: bool, momentum: bool) -> Rule:
    mean = "grad_avg = alpha * grad_avg + rest * g" if centered else ""
    spread = "square_avg - grad_avg * grad_avg" if centered else "square_avg"
    step = f"g / (sqrt({spread}) + eps)"
    move = "p -= lr * momentum_buffer" if momentum else f"p -= lr * {step}"
    return Rule(
        names=("lr", "alpha", "eps", "weight_decay", "momentum"),
        slots=("square_avg", *["grad_avg"] * centered, *["momentum_buffer"] * momentum),
        derive="rest = 1 - alpha",
        update="\n".join(
            (
                "g = g + weight_decay * p",
                "square_avg = alpha * square_avg + rest * g * g",
                mean,
                f"momentum_buffer = momentum * momentum_buffer + {step}" if momentum else "",
                move,
            )
        ),
    )


_WHICH = [(centered, momentum) for centered in (False, True) for momentum in (False, True)]


class RMSprop(Elementwise):
    """RMSprop (Hinton, lecture 6e of "Neural networks for machine learning", 2012).

    g = grad + weight_decay * p; v = alpha * v + (1 - alpha) * g^2; d = g / (sqrt(v) + eps);
    p -= lr * d. With `centered`, v - a^2 stands for v in d, a the mean of g that forgets alike;
    with `momentum`, b = momentum * b + d and p -= lr * b.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.RMSprop([p], lr=0.01)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(3)  # 1 - 0.01 * g / sqrt(0.01 * g^2)
    Tensor([0.9])
    """

    hyperparameters = ("lr", "alpha", "eps", "weight_decay", "momentum")
    flags = ("centered", "maximize")
    centered, momentum = False, 0.0
    rules = tuple([_rmsprop(*which) for which in _WHICH])

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
            centered=centered, maximize=maximize,
        )  # fmt: skip

    def rule_at(self, values: Mapping[str, Any]) -> Rule:
        centered = bool(values.get("centered", self.centered))
        momentum = values.get("momentum", self.momentum) != 0
        return self.rules[_WHICH.index((centered, momentum))]


class Adagrad(Elementwise):
    """Adagrad (Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011).

    g = grad + weight_decay * p; s += g^2, from `initial_accumulator_value`;
    p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps), t the step from 1.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.Adagrad([p], lr=0.1)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(3)  # 1 - 0.1 * g / sqrt(g^2)
    Tensor([0.9])
    """

    hyperparameters = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
    initial_accumulator_value: float
    rule = Rule(
        names=hyperparameters,
        slots=("sum",),
        derive="step_size = lr / (1 + (t - 1) * lr_decay)",
        update="""
            g = g + weight_decay * p
            sum = sum + g * g
            p -= step_size * g / (sqrt(sum) + eps)
        """,
    )

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, eps=eps, maximize=maximize,
        )  # fmt: skip

    def first_value(self, slot: str) -> float:
        return float(self.initial_accumulator_value)


class Adadelta(Elementwise):
    """Adadelta (Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1).

    g = grad + weight_decay * p; v = rho * v + (1 - rho) * g^2; d = sqrt(a + eps) /
    sqrt(v + eps) * g; a = rho * a + (1 - rho) * d^2; p -= lr * d.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.Adadelta([p])
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(4)  # 1 - g * sqrt(1e-6 / (0.1 * g^2))
    Tensor([0.9968])
    """

    hyperparameters = ("lr", "rho", "eps", "weight_decay")
    rule = Rule(
        names=hyperparameters,
        slots=("square_avg", "acc_delta"),
        derive="rest = 1 - rho",
        update="""
            g = g + weight_decay * p
            square_avg = rho * square_avg + rest * g * g
            d = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g
            acc_delta = rho * acc_delta + rest * d * d
            p -= lr * d
        """,
    )

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize)
