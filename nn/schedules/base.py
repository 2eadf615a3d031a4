"""What schedules share: how they are called, saved and loaded."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.state import host_array

Schedule = Callable[[int], float]


class LRSchedule:
    """Base of the schedules: a subclass keeps its arguments in attributes of their names.

    `rate(step)` is what it defines; calling it checks the step first. ValueError for arguments out
    of range, and for a step below 0.

    >>> class Halves(nn.schedules.LRSchedule):
    ...     def __init__(self, lr):
    ...         self.lr = lr
    ...     def rate(self, step):
    ...         return self.lr / 2**step
    >>> Halves(1.0)(2), sorted(Halves(1.0).state_dict())
    (0.25, ['kind', 'lr'])
    """

    unsaved: ClassVar[tuple[str, ...]] = ()  # arguments that are functions
    memory: ClassVar[tuple[str, ...]] = ()  # attributes beside the arguments that a state has

    def __call__(self, step: int) -> float:
        if not step >= 0:  # also where it is NaN
            raise ValueError(f"[{checks.name_of(self)}] expected a step of at least 0, got {step}")
        return self.rate(step)

    def rate(self, step: int) -> float:
        """The learning rate of a step of at least 0."""
        raise NotImplementedError(f"[{checks.name_of(self)}] defines no rate()")

    def observe(self, value: Any) -> None:
        """Told the loss, or what else is watched, after an epoch: `Plateau` follows it."""

    def _arguments(self) -> list[str]:
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return [name for name in names if name not in self.unsaved]

    def state_dict(self) -> dict[str, np.ndarray]:
        """The arguments by name, "kind" and strings in ASCII codes; of schedules in it
        "schedules.INDEX.NAME". A function (of `Lambda`) is left out."""
        result = {"kind": _codes(type(self).__name__)}
        for name in (*self._arguments(), *self.memory):
            value = getattr(self, name)
            if isinstance(value, LRSchedule):
                result |= {f"{name}.{key}": x for key, x in value.state_dict().items()}
            elif isinstance(value, str):
                result[name] = _codes(value)
            elif name == "schedules":
                for index, one in enumerate(value):
                    inner = of(self, one).state_dict()
                    result |= {f"{name}.{index}.{key}": x for key, x in inner.items()}
            else:
                result[name] = np.asarray(value)
        return result

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Be the schedule that gave `saved`, which was of the same kind.

        ValueError, and nothing is changed, for one of another kind or a damaged one.
        """
        found = self._read(saved)
        vars(self).clear()
        vars(self).update(vars(found))

    def _read(self, saved: Mapping[str, Any]) -> LRSchedule:
        """A new schedule of a state."""
        name = checks.name_of(self)
        if not isinstance(saved, Mapping):
            raise TypeError(
                f"[{name}] expected a state_dict, a mapping, got {type(saved).__name__}"
            )
        kind = _text(saved.get("kind"))
        if kind != type(self).__name__:
            raise ValueError(f"[{name}] expected the state of {type(self).__name__}, got {kind}")
        arguments: dict[str, Any] = {key: getattr(self, key) for key in self.unsaved}
        for key in self._arguments():
            own = getattr(self, key)
            if isinstance(own, LRSchedule):
                arguments[key] = own._read(below(saved, f"{key}."))
            elif key == "schedules":
                arguments[key] = [
                    of(self, one)._read(below(saved, f"{key}.{index}."))
                    for index, one in enumerate(own)
                ]
            else:
                arguments[key] = value_of(name, key, saved, isinstance(own, str))
        result = self._made(arguments)
        for key in self.memory:
            setattr(result, key, value_of(name, key, saved, False))
        return result

    def _made(self, arguments: dict[str, Any]) -> LRSchedule:
        return type(self)(**arguments)

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self._arguments()]
        return f"{type(self).__name__}({', '.join(shown)})"


def of(owner: LRSchedule, one: Any) -> LRSchedule:
    """A schedule that is part of another, or a TypeError."""
    if not isinstance(one, LRSchedule):
        raise TypeError(
            f"[{checks.name_of(owner)}] expected schedules of this module, which have a state, "
            f"got {type(one).__name__}: put a function into a Lambda"
        )
    return one


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).copy()


def _text(value: Any) -> str:
    codes = host_array(value)
    if codes is None or codes.dtype.kind not in "iu":
        return repr(value)
    return codes.astype(np.uint8).tobytes().decode("ascii", "replace")


def below(saved: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """What a state has behind a prefix."""
    return {key.removeprefix(prefix): x for key, x in saved.items() if key.startswith(prefix)}


def value_of(name: str, key: str, saved: Mapping[str, Any], is_text: bool) -> Any:
    """An argument as it was given: a number, several or a string."""
    array = host_array(saved[key]) if key in saved else None
    if array is None:
        raise ValueError(f"[{name}] the state has no {key}, or one that is no number")
    if is_text:
        return _text(array)
    return array.item() if array.ndim == 0 else array.tolist()


def milestones_of(schedule: LRSchedule, milestones: Sequence[int]) -> list[int]:
    """Steps of at least 0 in rising order, or a ValueError."""
    listed = [checks.integer(schedule, "milestones", one, least=0) for one in milestones]
    if listed != sorted(listed):
        raise ValueError(
            f"[{checks.name_of(schedule)}] milestones must rise, got {list(milestones)}"
        )
    return listed


def cosine(start: float, end: float, share: float) -> float:
    """A share of the way from start to end, along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def linear(start: float, end: float, share: float) -> float:
    """A share of the way from start to end, along a straight line."""
    return start + (end - start) * min(share, 1.0)
