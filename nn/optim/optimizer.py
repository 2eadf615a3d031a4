"""What optimizers share: state and step counts, where these are, how they are saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.autograd.mode import enable_grad
from tinygrad_cupy.backend.capture import active, first_made, observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from .checks import check_grad, on_cpu, parameter_list, together
from .cuda import DeviceMemory, Launch, Row, launch_of, prepare
from .groups import Parameters, ParamGroup, Stored, read_own, split
from .state import State, read_state
from .torch_state import from_torch, is_from_torch, to_torch

CPU = "cpu"


class _Placed(NamedTuple):
    """A parameter's array as it was found, its device, and what a kernel there works on."""

    source: Any
    device: str
    array: Any  # `source`, or a copy of it in C order
    slots: tuple[str, ...]
    state: tuple[Any, ...]


class _Stepping(NamedTuple):
    """A parameter that is stepped."""

    position: int
    group: int
    param: Tensor
    grad: Any  # its array
    placed: _Placed | None  # where a kernel finds them; None: `update` does it
    launch: Launch | None  # that kernel
    begins: bool  # whether the state begins here


class Optimizer:
    """Base of the optimizers.

    A subclass names its state arrays (`slots`: zeros like the parameter at first) and its
    `hyperparameters`, turns the step count into what the update needs (`coefficients`) and writes
    one parameter (`update`). Parameters without a gradient, and frozen ones, are left alone and
    their step count stands still.

    Hyperparameters are attributes that may be set at any time; `check` refuses what they cannot
    be. A schedule sets `lr` before each step, also to 0. `flags` are switches, off by default:
    with `maximize` steps go along the gradient, not against it.

    `params` are Tensors, or parameter groups: dicts of "params" and of hyperparameters that hold
    for these alone (`param_groups`). The attributes hold where a group says nothing; when `lr` is
    set, the groups keep their ratio to it, so that one schedule moves all of them.

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
    flags: tuple[str, ...] = ("maximize",)
    structure: tuple[str, ...] = ("slots",)  # attributes that a captured step holds for
    kernel: str | Launch | None = (
        None  # None: `update` steps one parameter after the other there as well
    )
    kind: str = "Optimizer"  # whose state_dicts are taken; a class with a rule of its own has one

    lr: float
    maximize = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        nearer = takewhile(lambda base: "kernel" not in vars(base), cls.__mro__)  # mixins too
        if any({"update", "coefficients", "slots"} & set(vars(base)) for base in nearer):
            cls.kernel = None  # an inherited kernel would know nothing of these
        if {"update", "coefficients", "slots", "rule", "hyperparameters"} & set(
            own
        ) and "kind" not in own:
            cls.kind = cls.__name__

    def __init__(self, params: Parameters, lr: float) -> None:
        listed, groups, _ = split(self, params)
        self.params = parameter_list(self, listed)
        self._check_params(0)
        self.state: list[State] = [{} for _ in self.params]
        self._counts = [0] * len(self.params)
        self._counted_on = [CPU] * len(self.params)  # where a parameter's count is kept now
        self._memory: dict[str, DeviceMemory] = {}
        self._placed: list[_Placed | None] = [None] * len(self.params)
        # State arrays that are there and hold nothing yet, by position: whether the step count says
        # so as well (it is 0).
        self._blank: dict[int, bool] = {}
        self._groups: list[Stored] = []
        self._changes = 0  # of the list of groups
        self._skip: Any = None  # see `step_unless`
        base = checks.positive(self, "lr", lr)
        for group in groups:
            self._append(group, base)
        self.lr = base
        if self.kernel is not None:
            prepare([param.data for param in self.params], self.kernel)

    def _check_params(self, first: int) -> None:
        for position, param in enumerate(self.params[first:], start=first):
            if not param.is_leaf:
                raise ValueError(
                    f"[{checks.name_of(self)}] parameter {position} was computed from other "
                    "tensors, and never gets a .grad: give what it was computed from"
                )

    def _append(self, group: Mapping[str, Any], lr: float) -> None:
        """One more group, of the parameters behind those of the others."""
        own = read_own(self, group)
        if "lr" in own:
            own["lr"] = (checks.positive(self, "lr", own["lr"]), lr)
        start = self._groups[-1].positions.stop if self._groups else 0
        positions = range(start, start + len(group["params"]))
        self._groups.append(Stored(positions, own, group.get("name")))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.hyperparameters and name not in self.flags:
            super().__setattr__(name, value)
            return
        there = name in vars(self) or f"_{name}" in vars(self)
        if active.run is not None and there:
            self._refuse_in_run(name)
        if not there and len(self._groups) == 1 and name in self._groups[0].own:
            value = self._groups[0].own.pop(name)  # what a single group says is the optimizer's
            value = value[0] if name == "lr" else value
        super().__setattr__(name, self.check(name, value))
        self._write_numbers()

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
        if name in self.flags:
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"[{checks.name_of(self)}] {name} must be a bool, got {value!r}")
            return bool(value)
        return checks.number(self, name, value, least=0) if name == "lr" else value

    def slots_at(self, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The slots that a state with these hyperparameters must have, and those that it may."""
        return self.slots, ()

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

    def coefficients(self, step: int) -> tuple[float, ...]:
        """The numbers of one update that change from step to step, counted from 1; none here."""
        return ()

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        """Write the array `param` and the arrays in `state` in place."""
        raise NotImplementedError(f"[{checks.name_of(self)}] defines no update()")

    # --- groups ---------------------------------------------------------------------------------

    @property
    def param_groups(self) -> list[ParamGroup]:
        """The parameter groups, each a mapping of "params" and of hyperparameters, to read and set.

        Without groups given there is one, whose hyperparameters are the optimizer's attributes.
        """
        return [ParamGroup(self, index) for index in range(len(self._groups))]

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Step more parameters, a dict of "params" and of hyperparameters of their own.

        Not inside a captured step; what was captured before is captured anew.
        """
        self._refuse_in_run("its list of parameter groups")
        added, groups, _ = split(self, [group])
        self.params = parameter_list(self, [*self.params, *added])
        try:
            self._check_params(len(self.params) - len(added))
            self._append(groups[0], self.lr)
        except (TypeError, ValueError):
            del self.params[len(self.params) - len(added) :]
            raise
        counts = self.steps
        self.state += [{} for _ in added]
        self._counts = counts + [0] * len(added)
        self._counted_on = [CPU] * len(self.params)
        self._placed = [None] * len(self.params)
        self._memory = {}
        self._changes += 1

    def _names(self) -> tuple[str, ...]:
        """All that a group may have of its own."""
        return (*self.hyperparameters, *self.flags)

    def _set_in_group(self, index: int, own: dict[str, Any]) -> None:
        if len(self._groups) == 1:
            for name, value in own.items():
                setattr(self, name, value)
            return
        for name, value in own.items():
            self._refuse_in_run(f"{name} of a group")
            self._groups[index].own[name] = (value, self.lr) if name == "lr" else value
        self._write_numbers()

    @contextmanager
    def _as(self, index: int) -> Iterator[None]:
        """Have the hyperparameters of a group for attributes."""
        group = self._groups[index]
        before = {name: getattr(self, name) for name in group.own}
        try:
            for name, value in before.items():
                super().__setattr__(name, group.value(name, value))
            yield
        finally:
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

    # --- a step ---------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        `closure()`, if given, is called before and computes the loss and the gradients; what it
        returns is returned. ValueError, and nothing is changed, when a gradient is not of its
        parameter's shape, dtype and device, or a parameter has another shape or dtype than the
        state that it left behind.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if len(self._groups) == 1 and not self._changes:
            observe(self, *self.structure)
        else:
            observe(self, "_structure")
        rows: dict[tuple[str, Launch, bool], list[Row]] = {}
        copies: list[_Placed] = []
        for position, group, param, grad, placed, launch, begins in self._checked():
            if placed is None or launch is None:
                self._step_one(position, group, param, grad, begins)
            else:
                row = Row((placed.array, _laid_out(grad), *placed.state), position, group)
                rows.setdefault((placed.device, launch, begins), []).append(row)
                if placed.array is not param.data:
                    placed.array[...] = param.data
                    copies.append(placed)
            param.bump_version()
        for (device, launch, begins), listed in rows.items():
            memory = self._memory[device]
            groups = sorted({row.group for row in listed}) if begins else ()
            for group in groups:
                self._write_group(memory, group, first=True)
            memory.step(launch, listed, self._skip)
            for group in groups:
                self._write_group(memory, group)
        for placed in copies:
            placed.source[...] = placed.array
        return loss

    def step_unless(self, skip: Any) -> None:
        """`step()`, left out where `skip` is not 0: an integer, as an array of no axes.

        On a GPU where a kernel steps all parameters it is read there, and nothing waits; else here.
        """
        if backend.is_cuda(skip) and self.kernel is not None and self._all_on_gpu():
            self._skip = skip
            try:
                self.step()
            finally:
                self._skip = None
        elif not int(backend.to_numpy(skip)):
            self.step()

    def _all_on_gpu(self) -> bool:
        return all(backend.is_cuda(p.data) for p in self.params if p.grad is not None)

    def _checked(self) -> list[_Stepping]:
        """Those that have a gradient. Raises before anything is written."""
        found: list[_Stepping] = []
        for index, group in enumerate(self._groups):
            with self._as(index):
                found += self._checked_group(index, group.positions)
        return found

    def _checked_group(self, group: int, positions: range) -> Iterator[_Stepping]:
        launch, slots = self._launch(), self.slots
        for position in positions:
            param = self.params[position]
            grad = self._gradient(position)
            if grad is None:
                continue
            array, data = grad.data, param.data
            if array.shape != data.shape or array.dtype != data.dtype or not on_cpu(array, data):
                check_grad(self, position, data, array)
            placed, begins = None, False
            if launch is not None:
                placed, begins = self._place(position, param, slots)
            if placed is None:
                self._refuse_counting(param)
                begins = self._state_on(param, position, slots)
            yield _Stepping(position, group, param, array, placed, launch, begins)

    def _gradient(self, position: int) -> Tensor | None:
        """What a parameter is stepped along; None leaves it alone."""
        param = self.params[position]
        grad = param.grad
        return grad if param.requires_grad else None

    def _launch(self) -> Launch | None:
        """What steps the parameters on a GPU, or None: `update` does."""
        return None if self.kernel is None else launch_of(self.kernel)

    def _refuse_counting(self, param: Tensor) -> None:
        if active.run is not None and backend.is_cuda(param.data):
            active.run.refuse(
                f"{checks.name_of(self)} counts its steps on the host, where a replay would not",
                "call step() outside of the function",
            )

    def _step_one(self, position: int, group: int, param: Tensor, grad: Any, begins: bool) -> None:
        self._count_on(CPU, position)
        self._counts[position] += 1
        with self._as(group):
            coefficients = self.coefficients(1 if begins else self._counts[position])
            given = -grad if self.maximize else grad
            self.update(param.data, given, self.state[position], coefficients)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for param in self.params:
            param.zero_grad()

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
        state.update({slot: _laid_out(state[slot]) for slot in slots})
        placed = _Placed(param.data, device, array, slots, tuple(state[slot] for slot in slots))
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

    # --- saving and loading ---------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Host copies of everything that a later step depends on but the parameters.

        The hyperparameters by name, flags that are set, "kind" (the optimizer's, in ASCII codes),
        "steps" (one count per parameter) and "POSITION.SLOT" arrays, empty ones where a slot has
        not begun. Of several groups also "groups", how many parameters each has, and
        "group.INDEX.NAME", what is their own.
        """
        result = {name: np.asarray(getattr(self, name)) for name in self.hyperparameters}
        result |= {name: np.asarray(True) for name in self.flags if getattr(self, name)}
        result["kind"] = np.frombuffer(self.kind.encode(), np.uint8).copy()
        steps = self.steps
        result["steps"] = np.array(steps, np.int64)
        if len(self._groups) > 1:
            result["groups"] = np.array([len(group.positions) for group in self._groups])
            for index, group in enumerate(self._groups):
                for name, value in group.own.items():
                    result[f"group.{index}.{name}"] = np.asarray(value)
        for position, state in enumerate(self.state):
            if steps[position]:  # before its first step a state is zeros, or not there at all
                for slot in dict.fromkeys((*state, *self.slots)):
                    array = backend.to_numpy(state.get(slot, np.empty(0, np.float32)))
                    result[f"{position}.{slot}"] = np.array(array, order="C")
        return result

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue exactly where the optimizer that gave `saved` stood.

        `saved` may be the state_dict of PyTorch's optimizer of the same name, too.

        ValueError, and nothing is changed, when `saved` is another optimizer's, of other parameters
        or damaged. A state of before 0.2 has no "kind": Adam's and AdamW's are not told apart then.
        """
        if is_from_torch(saved):
            saved = from_torch(self, saved)
        steps, values, own, loaded = read_state(self, saved)
        self._refuse_in_run("every hyperparameter")
        for position, state in enumerate(loaded):
            self._set_state(position, state, steps[position])
        for name, value in values.items():
            super().__setattr__(name, value)  # they were checked together
        self._groups = [
            group._replace(own=said) for group, said in zip(self._groups, own, strict=True)
        ]
        self._write_numbers()

    # What `torch_state` asks: whether PyTorch's state counts steps, which of its entries have no
    # counterpart here, options of its groups that are none of the hyperparameters, and what it
    # keeps beside the slots at a step.
    torch_counts = True
    torch_left_out: tuple[str, ...] = ()

    def torch_options(self) -> dict[str, Any]:
        """Entries of PyTorch's groups that are no hyperparameters here."""
        return {}

    def torch_extra(self, step: int) -> dict[str, float]:
        """What PyTorch keeps beside the slots, at a step."""
        return {}

    def torch_state_dict(self) -> dict[str, Any]:
        """The state as PyTorch's optimizer of the same name loads it; needs PyTorch.

        Its tensors are copies on the CPU. What PyTorch has and this optimizer has not (`foreach`,
        `fused`, ...) is left out of the groups: PyTorch takes its defaults.
        """
        return to_torch(self)

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

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)}" for name in self.hyperparameters)
        values += "".join(f", {name}=True" for name in self.flags if getattr(self, name))
        groups = f" in {len(self._groups)} groups" if len(self._groups) > 1 else ""
        return f"{checks.name_of(self)}({len(self.params)} parameters{groups}, {values})"


def _laid_out(array: Any) -> Any:
    """A gradient or a state as a kernel reads it, in C order."""
    return array if array.flags.c_contiguous else array.copy(order="C")
