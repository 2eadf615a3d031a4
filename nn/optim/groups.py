"""Parameter groups: hyperparameters that hold for some of the parameters.

An optimizer's attributes are what holds where a group says nothing. What a group says is its own:
setting the attribute leaves it, but for `lr`, whose groups keep their ratio to the optimizer's, so
that one schedule moves them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, cast

from tinygrad_cupy.backend.capture import active
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor

from .checks import parameter_list
from .placement import CPU, Placement, Stored

if TYPE_CHECKING:
    from .optimizer import Optimizer

Parameters = Iterable[Tensor] | Iterable[Mapping[str, Any]]

PAIRS = {"betas": ("beta1", "beta2")}  # one name in a group for two hyperparameters


class ParamGroup(MutableMapping[str, Any]):
    """One of an optimizer's `param_groups`: "params", "name" if it was given one, hyperparameters.

    Reading gives what holds for these parameters; setting makes it the group's own (with a single
    group, the optimizer's). "betas" stands for both.

    >>> model = nn.Linear(3, 1)
    >>> groups = [{"params": model.weight}, {"params": model.bias, "lr": 0.5}]
    >>> optimizer = nn.optim.SGD(groups, lr=0.1)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.5]
    >>> optimizer.lr = 0.2  # the others keep their ratio
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.2, 1.0]
    """

    def __init__(self, optimizer: Optimizer, index: int) -> None:
        self._optimizer, self._index = optimizer, index

    @property
    def _stored(self) -> Stored:
        return self._optimizer._groups[self._index]

    def __getitem__(self, name: str) -> Any:
        optimizer, stored = self._optimizer, self._stored
        if name == "params":
            return [optimizer.params[position] for position in stored.positions]
        if name == "name" and stored.name is not None:
            return stored.name
        if name in PAIRS and hasattr(optimizer, name):
            return tuple(self[one] for one in PAIRS[name])
        if name not in optimizer._names():
            raise KeyError(name)
        return stored.value(name, getattr(optimizer, name))

    def __setitem__(self, name: str, value: Any) -> None:
        optimizer = self._optimizer
        if name in ("params", "name"):
            raise ValueError(
                f"[{checks.name_of(optimizer)}] {name} of a group cannot be set: add_param_group "
                "adds parameters"
            )
        optimizer._set_in_group(self._index, read_own(optimizer, {name: value}))

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"[{checks.name_of(self._optimizer)}] a group's {name} cannot be removed")

    def __iter__(self) -> Iterator[str]:
        yield "params"
        if self._stored.name is not None:
            yield "name"
        yield from self._optimizer._names()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        shown = {name: value for name, value in self.items() if name != "params"}
        return f"ParamGroup({len(self._stored.positions)} parameters, {shown})"


def split(owner: Optimizer, params: Parameters) -> tuple[list[Any], list[dict[str, Any]], bool]:
    """The parameters of all groups, in one list, what each group says, and whether any was given.

    What a group says has its "params", as a list.
    """
    name = checks.name_of(owner)
    if isinstance(params, Tensor):
        raise TypeError(f"[{name}] expected an iterable of Tensors, got one Tensor: pass [tensor]")
    if isinstance(params, Mapping):
        raise TypeError(f"[{name}] expected a list of parameter groups, got one: pass [group]")
    listed: list[Any] = list(params)
    if not any(isinstance(item, Mapping) for item in listed):
        return listed, [{"params": listed}], False
    groups, every = [], []
    for index, item in enumerate(listed):
        if not isinstance(item, Mapping) or "params" not in item:
            raise TypeError(
                f"[{name}] expected parameter groups, dicts with params, got "
                f"{type(item).__name__} at position {index}"
            )
        members = item["params"]
        group = dict(item) | {"params": [members] if isinstance(members, Tensor) else [*members]}
        if not group["params"]:
            raise ValueError(f"[{name}] parameter group {index} has no parameters")
        groups.append(group)
        every += group["params"]
    return every, groups, True


def read_own(optimizer: Optimizer, given: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that a group's dict says, checked one by one."""
    name = checks.name_of(optimizer)
    found: dict[str, Any] = {}
    known = optimizer._names()
    for key, value in given.items():
        if key in ("params", "name"):
            continue
        pair = PAIRS.get(key, ())
        if pair and set(pair) <= set(known):
            if not isinstance(value, list | tuple) or len(value) != len(pair):
                raise ValueError(f"[{name}] {key} must be two numbers, got {value!r}")
            found |= {one: optimizer.check(one, x) for one, x in zip(pair, value, strict=True)}
        elif key in known:
            found[key] = optimizer.check(key, value)
        else:
            raise ValueError(
                f"[{name}] a parameter group has no {key!r}: expected some of params, name, "
                f"{', '.join(known)}"
            )
    return found


