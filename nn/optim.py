"""Optimizers: SGD, Adam, AdamW, and gradient clipping.

An optimizer is the initial value of its state and the update of one parameter; the base class does
the rest. Parameters and state are updated in place. Step for step they follow PyTorch's formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tinygrad_cupy import backend
from tinygrad_cupy.tensor import Tensor

from . import checks, optim_cuda
from .optim_base import Optimizer, State, parameter_list
from .optim_kernels import adam_update, momentum_update, sgd_update

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "State", "clip_grad_norm"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al., 2013, as PyTorch writes it).

    g = grad + weight_decay * p; b = momentum * b + (1 - dampening) * g, b = g at the first step;
    p -= lr * b, or with `nesterov` p -= lr * (g + momentum * b). Without momentum p -= lr * g.
    """

    hyperparameters = ("lr", "momentum", "dampening", "weight_decay", "nesterov")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = checks.number(self, "momentum", momentum, least=0)
        self.dampening = checks.number(self, "dampening", dampening, least=0)
        self.weight_decay = checks.number(self, "weight_decay", weight_decay, least=0)
        self.nesterov = nesterov
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"[SGD] nesterov needs a momentum above 0 and a dampening of 0, got momentum "
                f"{momentum} and dampening {dampening}"
            )
        self.slots = ("momentum_buffer",) if momentum else ()

    @property
    def kernel(self) -> str:  # type: ignore[override]
        return "momentum_step" if self.slots else "sgd_step"

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        super().load_state_dict(saved)
        self.slots = ("momentum_buffer",) if self.momentum else ()  # momentum came with the state

    def coefficients(self, step: int) -> tuple[float, ...]:
        return self.lr, 1.0 if step == 1 else 1.0 - self.dampening

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        lr, gain = coefficients
        if not self.momentum:
            sgd_update(grad, lr, self.weight_decay, param)
            return
        buffer = state["momentum_buffer"]
        momentum_update(
            grad, lr, gain, self.momentum, self.weight_decay, self.nesterov, param, buffer
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2014, algorithm 1).

    g = grad + weight_decay * p; m += (1 - beta1) * (g - m); v += (1 - beta2) * (g^2 - v);
    p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), t the step from 1.
    """

    decoupled = False
    kernel = "adam_step"
    slots = ("exp_avg", "exp_avg_sq")
    hyperparameters = ("lr", "beta1", "beta2", "eps", "weight_decay")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.beta1 = checks.number(self, "betas[0]", betas[0], least=0, below=1)
        self.beta2 = checks.number(self, "betas[1]", betas[1], least=0, below=1)
        self.eps = checks.number(self, "eps", eps, least=0)
        self.weight_decay = checks.number(self, "weight_decay", weight_decay, least=0)

    def _numbers(self) -> list[float]:
        return [*super()._numbers(), float(self.decoupled)]

    def coefficients(self, step: int) -> tuple[float, ...]:
        # Both corrections moved out of the square root: m / (sqrt(v) / root + eps), times root.
        root = math.sqrt(1 - self.beta2**step)
        keep = 1 - self.lr * self.weight_decay if self.decoupled else 1.0
        return self.lr * root / (1 - self.beta1**step), self.eps * root, keep

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        decay = 0.0 if self.decoupled else self.weight_decay
        moments = [state[slot] for slot in self.slots]
        adam_update(grad, *coefficients, self.beta1, self.beta2, decay, param, *moments)


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p, apart from the gradient.

    Loshchilov and Hutter, "Decoupled weight decay regularization" (2017). Default decay 0.01.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients by one factor so that their joint 2-norm is at most `max_norm`.

    Returns the norm before clipping, a Tensor on the parameters' device: nothing waits for the GPU.
    The factor is min(1, max_norm / (norm + 1e-6)), as in PyTorch. Pascanu et al., "On the
    difficulty of training recurrent neural networks" (2012). Parameters without a gradient are
    skipped.
    """
    limit = checks.positive("clip_grad_norm", "max_norm", max_norm)
    listed = parameter_list("clip_grad_norm", params)
    clipped = [param for param in listed if param.grad is not None]
    if not clipped:
        return Tensor(0.0, device=listed[0].device)
    grads = [param.grad.data for param in clipped if param.grad is not None]
    norm, scaled = optim_cuda.clip(grads, limit) if optim_cuda.alike(grads) else _clip(grads, limit)
    for param, grad in zip(clipped, scaled, strict=True):
        # New memory: after backward(create_graph=True) other tensors may share the old one.
        param.grad = Tensor(grad)
    return Tensor(norm)


def _clip(grads: list[Any], limit: float) -> tuple[Any, list[Any]]:
    """The norm of the gradients, and the gradients scaled down."""
    xp = backend.array_module(grads[0])
    norm = xp.sqrt(sum(xp.square(grad).sum() for grad in grads))
    factor = xp.minimum(limit / (norm + 1e-6), 1)
    return xp.asarray(norm), [grad * factor for grad in grads]
