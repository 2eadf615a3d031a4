"""Where an optimizer's parameters, state and step counts are, and that they are there together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tinygrad_cupy import backend
from tinygrad_cupy.backend.capture import active, first_made
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from .checks import on_cpu, together
from .cuda import DeviceMemory, Launch, launch_of
from .state import State

CPU = "cpu"


class Placed(NamedTuple):
    """A parameter's array as it was found, its device, and what a kernel there works on."""

    source: Any
    device: str
    array: Any  # `source`, or a copy of it in C order
    slots: tuple[str, ...]
    state: tuple[Any, ...]


class Stored(NamedTuple):
    """A group as its optimizer keeps it: its parameters' positions, and what is its own.

    `own["lr"]` is a rate and the optimizer's at the time it was given (0 if not known).
    """

    positions: range
    own: dict[str, Any]
    name: str | None = None

    def value(self, name: str, default: Any) -> Any:
        """A hyperparameter here, where the optimizer's own is `default`."""
        if name not in self.own:
            return default
        if name != "lr":
            return self.own[name]
        rate, then = self.own["lr"]
        return rate if default == then or not then else rate * (default / then)


class Placement:
    """What an `Optimizer` knows of the devices that it works on."""

    slots: tuple[str, ...]
    hyperparameters: tuple[str, ...]
    flags: tuple[str, ...]
    structure: tuple[str, ...]
    kernel: str | Launch | None
    maximize: bool

    params: list[Tensor]
    state: list[State]
    _groups: list[Stored]
    _changes: int  # of the list of groups
    _own_values: dict[str, Any]  # the optimizer's, where a group's are attributes just now
    _counts: list[int]
    _counted_on: list[str]  # where a parameter's count is kept now
    _memory: dict[str, DeviceMemory]
    _placed: list[Placed | None]
    # State arrays that are there and hold nothing yet, by position: whether the step count says so
    # as well (it is 0).
    _blank: dict[int, bool]

    def first_value(self, slot: str) -> float:
        """What a slot's array is filled with at first; 0 here."""
        return 0.0

    @property
    def steps(self) -> list[int]:
        """How often each parameter was stepped; reading it waits for the GPU."""
        for device, memory in self._memory.items():
            counts = backend.to_numpy(memory.counts).tolist()
            for position, place in enumerate(self._counted_on):
                if place == device:
                    self._counts[position] = counts[position]
        return list(self._counts)

    def _names(self) -> tuple[str, ...]:
        """All that a group may have of its own."""
        return (*self.hyperparameters, *self.flags)

    @contextmanager
    def _as(self, index: int) -> Iterator[None]:
        """Have the hyperparameters of a group for attributes, inside of another's as well."""
        group, outer = self._groups[index], self._own_values
        own = outer | {name: getattr(self, name) for name in group.own if name not in outer}
        before = {name: getattr(self, name) for name in own}
        self._own_values = own
        try:
            for name, value in own.items():
                super().__setattr__(name, group.value(name, value))
            yield
        finally:
            self._own_values = outer
            for name, value in before.items():
                super().__setattr__(name, value)

    @property
    def _structure(self) -> str:
        """What a captured step holds for, of all groups."""
        found = [str(self._changes)]
        for index in range(len(self._groups)):
            with self._as(index):
                found += [str(getattr(self, name)) for name in self.structure]
        return " ".join(found)

    def _write_numbers(self) -> None:
        for memory in self._memory.values():
            for index in range(len(self._groups)):
                self._write_group(memory, index)

    def _write_group(self, memory: DeviceMemory, index: int, first: bool = False) -> None:
        """Put a group's hyperparameters where a kernel reads them; those of a `first` step."""
        with self._as(index):
            numbers = self._first_numbers() if first else self._numbers()
            memory.write(index, numbers, self.maximize)

    def _launch(self) -> Launch | None:
        """What steps the parameters on a GPU, or None: `update` does."""
        return None if self.kernel is None else launch_of(self.kernel)

    def _refuse_counting(self, param: Tensor) -> None:
        if active.run is not None and backend.is_cuda(param.data):
            active.run.refuse(
                f"{checks.name_of(self)} counts its steps on the host, where a replay would not",
                "call step() outside of the function",
            )

    def _numbers(self, **instead: float) -> list[float]:
        """What `kernel` reads in device memory, in its order: of this optimizer, or `instead`."""
        launch = self._launch()
        names = () if launch is None else launch.names
        return [float(instead.get(name, getattr(self, name))) for name in names]

    def _first_numbers(self) -> list[float]:
        """The `_numbers` of a step at which a state begins, where the count does not say so."""
        return self._numbers()

    def _place(
        self, position: int, param: Tensor, slots: tuple[str, ...]
    ) -> tuple[Placed | None, bool]:
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
            self._memory[device] = self._new_memory(device)
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
        state.update({slot: laid_out(state[slot]) for slot in slots})
        placed = Placed(param.data, device, array, slots, tuple(state[slot] for slot in slots))
        self._placed[position] = placed
        return placed, begins

    def _new_memory(self, device: str) -> DeviceMemory:
        launch = self._launch()
        if launch is None:
            raise AssertionError("[Optimizer] memory on a GPU without a kernel that reads it")
        memory = DeviceMemory(device, len(self.params), len(self._groups), launch)
        for index in range(len(self._groups)):
            self._write_group(memory, index)
        return memory

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
                    if value := self.first_value(slot):
                        state[slot].fill(value)
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
                array[...] = loaded.get(slot, self.first_value(slot))
            loaded[slot] = array
        self._placed[position] = None
        self._counts[position] = steps
        if self._counted_on[position] != CPU:
            self._memory[self._counted_on[position]].set_count(position, steps)


def laid_out(array: Any) -> Any:
    """A gradient or a state as a kernel reads it, in C order."""
    return array if array.flags.c_contiguous else array.copy(order="C")
