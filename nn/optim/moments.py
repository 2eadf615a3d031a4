"""Adam's relatives, one rule each: Adamax, NAdam, RAdam, and Lion, which steps by signs."""

from __future__ import annotations

import math

from .adam import MOMENTS
from .elementwise import Elementwise, WithBetas
from .groups import Parameters
from .rule import Rule, product_of_momenta


class Adamax(WithBetas, Elementwise):
    """Adam with the largest gradient in place of the mean square (Kingma and Ba, algorithm 2).

    g = grad + weight_decay * p; m += (1 - beta1) * (g - m); u = max(beta2 * u, |g| + eps);
    p -= lr / (1 - beta1^t) * m / u, t the step from 1.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.Adamax([p], lr=0.1)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(3)
    Tensor([0.9])
    """

    hyperparameters = ("lr", "beta1", "beta2", "eps", "weight_decay")
    rule = Rule(
        names=hyperparameters,
        slots=("exp_avg", "exp_inf"),
        derive="""
            step_size = lr / (1 - power(beta1, t))
            rest1 = 1 - beta1
        """,
        update="""
            g = g + weight_decay * p
            exp_avg = beta1 * exp_avg + rest1 * g
            exp_inf = maximum(beta2 * exp_inf, absolute(g) + eps)
            p -= step_size * exp_avg / exp_inf
        """,
    )

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize
        )


class NAdam(WithBetas, Elementwise):
    """Adam with Nesterov's momentum (Dozat, "Incorporating Nesterov momentum into Adam", 2016).

    mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2), M_t the product of mu_1 to mu_t. g, m and v
    as Adam's; p -= lr * (mu_(t+1) * m / (1 - M_(t+1)) + (1 - mu_t) * g / (1 - M_t)) /
    (sqrt(v / (1 - beta2^t)) + eps). With `decoupled_weight_decay` p -= lr * weight_decay * p, apart
    from the gradient.

    M_t is that of the present beta1 and momentum_decay; PyTorch multiplies those that each step
    had, which is another number if they are changed on the way.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.NAdam([p], lr=0.1)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(3)
    Tensor([0.894])
    """

    hyperparameters = ("lr", "beta1", "beta2", "eps", "weight_decay", "momentum_decay")
    flags = ("decoupled_weight_decay", "maximize")
    decoupled_weight_decay = False
    momentum_decay: float
    torch_left_out = ("mu_product",)
    rule = Rule(
        names=(*hyperparameters, "decoupled_weight_decay"),
        slots=MOMENTS,
        derive="""
            log_decay = momentum_decay * log(0.96)
            mu = beta1 * (1 - 0.5 * exp(t * log_decay))
            next_mu = beta1 * (1 - 0.5 * exp((t + 1) * log_decay))
            product = product_of_momenta(beta1, log_decay, t)
            root = sqrt(1 - power(beta2, t))
            epsilon = eps * root
            of_grad = lr * root * (1 - mu) / (1 - product)
            of_mean = lr * root * next_mu / (1 - product * next_mu)
            keep = where(decoupled_weight_decay, 1 - lr * weight_decay, 1)
            decay = where(decoupled_weight_decay, 0, weight_decay)
            rest1 = 1 - beta1
            rest2 = 1 - beta2
        """,
        update="""
            g = g + decay * p
            exp_avg = beta1 * exp_avg + rest1 * g
            exp_avg_sq = beta2 * exp_avg_sq + rest2 * g * g
            p = keep * p - (of_grad * g + of_mean * exp_avg) / (sqrt(exp_avg_sq) + epsilon)
        """,
    )

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas=betas, eps=eps, weight_decay=weight_decay,
            momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )  # fmt: skip

    def torch_extra(self, step: int) -> dict[str, float]:
        log_decay = self.momentum_decay * math.log(0.96)
        return {"mu_product": product_of_momenta(self.beta1, log_decay, step)}


class RAdam(WithBetas, Elementwise):
    """Adam with a warm-up of its own (Liu et al., "On the variance of the adaptive learning rate
    and beyond", 2019, algorithm 2).

    g, m and v as Adam's, R = 2 / (1 - beta2) - 1, r = R - 2 t beta2^t / (1 - beta2^t). With r > 5
    p -= lr * c * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), where
    c^2 = (r - 4) (r - 2) R / ((R - 4) (R - 2) r); before, p -= lr * m / (1 - beta1^t).
    `eps` stands beside sqrt(v), before its correction, as in PyTorch. With
    `decoupled_weight_decay` p -= lr * weight_decay * p, apart from the gradient.

    >>> p = nn.Parameter([1.0])
    >>> optimizer = nn.optim.RAdam([p], lr=0.1)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(3)  # 1 - 0.1 * g: the first steps are not adaptive
    Tensor([0.8])
    """

    hyperparameters = ("lr", "beta1", "beta2", "eps", "weight_decay")
    flags = ("decoupled_weight_decay", "maximize")
    decoupled_weight_decay = False
    rule = Rule(
        names=(*hyperparameters, "decoupled_weight_decay"),
        slots=MOMENTS,
        derive="""
            correction = 1 - power(beta2, t)
            last = 2 / (1 - beta2) - 1
            length = last - 2 * t * (1 - correction) / correction
            adaptive = where(length > 5, 1, 0)
            r = maximum(length, 5)
            R = maximum(last, 5)
            rectified = sqrt(correction * (r - 4) * (r - 2) * R / ((R - 4) * (R - 2) * r))
            step_size = lr / (1 - power(beta1, t)) * where(length > 5, rectified, 1)
            keep = where(decoupled_weight_decay, 1 - lr * weight_decay, 1)
            decay = where(decoupled_weight_decay, 0, weight_decay)
            rest1 = 1 - beta1
            rest2 = 1 - beta2
        """,
        update="""
            g = g + decay * p
            exp_avg = beta1 * exp_avg + rest1 * g
            exp_avg_sq = beta2 * exp_avg_sq + rest2 * g * g
            p = keep * p - step_size * exp_avg / where(adaptive, sqrt(exp_avg_sq) + eps, 1)
        """,
    )

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas=betas, eps=eps, weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize,
        )  # fmt: skip


class Lion(WithBetas, Elementwise):
    """Steps of one size along signs (Chen et al., "Symbolic discovery of optimization algorithms",
    2023, program 1).

    p -= lr * (sign(beta1 * m + (1 - beta1) * grad) + weight_decay * p); then m = beta2 * m +
    (1 - beta2) * grad. Takes a learning rate of about a tenth of AdamW's, and ten times its decay.

    >>> p = nn.Parameter([1.0, -3.0])
    >>> optimizer = nn.optim.Lion([p], lr=0.1)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(3)  # a step of lr along each sign
    Tensor([ 0.9, -2.9])
    """

    hyperparameters = ("lr", "beta1", "beta2", "weight_decay")
    rule = Rule(
        names=hyperparameters,
        slots=("exp_avg",),
        derive="""
            keep = 1 - lr * weight_decay
            rest1 = 1 - beta1
            rest2 = 1 - beta2
        """,
        update="""
            p = keep * p - lr * sign(beta1 * exp_avg + rest1 * g)
            exp_avg = beta2 * exp_avg + rest2 * g
        """,
    )

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas=betas, weight_decay=weight_decay, maximize=maximize)
