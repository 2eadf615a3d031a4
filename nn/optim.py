"""Optimizers: SGD, Adam, AdamW, and gradient clipping.

An optimizer is the initial value of its state and the update of one parameter; the base class does
the rest. Parameters and state are updated in place. Step for step they follow PyTorch's formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.tensor import Tensor
from tinygrad_cupy.tracing import active, first_made, observe

from . import checks, optim_cuda
from .optim_cuda import DeviceMemory, Row
from .optim_kernels import adam_update, momentum_update, sgd_update

State = dict[str, Any]
CPU = "cpu"


class _Placed(NamedTuple):
    """A parameter's array as it was found, its device, and what a kernel there works on."""

    source: Any
    device: str
    array: Any  # `source`, or a copy of it in C order
    state: tuple[Any, ...]


class Optimizer:
    """Base of the optimizers.

    A subclass names its state arrays (`slots`: zeros like the parameter at first) and its
    `hyperparameters`, turns the step count into what the update needs (`coefficients`) and writes
    one parameter (`update`). Parameters without a gradient, and frozen ones, are left alone and
    their step count stands still.

    On a GPU, `kernel` (of optim.cu) steps all parameters in one launch. Hyperparameters and step
    counts are then in device memory too, where a captured step reads and moves them: setting a
    hyperparameter writes it there, and `steps` reads the counts back.
    """

    slots: tuple[str, ...] = ()
    hyperparameters: tuple[str, ...] = ("lr",)
    kernel: str | None = None  # None: `update` steps one parameter after the other there as well

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if {"update", "coefficients"} & set(vars(cls)) and "kernel" not in vars(cls):
            cls.kernel = None  # an inherited kernel would know nothing of these

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = _parameter_list(self, params)
        self.state: list[State] = [{} for _ in self.params]
        self._counts = [0] * len(self.params)
        self._counted_on = [CPU] * len(self.params)  # where a parameter's count is kept now
        self._memory: dict[str, DeviceMemory] = {}
        self._placed: list[_Placed | None] = [None] * len(self.params)
        self._lr = checks.positive(self, "lr", lr)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self.hyperparameters:
            for memory in self._memory.values():
                memory.write(self._numbers())

    @property
    def lr(self) -> float:
        """The learning rate; a schedule sets it before each step, also to 0."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = checks.number(self, "lr", lr, least=0)

    @property
    def steps(self) -> list[int]:
        """How often each parameter was stepped; reading it waits for the GPU."""
        for device, memory in self._memory.items():
            counts = backend.to_numpy(memory.counts).tolist()
            for position, place in enumerate(self._counted_on):
                if place == device:
                    self._counts[position] = counts[position]
        return list(self._counts)

    def coefficients(self, step: int) -> tuple[float, ...]:
        """The numbers of one update that change from step to step, counted from 1."""
        raise NotImplementedError

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        """Write the array `param` and the arrays in `state` in place."""
        raise NotImplementedError

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        kernel = self.kernel
        observe(self, "slots")
        rows: dict[str, list[Row]] = {}
        copies: list[_Placed] = []
        for position, param in enumerate(self.params):
            found = param.grad
            if found is None or not param.requires_grad:
                continue
            placed = None if kernel is None else self._place(position, param)
            if placed is None:
                self._step_one(position, param)
            else:
                grad = _laid_out(found.data, placed.array)
                row = Row((placed.array, grad, *placed.state), position)
                rows.setdefault(placed.device, []).append(row)
                if placed.array is not param.data:
                    placed.array[...] = param.data
                    copies.append(placed)
            param.bump_version()
        for device, listed in rows.items():
            self._memory[device].step(kernel or "", listed)
        for placed in copies:
            placed.source[...] = placed.array

    def _step_one(self, position: int, param: Tensor) -> None:
        if active.run is not None and backend.is_cuda(param.data):
            active.run.refuse(
                f"{checks.name_of(self)} counts its steps on the host, where a replay would not",
                "call step() outside of the function",
            )
        self._count_on(CPU, position)
        state = self._state_on(param, position)
        self._counts[position] += 1
        assert param.grad is not None
        coefficients = self.coefficients(self._counts[position])
        self.update(param.data, param.grad.data, state, coefficients)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for param in self.params:
            param.zero_grad()

    def _numbers(self) -> list[float]:
        return [float(getattr(self, name)) for name in self.hyperparameters]

    def _place(self, position: int, param: Tensor) -> _Placed | None:
        """Where a kernel finds a parameter and its state, or None for one on the CPU."""
        known = self._placed[position]
        if known is not None and known.source is param.data:
            return known
        if not backend.is_cuda(param.data):
            return None
        device = param.device
        if device not in self._memory:
            first_made(f"the memory of {checks.name_of(self)} on {device}")
            self._memory[device] = DeviceMemory(device, len(self.params), self._numbers())
            for other, one in enumerate(self.params):  # all now: later may be inside a capture
                if one.requires_grad and one.device == device:
                    self._count_on(device, other)
                    self._state_on(one, other)
        self._count_on(device, position)
        state = self._state_on(param, position)
        array = param.data if param.data.flags.c_contiguous else param.data.copy(order="C")
        placed = _Placed(param.data, device, array, tuple(state[slot] for slot in self.slots))
        self._placed[position] = placed
        return placed

    def _count_on(self, device: str, position: int) -> None:
        """Keep a parameter's step count on `device` from now on."""
        if self._counted_on[position] == device:
            return
        first_made(f"the count of {checks.name_of(self)} for parameter {position} on {device}")
        if self._counted_on[position] != CPU:
            self._counts = self.steps
        self._counted_on[position] = device
        if device != CPU:
            self._memory[device].set_count(position, self._counts[position])

    def _state_on(self, param: Tensor, position: int) -> State:
        """The state of a parameter, begun at its first step, on the device that it is on now."""
        state = self.state[position]
        for slot in self.slots:
            if slot not in state:
                first_made(f"{slot} of {checks.name_of(self)} for parameter {position}")
                with backend.on_device_of(param.data):
                    module = backend.array_module(param.data)
                    state[slot] = module.zeros(param.data.shape, param.data.dtype)
            elif backend.device_of(state[slot]) != param.device:
                state[slot] = backend.to_device(state[slot], param.device)
        return state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Host copies of everything that a later step depends on but the parameters.

        The hyperparameters by name, "steps" (one count per parameter) and "POSITION.SLOT" arrays.
        """
        result = {name: np.asarray(getattr(self, name)) for name in self.hyperparameters}
        steps = self.steps
        result["steps"] = np.array(steps, np.int64)
        for position, state in enumerate(self.state):
            if steps[position]:  # before its first step a state is zeros, or not there at all
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
        loaded = [
            {slot: self._loaded(saved[key], key, param) for slot, key in one.items()}
            for one, param in zip(keys, self.params, strict=True)
        ]
        for position, state in enumerate(loaded):
            self._set_state(position, state, steps[position])
        for name in self.hyperparameters:
            setattr(self, name, np.asarray(saved[name]).item())

    def _loaded(self, value: Any, key: str, param: Tensor) -> Any:
        array = np.array(value, dtype=param.dtype, order="C")
        if array.shape != param.shape:
            raise ValueError(
                f"[{checks.name_of(self)}] {key}: expected shape {param.shape}, got {array.shape}"
            )
        return backend.to_device(array, param.device)

    def _set_state(self, position: int, loaded: State, steps: int) -> None:
        """Take over a state; on a GPU into the arrays that are there, which a graph may hold."""
        known, self.state[position] = self.state[position], loaded
        for slot, array in known.items():
            if not backend.is_cuda(array) or (
                slot in loaded and backend.device_of(loaded[slot]) != backend.device_of(array)
            ):
                continue
            with backend.on_device_of(array):
                array[...] = loaded.get(slot, 0)
            loaded[slot] = array
        self._placed[position] = None
        self._counts[position] = steps
        if self._counted_on[position] != CPU:
            self._memory[self._counted_on[position]].set_count(position, steps)

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
    listed = _parameter_list("clip_grad_norm", params)
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


def _laid_out(grad: Any, array: Any) -> Any:
    """A gradient as a kernel reads it: the dtype and shape of the parameter's array, C order."""
    if grad.dtype == array.dtype and grad.shape == array.shape and grad.flags.c_contiguous:
        return grad
    xp = backend.array_module(array)
    return xp.ascontiguousarray(xp.broadcast_to(grad, array.shape), dtype=array.dtype)


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