class Grouped(Placement):
    """What an `Optimizer` does with groups."""

    lr: float

    def _check_params(self, first: int) -> None:
        for position, param in enumerate(self.params[first:], start=first):
            if not param.is_leaf:
                raise ValueError(
                    f"[{checks.name_of(self)}] parameter {position} was computed from other "
                    "tensors, and never gets a .grad: give what it was computed from"
                )

    def _append(self, group: Mapping[str, Any], lr: float) -> None:
        """One more group, of the parameters behind those of the others."""
        own = read_own(cast("Optimizer", self), group)
        if "lr" in own:
            own["lr"] = (checks.positive(self, "lr", own["lr"]), lr)
        start = self._groups[-1].positions.stop if self._groups else 0
        positions = range(start, start + len(group["params"]))
        self._groups.append(Stored(positions, own, group.get("name")))

    def _refuse_in_run(self, name: str) -> None:
        if active.run is not None:
            active.run.refuse(
                f"{name} of {type(self).__name__} is set, which every replay would set again",
                "set it before the call",
            )

    @property
    def param_groups(self) -> list[ParamGroup]:
        """The parameter groups, each a mapping of "params" and of hyperparameters, to read and set.

        Without groups given there is one, whose hyperparameters are the optimizer's attributes.
        """
        return [ParamGroup(cast("Optimizer", self), index) for index in range(len(self._groups))]

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Step more parameters, a dict of "params" and of hyperparameters of their own.

        Not inside a captured step; what was captured before is captured anew.
        """
        self._refuse_in_run("its list of parameter groups")
        added, groups, _ = split(cast("Optimizer", self), [group])
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

    def _set_in_group(self, index: int, own: dict[str, Any]) -> None:
        if len(self._groups) == 1:
            for name, value in own.items():
                setattr(self, name, value)
            return
        for name, value in own.items():
            self._refuse_in_run(f"{name} of a group")
            self._groups[index].own[name] = (value, self.lr) if name == "lr" else value
        self._write_numbers()


def no_decay(model: Module, **decayed: Any) -> list[dict[str, Any]]:
    """Two parameter groups: what weight decay is for, and biases, norm layers and 1-D parameters.

    The second has a `weight_decay` of 0. `decayed` are hyperparameters of the first.

    Without one of both kinds there is one group. Decay pulls weights towards 0; a scale of 1 and
    an offset have no reason to be there.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    >>> groups = nn.optim.no_decay(model)
    >>> [[p.shape for p in group["params"]] for group in groups]
    [[(8, 4)], [(8,), (8,), (8,)]]
    >>> optimizer = nn.optim.AdamW(groups, lr=1e-3, weight_decay=0.05)
    """
    if not isinstance(model, Module):
        raise TypeError(f"[no_decay] expected a Module, got {type(model).__name__}")
    kept = {
        id(param)
        for _, module in model.named_modules()
        if any("Norm" in kind.__name__ for kind in type(module).__mro__)
        for param in vars(module).values()
        if isinstance(param, Tensor)
    }
    weights: list[Tensor] = []
    others: list[Tensor] = []
    for name, param in model.named_parameters():
        is_bias = name.rpartition(".")[2].startswith("bias")
        (others if param.ndim < 2 or is_bias or id(param) in kept else weights).append(param)
    groups = [{"params": weights, **decayed}] if weights else []
    return groups + ([{"params": others, "weight_decay": 0.0}] if others else [])
