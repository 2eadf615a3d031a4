"""What optimizers share: state and step counts, where these are, how they are saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.autograd.mode import enable_grad
from tinygrad_cupy.backend.capture import active, observe, rewrites
from tinygrad_cupy.backend.ranks import ranks
from tinygrad_cupy.nn import checks
from tinygrad_cupy.tensor import Tensor

from .checks import check_grad, on_cpu, parameter_list
from .cuda import DeviceMemory, Launch, Row, prepare
from .groups import Grouped, Parameters, split
from .placement import CPU, Placed, Stored, laid_out
from .state import State, read_state
from .torch_state import from_torch, is_from_torch, to_torch

# Position, group, parameter, gradient's array, where a kernel finds them and that kernel (None:
# `update` does it), and whether the state begins here.
_Stepping = tuple[int, int, Tensor, Any, Placed | None, Launch | None, bool]


class Optimizer(Grouped):
    """Base of the optimizers.

    A subclass names its state arrays (`slots`: zeros like the parameter at first) and its
    `hyperparameters`, turns the step count into what the update needs (`coefficients`) and writes
    one parameter (`update`). Parameters without a gradient, and frozen ones, are left alone and
    their step count stands still.

    Hyperparameters are attributes that may be set at any time; `check` refuses what they cannot
    be, with a ValueError that names it. A schedule sets `lr` before each step, also to 0. `flags`
    are switches, off by default: with `maximize` steps go along the gradient, not against it.

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

    >>> class Signs(nn.optim.Optimizer):
    ...     def update(self, param, grad, state, coefficients):
    ...         param -= self.lr * np.sign(grad)
    >>> p = nn.Parameter([1.0, -3.0])
    >>> optimizer = Signs([p], lr=0.5)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach(), optimizer.steps
    (Tensor([ 0.5, -2.5]), [1])
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
    parallel: Any = None  # `distributed.DataParallel`, of several ranks

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
        self._placed: list[Placed | None] = [None] * len(self.params)
        # State arrays that are there and hold nothing yet, by position: whether the step count says
        # so as well (it is 0).
        self._blank: dict[int, bool] = {}
        self._groups: list[Stored] = []
        self._changes = 0  # of the list of groups
        self._own_values: dict[str, Any] = {}
        self._skip: Any = None  # see `step_unless`
        base = checks.positive(self, "lr", lr)
        for group in groups:
            self._append(group, base)
        self.lr = base
        if self.kernel is not None:
            prepare([param.data for param in self.params], self.kernel)

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

    def __getstate__(self) -> dict[str, Any]:
        count = len(self.params)
        here = {"_counts": self.steps, "_counted_on": [CPU] * count}
        kept = {name: value for name, value in vars(self).items() if name != "parallel"}
        return kept | here | {"_memory": {}, "_placed": [None] * count}

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

    def coefficients(self, step: int) -> tuple[float, ...]:
        """The numbers of one update that change from step to step, counted from 1; none here."""
        return ()

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        """Write the array `param` and the arrays in `state` in place."""
        raise NotImplementedError(f"[{checks.name_of(self)}] defines no update()")

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
        if ranks.parallel:
            ranks.before_reading(self.params)
        if len(self._groups) == 1 and not self._changes:
            observe(self, *self.structure)
        else:
            observe(self, "_structure")
        rows: dict[tuple[str, Launch, bool], list[Row]] = {}
        copies: list[Placed] = []
        for position, group, param, grad, placed, launch, begins in self._checked():
            if placed is None or launch is None:
                self._step_one(position, group, param, grad, begins)
                param.bump_version()
                continue
            param.bump_version()
            narrow = None
            if placed.array is not param.data:
                placed.array[...] = param.data
                copies.append(placed)
            elif launch.narrowing is not None:
                narrow = rewrites(param)
            row = Row((placed.array, laid_out(grad), *placed.state), position, group, narrow)
            rows.setdefault((placed.device, launch, begins), []).append(row)
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
            yield position, group, param, array, placed, launch, begins

    def _gradient(self, position: int) -> Tensor | None:
        """What a parameter is stepped along; None leaves it alone."""
        param = self.params[position]
        grad = param.grad
        return grad if param.requires_grad else None

    def _step_one(self, position: int, group: int, param: Tensor, grad: Any, begins: bool) -> None:
        if self._groups[group].own:
            with self._as(group):
                self._update_one(position, param, grad, begins)
        else:
            self._update_one(position, param, grad, begins)

    def _update_one(self, position: int, param: Tensor, grad: Any, begins: bool) -> None:
        self._count_on(CPU, position)
        self._counts[position] += 1
        coefficients = self.coefficients(1 if begins else self._counts[position])
        self.update(
            param.data, -grad if self.maximize else grad, self.state[position], coefficients
        )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for param in self.params:
            param.zero_grad()

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

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)}" for name in self.hyperparameters)
        values += "".join(f", {name}=True" for name in self.flags if getattr(self, name))
        groups = f" in {len(self._groups)} groups" if len(self._groups) > 1 else ""
        return f"{checks.name_of(self)}({len(self.params)} parameters{groups}, {values})"
