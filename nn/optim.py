"""Optimizers: SGD, Adam, AdamW, and gradient clipping.

An optimizer is the initial value of its state and the update of one parameter; the base class does
the rest. Parameters and state are updated in place. Step for step they follow PyTorch's formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.tensor import Tensor

from . import checks
from .optim_kernels import adam_update, momentum_update, sgd_update

State = dict[str, Any]


class Optimizer:
    """Base of the optimizers.

    A subclass names its state arrays (`slots`: zeros like the parameter at first) and its
    `hyperparameters`, turns the step count into what the update needs (`coefficients`) and writes
    one parameter (`update`). Parameters without a gradient, and frozen ones, are left alone and
    their step count stands still.
    """

    slots: tuple[str, ...] = ()
    hyperparameters: tuple[str, ...] = ("lr",)

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = _parameter_list(self, params)
        self._lr = checks.positive(self, "lr", lr)
        self.steps = [0] * len(self.params)
        self.state: list[State] = [{} for _ in self.params]

    @property
    def lr(self) -> float:
        """The learning rate; a schedule sets it before each step, also to 0."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = checks.number(self, "lr", lr, least=0)

    def coefficients(self, step: int) -> tuple[float, ...]:
        """The numbers of one update that change from step to step, counted from 1.

        Learning rate and step count reach a kernel only through here, and the kernels broadcast
        them: to capture a step, these may as well be one-element arrays in device memory.
        """
        raise NotImplementedError

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        """Write the array `param` and the arrays in `state` in place."""
        raise NotImplementedError

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for position, param in enumerate(self.params):
            if param.grad is None or not param.requires_grad:
                continue
            self.steps[position] += 1
            state = self._state_on(param, position)
            coefficients = self.coefficients(self.steps[position])
            self.update(param.data, param.grad.data, state, coefficients)
            param.bump_version()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for param in self.params:
            param.zero_grad()

    def _state_on(self, param: Tensor, position: int) -> State:
        """The state of a parameter, begun at its first step, on the device that it is on now."""
        state = self.state[position]
        for slot in self.slots:
            if slot not in state:
                state[slot] = backend.array_module(param.data).zeros_like(param.data)
            elif backend.device_of(state[slot]) != param.device:
                state[slot] = backend.to_device(state[slot], param.device)
        return state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Host copies of everything that a later step depends on but the parameters.

        The hyperparameters by name, "steps" (one count per parameter) and "POSITION.SLOT" arrays.
        """
        result = {name: np.asarray(getattr(self, name)) for name in self.hyperparameters}
        result["steps"] = np.array(self.steps, np.int64)
        for position, state in enumerate(self.state):
            for slot, array in state.items():
                result[f"{position}.{slot}"] = np.array(backend.to_numpy(array), order="C")
        return result

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where the optimizer that gave `saved` stood.

        ValueError, and nothing is changed, when `saved` is another optimizer's or of other
        parameters.
        """
        name = checks.name_of(self)
        steps = [int(count) for count in np.asarray(saved.get("steps", ())).ravel()]
        if len(steps) != len(self.params):
            raise ValueError(
                f"[{name}] expected the state of {len(self.params)} parameters, got {len(steps)}"
            )
        keys = [
            {slot: f"{position}.{slot}" for slot in self.slots if steps[position]}
            for position in range(len(steps))
        ]
        wanted = {key for one in keys for key in one.values()} | {*self.hyperparameters, "steps"}
        missing, unexpected = sorted(wanted - set(saved)), sorted(set(saved) - wanted)
        if missing or unexpected:
            raise ValueError(
                f"[{name}] the state does not fit: missing {', '.join(missing) or 'nothing'}; "
                f"unexpected {', '.join(unexpected) or 'nothing'}"
            )
        self.state = [
            {slot: self._loaded(saved[key], key, param) for slot, key in one.items()}
            for one, param in zip(keys, self.params, strict=True)
        ]
        self.steps = steps
        for name in self.hyperparameters:
            setattr(self, name, np.asarray(saved[name]).item())

    def _loaded(self, value: Any, key: str, param: Tensor) -> Any:
        array = np.array(value, dtype=param.dtype)
        if array.shape != param.shape:
            raise ValueError(
                f"[{checks.name_of(self)}] {key}: expected shape {param.shape}, got {array.shape}"
            )
        return backend.to_device(array, param.device)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)}" for name in self.hyperparameters)
        return f"{checks.name_of(self)}({len(self.params)} parameters, {values})"


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
    listed = _parameter_list("clip_grad_norm", params)
    grads = [(param, param.grad.data) for param in listed if param.grad is not None]
    if not grads:
        return Tensor(0.0, device=listed[0].device)
    xp = backend.array_module(grads[0][1])
    norm = xp.sqrt(sum(xp.square(grad).sum() for _, grad in grads))
    factor = xp.minimum(limit / (norm + 1e-6), 1)
    for param, grad in grads:
        # New memory: after backward(create_graph=True) other tensors may share the old one.
        param.grad = Tensor(grad * factor)
    return Tensor(xp.asarray(norm))


def _parameter_list(owner: object, params: Iterable[Tensor]) -> list[Tensor]:
    """`params` as a list of distinct leaf Tensors, or an error that names the owner."""
    name = checks.name_of(owner)
    if isinstance(params, Tensor):
        raise TypeError(f"[{name}] expected an iterable of Tensors, got one Tensor: pass [tensor]")
    listed = list(params)
    if not listed:
        raise ValueError(f"[{name}] expected at least one parameter, got none")
    first_at: dict[int, int] = {}
    for position, param in enumerate(listed):
        if not isinstance(param, Tensor):
            raise TypeError(
                f"[{name}] expected Tensors, got {type(param).__name__} at position {position}"
            )
        if id(param) in first_at:
            raise ValueError(
                f"[{name}] parameter {position} was given before, at position {first_at[id(param)]}"
            )
        first_at[id(param)] = position
    return listed
