"""Optimizers: SGD, Adam, AdamW, and gradient clipping.

An optimizer is the initial value of its state and the update of one parameter; the base class does
the rest. Parameters and state are updated in place. Step for step they follow PyTorch's formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend.cpu_threads import spans, workspace
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from . import cuda as optim_cuda
from .checks import check_grad, parameter_list
from .optimizer import Optimizer
from .state import State
from .update import BLOCK, adam_update, momentum_update, sgd_update

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "State", "clip_grad_norm"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al., 2013, as PyTorch writes it).

    g = grad + weight_decay * p; b = momentum * b + (1 - dampening) * g, b = g at the first step
    with momentum; p -= lr * b, or with `nesterov` p -= lr * (g + momentum * b). Without momentum
    p -= lr * g, and b stays what it is.
    """

    hyperparameters = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    momentum, dampening, nesterov = 0.0, 0.0, False
    buffered = ("momentum_buffer",)

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
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        if nesterov and momentum == 0:
            self._refuse_nesterov(dampening)

    def check(self, name: str, value: Any) -> Any:
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
        lr, momentum, _, weight_decay, nesterov = self._numbers()
        return [lr, momentum, 0.0, weight_decay, nesterov]

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


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients by one factor so that their joint 2-norm is at most `max_norm`.

    Returns the norm before clipping, a Tensor on the parameters' device: nothing waits for the GPU.
    It is float32 (float64 where a gradient is), and no square leaves the range on the way.
    The factor is min(1, max_norm / (norm + 1e-6)), as in PyTorch. Pascanu et al., "On the
    difficulty of training recurrent neural networks" (2012). Parameters without a gradient are
    skipped. A NaN among the gradients makes norm and gradients NaN; an infinite one an infinite
    norm, itself NaN, and every finite one 0.

    ValueError, and nothing is changed, for a gradient that is not of its parameter's shape, dtype
    and device, and for gradients on several devices.
    """
    limit = checks.positive("clip_grad_norm", "max_norm", max_norm)
    listed = parameter_list("clip_grad_norm", params)
    clipped, grads = [], []
    for position, param in enumerate(listed):
        if param.grad is not None:
            check_grad("clip_grad_norm", position, param.data, param.grad.data)
            clipped.append(param)
            grads.append(param.grad.data)
    if not clipped:
        return Tensor(0.0, device=listed[0].device)
    norm, scaled = optim_cuda.clip(grads, limit) if optim_cuda.alike(grads) else _clip(grads, limit)
    for param, grad in zip(clipped, scaled, strict=True):
        # New memory: after backward(create_graph=True) other tensors may share the old one.
        param.grad = Tensor(grad)
    return Tensor(norm)


def _clip(grads: list[Any], limit: float) -> tuple[Any, list[Any]]:
    """The norm of the gradients, and the gradients scaled down."""
    devices = {backend.device_of(grad) for grad in grads}
    if len(devices) > 1:
        raise ValueError(
            "[clip_grad_norm] expected all gradients on one device, got "
            f"{' and '.join(sorted(devices))}"
        )
    xp = backend.array_module(grads[0])
    with np.errstate(over="ignore", invalid="ignore"):
        norm = xp.sqrt(sum(_sum_of_squares(xp, grad) for grad in grads))
        largest: Any = 1.0
        if xp is np and not 1e-140 < norm < math.inf:  # squares of float64 left its range
            largest = max(float(np.abs(grad).max(initial=0)) for grad in grads)
            if 0 < largest < math.inf:
                squares = (np.square(grad / largest, dtype=np.float64).sum() for grad in grads)
                norm = np.sqrt(sum(squares)) * largest
        factor = xp.minimum(limit / (norm + 1e-6), 1)
        scaled = [_times(xp, grad, factor) for grad in grads]
        wide = any(grad.dtype == np.float64 for grad in grads)
        norm = xp.asarray(norm, np.float64 if wide else np.float32)
    return norm, scaled


def _sum_of_squares(xp: Any, grad: Any) -> Any:
    """In float64, on the CPU over pieces that stay in the cache.

    There the squares of float32 are float32, in half the time, where none of them matters that
    leaves its range.
    """
    if xp is not np:
        return xp.square(grad.astype(np.float64)).sum()
    flat = grad.reshape(-1)
    if grad.dtype == np.float32:
        total = _sum_in_pieces(flat, np.float32)
        if 1e-25 < total < math.inf:
            return total
    return _sum_in_pieces(flat, np.float64)


def _sum_in_pieces(flat: Any, dtype: Any) -> float:
    total = 0.0
    for span in spans(flat.size, BLOCK):
        squares = workspace("clipped gradient", flat[span].shape, dtype)
        total += float(np.square(flat[span], out=squares, dtype=dtype).sum())
    return total


def _times(xp: Any, grad: Any, factor: Any) -> Any:
    """``grad * factor``, of 16-bit floats computed in float32."""
    if grad.dtype.itemsize == 2:
        return (grad.astype(np.float32) * factor.astype(np.float32)).astype(grad.dtype)
    return grad * factor.astype(grad.dtype)
