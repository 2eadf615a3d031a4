"""Reading an optimizer's saved state: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.state import describe, host_array
from tinygrad_cupy.tensor import Tensor

if TYPE_CHECKING:
    from .optimizer import Optimizer

State = dict[str, Any]


def read_state(
    optimizer: Optimizer, saved: Mapping[str, Any]
) -> tuple[list[int], dict[str, Any], list[dict[str, Any]], list[State]]:
    """The step counts, hyperparameters, groups' own ones and arrays (on their devices) of a state.

    ValueError when it is not one of such an optimizer with such parameters.
    """
    name, params = checks.name_of(optimizer), optimizer.params
    if not isinstance(saved, Mapping):
        raise TypeError(f"[{name}] expected a state_dict, a mapping, got {type(saved).__name__}")
    _check_kind(optimizer, saved)
    steps = _steps(name, saved.get("steps", ()))
    if len(steps) != len(params):
        raise ValueError(
            f"[{name}] expected the state of {len(params)} parameters, got {len(steps)}"
        )
    whole = all(hyper in saved for hyper in optimizer.hyperparameters)
    values, own = _hyperparameters(optimizer, saved) if whole else ({}, [])
    stepped = [position for position, count in enumerate(steps) if count]
    slots_of = _slots_of(optimizer, values, own)
    wanted = {f"{position}.{slot}" for position in stepped for slot in slots_of[position][0]}
    wanted |= {*optimizer.hyperparameters, "steps"}
    known = wanted | {"kind", "groups", *optimizer.flags}
    known |= {f"{position}.{slot}" for position in stepped for slot in slots_of[position][1]}
    known |= {f"group.{index}.{hyper}" for index, said in enumerate(own) for hyper in said}
    missing, unexpected = sorted(wanted - set(saved)), sorted(map(str, set(saved) - known))
    if missing or unexpected:
        raise ValueError(
            f"[{name}] the state does not fit: missing {', '.join(missing) or 'nothing'}; "
            f"unexpected {', '.join(unexpected) or 'nothing'}"
        )
    loaded: list[State] = [{} for _ in params]
    for position in stepped:
        for slot in dict.fromkeys((*slots_of[position][0], *slots_of[position][1])):
            key = f"{position}.{slot}"
            if (
                key in saved
                and (array := _array(name, key, saved[key], params[position])) is not None
            ):
                loaded[position][slot] = array
    return steps, values, own, loaded


def _slots_of(
    optimizer: Optimizer, values: Mapping[str, Any], own: list[dict[str, Any]]
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """For each parameter, the slots that its state must have and may have."""
    found = []
    for index, group in enumerate(optimizer._groups):
        said = own[index] if index < len(own) else {}
        found += [optimizer.slots_at({**values, **said})] * len(group.positions)
    return found


def _check_kind(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    if "kind" not in saved:
        return
    codes = host_array(saved["kind"])
    kind = repr(saved["kind"])
    if codes is not None and codes.dtype.kind in "iu":
        kind = codes.astype(np.uint8).tobytes().decode("ascii", "replace")
    if kind != optimizer.kind:
        raise ValueError(
            f"[{checks.name_of(optimizer)}] expected the state of {optimizer.kind}, got that of "
            f"{kind}"
        )


def _steps(name: str, value: Any) -> list[int]:
    counts = host_array(value)
    if (
        counts is None
        or counts.ndim > 1
        or not np.all((counts >= 0) & (counts == np.floor(counts)))
    ):
        raise ValueError(f"[{name}] steps: expected whole numbers of at least 0, got {value!r}")
    if np.any(counts >= 2**53):
        raise ValueError(f"[{name}] steps: expected counts below 2**53, got {value!r}")
    return [int(count) for count in counts.ravel()]


def _hyperparameters(
    optimizer: Optimizer, saved: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The values, checked one by one and together: on an optimizer that has nothing else.

    And what each group has of its own.
    """
    name = checks.name_of(optimizer)
    bare = object.__new__(type(optimizer))
    vars(bare).update(_memory={}, _groups=[])
    for hyper in optimizer.hyperparameters:
        setattr(bare, hyper, _one(name, hyper, saved[hyper]).item())
    for flag in optimizer.flags:
        setattr(bare, flag, bool(_one(name, flag, saved.get(flag, False))))
    counts = host_array(saved.get("groups", [len(optimizer.params)]))
    sizes = [len(group.positions) for group in optimizer._groups]
    if counts is None or counts.tolist() != sizes:
        raise ValueError(
            f"[{name}] expected the state of groups of {sizes} parameters, got "
            f"{describe(saved.get('groups')) if counts is None else counts.tolist()}"
        )
    own: list[dict[str, Any]] = [{} for _ in sizes]
    for index, said in enumerate(own):
        for hyper in (*optimizer.hyperparameters, *optimizer.flags):
            key = f"group.{index}.{hyper}"
            if key not in saved:
                continue
            count = 2 if hyper == "lr" else 1  # a rate and what it is relative to
            numbers = _one(name, key, saved[key], count).ravel().tolist()
            if hyper in optimizer.flags:
                numbers = [bool(number) for number in numbers]
            numbers = [bare.check(hyper, number) for number in numbers]
            said[hyper] = tuple(numbers) if hyper == "lr" else numbers[0]
    names = (*optimizer.hyperparameters, *optimizer.flags)
    return {hyper: getattr(bare, hyper) for hyper in names}, own


def _one(name: str, key: str, value: Any, count: int = 1) -> np.ndarray:
    array = host_array(value)
    if array is None or array.size != count:
        wanted = "one number" if count == 1 else f"{count} numbers"
        raise ValueError(f"[{name}] {key}: expected {wanted}, got {describe(value)}")
    return array


def _array(name: str, key: str, value: Any, param: Tensor) -> Any:
    """An array of a state on its parameter's device, or None for one that had not begun."""
    array = host_array(value, real=param.dtype.kind != "c")
    if array is not None and array.shape == (0,) != param.shape:
        return None
    if array is None or array.shape != param.shape:
        raise ValueError(f"[{name}] {key}: expected shape {param.shape}, got {describe(value)}")
    return backend.to_device(np.array(array, dtype=param.dtype, order="C"), param.device)
