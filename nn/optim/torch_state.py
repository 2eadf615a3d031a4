"""An optimizer's state in PyTorch's form, read and written: {"state": ..., "param_groups": ...}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.state import host_array

from .groups import PAIRS

if TYPE_CHECKING:
    from .optimizer import Optimizer


def is_from_torch(saved: Any) -> bool:
    """Whether a state is in the form of PyTorch."""
    return isinstance(saved, Mapping) and "param_groups" in saved and "state" in saved


def from_torch(optimizer: Optimizer, saved: Mapping[str, Any]) -> dict[str, Any]:
    """The state in this library's form; ValueError for one of other hyperparameters.

    Where PyTorch counts no steps (SGD, Muon), a parameter with a state counts as stepped once.
    PyTorch's groups have rates and nothing that they are relative to: of several groups, each is
    taken relative to the optimizer's `lr`, which stays.
    """
    groups = [_values(optimizer, group) for group in saved["param_groups"]]
    members = [list(group["params"]) for group in saved["param_groups"]]
    flat: dict[str, Any] = dict(groups[0]) if groups else {}
    flat["groups"] = np.array([len(listed) for listed in members])
    if len(groups) > 1:
        flat["lr"] = optimizer.lr
    for index, group in enumerate(groups if len(groups) > 1 else ()):
        for name, value in group.items():
            if name == "lr":
                flat[f"group.{index}.lr"] = np.array((value, optimizer.lr))
            elif value != groups[0].get(name):
                flat[f"group.{index}.{name}"] = np.asarray(value)
    steps = []
    known = {"step", *optimizer.torch_left_out}
    for position, identity in enumerate([one for listed in members for one in listed]):
        state = saved["state"].get(identity, {})
        slots = {k: x for k, x in state.items() if k not in known and x is not None}
        count = host_array(state.get("step", 1 if slots else 0))
        steps.append(np.nan if count is None else float(count))
        if steps[-1]:
            flat |= {f"{position}.{slot}": value for slot, value in slots.items()}
    flat["steps"] = steps
    return flat


def _values(optimizer: Optimizer, group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's hyperparameters under this library's names."""
    name = checks.name_of(optimizer)
    known = {*optimizer.hyperparameters, *optimizer.flags}
    found: dict[str, Any] = {}
    for key, value in group.items():
        if key in PAIRS and len(value) == len(PAIRS[key]):
            found |= {one: float(x) for one, x in zip(PAIRS[key], value, strict=True)}
        elif key in known:
            array = host_array(value)
            found[key] = value if array is None else array.item()
    for key, expected in optimizer.torch_options().items():
        if key in group and group[key] is not None and group[key] != expected:
            raise ValueError(
                f"[{name}] expected a state of {key} {expected}, got one of {group[key]}"
            )
    return {key: value for key, value in found.items() if key in known}


def to_torch(optimizer: Optimizer) -> dict[str, Any]:
    """The state in PyTorch's form, with tensors of PyTorch's on the CPU."""
    import torch  # only where it is asked for

    steps = optimizer.steps
    state: dict[int, dict[str, Any]] = {}
    groups = []
    for index, group in enumerate(optimizer._groups):
        with optimizer._as(index):
            groups.append(_group(optimizer, group.positions))
            for position in group.positions:
                if not steps[position]:
                    continue
                held = optimizer.state[position]
                slots = {slot: _tensor(torch, x) for slot, x in held.items()}
                count = torch.tensor(float(steps[position]))
                counted = {"step": count} if optimizer.torch_counts else {}
                extra = optimizer.torch_extra(steps[position])
                more = {name: torch.tensor(x) for name, x in extra.items()}
                state[position] = counted | slots | more
    return {"state": state, "param_groups": groups}


def _group(optimizer: Optimizer, positions: range) -> dict[str, Any]:
    names = (*optimizer.hyperparameters, *optimizer.flags)
    values = {name: getattr(optimizer, name) for name in names}
    for name, pair in PAIRS.items():
        if set(pair) <= values.keys():
            values[name] = tuple(values.pop(one) for one in pair)
    return {**values, **optimizer.torch_options(), "params": list(positions)}


def _tensor(torch: Any, array: Any) -> Any:
    host = np.array(backend.to_numpy(array), order="C")
    if host.dtype.name == "bfloat16":
        return torch.from_numpy(host.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(host)
