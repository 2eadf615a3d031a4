"""What optimizers share: state and step counts, where these are, how they are saved and loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend.capture import active, first_made, observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from .checks import check_grad, on_cpu, parameter_list, together
from .cuda import READ_BY, DeviceMemory, Row, prepare
from .state import State, read_state

CPU = "cpu"


class _Placed(NamedTuple):
    """A parameter's array as it was found, its device, and what a kernel there works on."""

    source: Any
    device: str
    array: Any  # `source`, or a copy of it in C order
    slots: tuple[str, ...]
    state: tuple[Any, ...]


# Position, parameter, gradient's array, where a kernel finds them (None: `update` does it), and
# whether the state begins here.
_Stepping = tuple[int, Tensor, Any, _Placed | None, bool]


class Optimizer:
    """Base of the optimizers.

    A subclass names its state arrays (`slots`: zeros like the parameter at first) and its
    `hyperparameters`, turns the step count into what the update needs (`coefficients`) and writes
    one parameter (`update`). Parameters without a gradient, and frozen ones, are left alone and
    their step count stands still.

    Hyperparameters are attributes that may be set at any time; `check` refuses what they cannot
    be. A schedule sets `lr` before each step, also to 0.

    On a GPU, `kernel` (of update.cu) steps all parameters in one launch. Hyperparameters and step
    counts are then in device memory too, where a captured step reads and moves them: setting a
    hyperparameter writes it there, and `steps` reads the counts back. A subclass with an `update`,
    `coefficients` or `slots` of its own is stepped one parameter after the other, as on the CPU;
    what it inherits of an update are plain array operations then.

    `copy.deepcopy` and pickle take everything along, the parameters as well: copied together with
    its model, `copy.deepcopy((model, optimizer))`, an optimizer steps the copy.
    """

    slots: tuple[str, ...] = ()
    hyperparameters: tuple[str, ...] = ("lr",)
    kernel: str | None = None  # None: `update` steps one parameter after the other there as well
    kind: str = "Optimizer"  # whose state_dicts are taken; a class with a rule of its own has one

    lr: float

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        nearer = takewhile(lambda base: "kernel" not in vars(base), cls.__mro__)  # mixins too
        if any({"update", "coefficients", "slots"} & set(vars(base)) for base in nearer):
            cls.kernel = None  # an inherited kernel would know nothing of these
        if {"update", "coefficients", "slots", "hyperparameters"} & set(own) and "kind" not in own:
            cls.kind = cls.__name__

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        self.params = parameter_list(self, params)
        for position, param in enumerate(self.params):
            if not param.is_leaf:
                raise ValueError(
                    f"[{checks.name_of(self)}] parameter {position} was computed from other "
                    "tensors, and never gets a .grad: give what it was computed from"
                )
        self.state: list[State] = [{} for _ in self.params]
        self._counts = [0] * len(self.params)
        self._counted_on = [CPU] * len(self.params)  # where a parameter's count is kept now
        self._memory: dict[str, DeviceMemory] = {}
        self._placed: list[_Placed | None] = [None] * len(self.params)
        # State arrays that are there and hold nothing yet, by position: whether the step count says
        # so as well (it is 0).
        self._blank: dict[int, bool] = {}
        self.lr = checks.positive(self, "lr", lr)
        if self.kernel is not None:
            prepare([param.data for param in self.params])

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.hyperparameters:
            super().__setattr__(name, value)
            return
        if active.run is not None and (name in vars(self) or f"_{name}" in vars(self)):
            self._refuse_in_run(name)
        super().__setattr__(name, self.check(name, value))
        for memory in self._memory.values():
            memory.write(self._numbers())

    def _refuse_in_run(self, name: str) -> None:
        if active.run is not None:
            active.run.refuse(
                f"{name} of {type(self).__name__} is set, which every replay would set again",
                "set it before the call",
            )

    def __getstate__(self) -> dict[str, Any]:
        count = len(self.params)
        here = {"_counts": self.steps, "_counted_on": [CPU] * count}
        return vars(self) | here | {"_memory": {}, "_placed": [None] * count}

    def check(self, name: str, value: Any) -> Any:
        """`value` as the hyperparameter `name` holds it, or a ValueError that names both."""
        return checks.number(self, name, value, least=0) if name == "lr" else value

    def slots_at(self, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The slots that a state with these hyperparameters must have, and those that it may."""
        return self.slots, ()

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
        """The numbers of one update that change from step to step, counted from 1; none here."""
        return ()

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        """Write the array `param` and the arrays in `state` in place."""
        raise NotImplementedError(f"[{checks.name_of(self)}] defines no update()")

    def step(self) -> None:
        """Update every parameter that has a gradient.

        ValueError, and nothing is changed, when a gradient is not of its parameter's shape, dtype
        and device, or a parameter has another shape or dtype than the state that it left behind.
        """
        kernel = self.kernel or ""
        observe(self, "slots")
        rows: dict[tuple[str, bool], list[Row]] = {}
        copies: list[_Placed] = []
        for position, param, grad, placed, begins in self._checked():
            if placed is None:
                self._step_one(position, param, grad, begins)
            else:
                row = Row((placed.array, _laid_out(grad), *placed.state), position)
                rows.setdefault((placed.device, begins), []).append(row)
                if placed.array is not param.data:
                    placed.array[...] = param.data
                    copies.append(placed)
            param.bump_version()
        for (device, begins), listed in rows.items():
            memory = self._memory[device]
            if begins:
                memory.write(self._first_numbers())
            memory.step(kernel, listed)
            if begins:
                memory.write(self._numbers())
        for placed in copies:
            placed.source[...] = placed.array

    def _checked(self) -> list[_Stepping]:
        """Those that have a gradient. Raises before anything is written."""
        kernel, slots = self.kernel, self.slots
        found: list[_Stepping] = []
        for position, param in enumerate(self.params):
            grad = param.grad
            if grad is None or not param.requires_grad:
                continue
            array, data = grad.data, param.data
            if array.shape != data.shape or array.dtype != data.dtype or not on_cpu(array, data):
                check_grad(self, position, data, array)
            placed, begins = None, False
            if kernel is not None:
                placed, begins = self._place(position, param, slots)
            if placed is None:
                self._refuse_counting(param)
                begins = self._state_on(param, position, slots)
            found.append((position, param, array, placed, begins))
        return found

    def _refuse_counting(self, param: Tensor) -> None:
        if active.run is not None and backend.is_cuda(param.data):
            active.run.refuse(
                f"{checks.name_of(self)} counts its steps on the host, where a replay would not",
                "call step() outside of the function",
            )

    def _step_one(self, position: int, param: Tensor, grad: Any, begins: bool) -> None:
        self._count_on(CPU, position)
        self._counts[position] += 1
        coefficients = self.coefficients(1 if begins else self._counts[position])
        self.update(param.data, grad, self.state[position], coefficients)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for param in self.params:
            param.zero_grad()

    def _numbers(self, **instead: float) -> list[float]:
        """What `kernel` reads in device memory, in its order: of this optimizer, or `instead`."""
        names = READ_BY[self.kernel or ""]
        return [float(instead.get(name, getattr(self, name))) for name in names]

    def _first_numbers(self) -> list[float]:
        """The `_numbers` of a step at which a state begins, where the count does not say so."""
        return self._numbers()

    def _place(
        self, position: int, param: Tensor, slots: tuple[str, ...]
    ) -> tuple[_Placed | None, bool]:
        """Where a kernel finds a parameter and its state, or None for one on the CPU.

        And whether the state is new.
        """
        known = self._placed[position]
        if known is not None and known.source is param.data and known.slots is slots:
            return known, False
        if not backend.is_cuda(param.data):
            return None, False
        device = param.device
        if device not in self._memory:
            first_made(f"the memory of {checks.name_of(self)} on {device}")
            self._memory[device] = DeviceMemory(device, len(self.params), self._numbers())
            for other, one in enumerate(self.params):  # all now: later may be inside a capture
                if one.requires_grad and one.device == device:
                    self._count_on(device, other)
                    if self.state[other]:
                        self._state_on(one, other, slots)
                    elif slots and not self._counts[other]:  # not one that begins late
                        self._blank[other] = self._state_on(one, other, slots)
        self._count_on(device, position)
        begins = self._begin(param, position, slots)
        array = param.data if param.data.flags.c_contiguous else param.data.copy(order="C")
        state = self.state[position]
        state.update({slot: _laid_out(state[slot]) for slot in slots})
        placed = _Placed(param.data, device, array, slots, tuple(state[slot] for slot in slots))
        self._placed[position] = placed
        return placed, begins

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

    def _begin(self, param: Tensor, position: int, slots: tuple[str, ...]) -> bool:
        """`_state_on`; arrays that were there but held nothing begin here, or are given up."""
        counted = self._blank.pop(position, None)
        if counted is not None and not slots:
            self.state[position] = {}  # stepped without them, they would be taken for begun
        begins = self._state_on(param, position, slots)
        if counted is False and slots:
            first_made(f"the state of {checks.name_of(self)} for parameter {position}")
            begins = True
        return begins

    def _state_on(self, param: Tensor, position: int, slots: tuple[str, ...]) -> bool:
        """Have a parameter's state where the parameter is now; whether it begins here."""
        state, data = self.state[position], param.data
        begins = False
        for slot in slots:
            array = state.get(slot)
            if array is None:
                first_made(f"{slot} of {checks.name_of(self)} for parameter {position}")
                with backend.on_device_of(data):
                    state[slot] = backend.array_module(data).zeros(data.shape, data.dtype)
                begins = True
            elif array.shape != data.shape or array.dtype != data.dtype:
                raise ValueError(
                    f"[{checks.name_of(self)}] {slot} of parameter {position}: expected shape "
                    f"{data.shape} and dtype {data.dtype}, the parameter's, got {array.shape} and "
                    f"{array.dtype}: a parameter that changes needs a new optimizer"
                )
            elif not (on_cpu(array, data) or together(array, data)):
                state[slot] = backend.to_device(array, param.device)
        return begins

    # --- saving and loading ---------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Host copies of everything that a later step depends on but the parameters.

        The hyperparameters by name, "kind" (the optimizer's, in ASCII codes), "steps" (one count
        per parameter) and "POSITION.SLOT" arrays, empty ones where a slot has not begun.
        """
        result = {name: np.asarray(getattr(self, name)) for name in self.hyperparameters}
        result["kind"] = np.frombuffer(self.kind.encode(), np.uint8).copy()
        steps = self.steps
        result["steps"] = np.array(steps, np.int64)
        for position, state in enumerate(self.state):
            if steps[position]:  # before its first step a state is zeros, or not there at all
                for slot in dict.fromkeys((*state, *self.slots)):
                    array = backend.to_numpy(state.get(slot, np.empty(0, np.float32)))
                    result[f"{position}.{slot}"] = np.array(array, order="C")
        return result

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where the optimizer that gave `saved` stood.

        ValueError, and nothing is changed, when `saved` is another optimizer's, of other parameters
        or damaged. A state of before 0.2 has no "kind": Adam's and AdamW's are not told apart then.
        """
        steps, values, loaded = read_state(self, saved)
        self._refuse_in_run("every hyperparameter")
        for position, state in enumerate(loaded):
            self._set_state(position, state, steps[position])
        for name, value in values.items():
            super().__setattr__(name, value)  # they were checked together
        for memory in self._memory.values():
            memory.write(self._numbers())

    def _set_state(self, position: int, loaded: State, steps: int) -> None:
        """Take over a state; on a GPU into the arrays that are there, which a graph may hold."""
        known, self.state[position] = self.state[position], loaded
        self._blank.pop(position, None)
        for slot, array in known.items():
            if not backend.is_cuda(array) or (
                slot in loaded and backend.device_of(loaded[slot]) != backend.device_of(array)
            ):
                continue
            if slot not in loaded:
                self._blank[position] = steps == 0
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


def _laid_out(array: Any) -> Any:
    """A gradient or a state as a kernel reads it, in C order."""
    return array if array.flags.c_contiguous else array.copy(order="C")
