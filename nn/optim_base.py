"""What optimizers share: state and step counts, where these are, how they are saved and loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.tensor import Tensor
from tinygrad_cupy.tracing import active, first_made, observe

from . import checks
from .optim_cuda import DeviceMemory, Row, prepare

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
        self.params = parameter_list(self, params)
        self.state: list[State] = [{} for _ in self.params]
        self._counts = [0] * len(self.params)
        self._counted_on = [CPU] * len(self.params)  # where a parameter's count is kept now
        self._memory: dict[str, DeviceMemory] = {}
        self._placed: list[_Placed | None] = [None] * len(self.params)
        self._lr = checks.positive(self, "lr", lr)
        if self.kernel is not None:
            prepare([param.data for param in self.params])

    def __setattr__(self, name: str, value: Any) -> None:
        hyper = name in self.hyperparameters
        if hyper and active.run is not None and (name in vars(self) or f"_{name}" in vars(self)):
            active.run.refuse(
                f"{name} of {type(self).__name__} is set, which every replay would set again",
                "set it before the call",
            )
        super().__setattr__(name, value)
        if hyper:
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
                self._step_one(position, param, found.data)
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

    def _step_one(self, position: int, param: Tensor, grad: Any) -> None:
        if active.run is not None and backend.is_cuda(param.data):
            active.run.refuse(
                f"{checks.name_of(self)} counts its steps on the host, where a replay would not",
                "call step() outside of the function",
            )
        self._count_on(CPU, position)
        state = self._state_on(param, position)
        self._counts[position] += 1
        coefficients = self.coefficients(self._counts[position])
        self.update(param.data, grad, state, coefficients)

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


def _laid_out(grad: Any, array: Any) -> Any:
    """A gradient as a kernel reads it: the dtype and shape of the parameter's array, C order."""
    if grad.dtype == array.dtype and grad.shape == array.shape and grad.flags.c_contiguous:
        return grad
    xp = backend.array_module(array)
    return xp.ascontiguousarray(xp.broadcast_to(grad, array.shape), dtype=array.dtype)


def parameter_list(owner: object, params: Iterable[Tensor]) -> list[Tensor]:
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
