"""A CPU that pretends to capture: what `jit` does around a CUDA graph, tested without a GPU.

A graph's launch is played by running the function once more on the captured inputs and copying what
it gives into the captured arrays. The capture itself does the work too, which a GPU would not: a
test names what the function changes (`StandInPool.owners`), and that is put back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import pytest

from tinygrad_cupy import Tensor, random
from tinygrad_cupy.autograd import TensorBase
from tinygrad_cupy.jit import function, recording, signature
from tinygrad_cupy.pytree import flatten, rebuild


class StandInGraph:
    """One captured run."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self.function = variables["self"].function
        self.structure, self.inputs = variables["structure"], list(variables["inputs"])
        self.results = [x.detach() for x in _leaves(variables["returned"][0])]  # no graph kept
        self.grads = [
            (grad.leaf, grad.entry, grad.leaf._grad)
            for grad in variables["recording"].grads.values()
        ]

    def launch(self) -> None:
        before = [leaf._grad for leaf, _, _ in self.grads]
        for leaf, entry, _ in self.grads:
            leaf._grad = None if entry is None else Tensor(entry.data.copy())
        args, kwargs = rebuild(self.structure, self.inputs)
        for new, old in zip(_leaves(self.function(*args, **kwargs)), self.results, strict=True):
            if not old.size or np.may_share_memory(old.data, new.data):
                continue  # a view of what the function was given shows it already
            np.copyto(_writeable(old.data), new.data)
        for leaf, _, left in self.grads:
            if left is not None and leaf._grad is not None:
                np.copyto(left.data, leaf._grad.data)
        for (leaf, _, _), grad in zip(self.grads, before, strict=True):
            leaf._grad = grad


def _writeable(array: np.ndarray) -> np.ndarray:
    """The same memory, which a launch writes whether NumPy guards it (a diagonal, say) or not."""
    if array.flags.writeable:
        return array
    low, high = np.lib.array_utils.byte_bounds(array)
    memory: Any = (ctypes.c_char * (high - low)).from_address(low)
    offset = array.ctypes.data - low
    return np.ndarray(array.shape, array.dtype, memory, offset, array.strides)


class StandInOrder:
    """There are no streams."""

    def take(self) -> None:
        pass


class StandInPool:
    """Memory without a device."""

    total_bytes = 1
    owners: ClassVar[list[Any]] = []  # models and optimizers that captured functions change

    def __init__(self, number: int) -> None:
        self.device = nullcontext()

    def like(self, array: Any, dtype: Any = None) -> Any:
        return np.empty_like(array, dtype)

    def capture(self, body: Callable[[], None]) -> StandInGraph:
        cells = zip(body.__code__.co_freevars, body.__closure__ or (), strict=True)
        variables = {name: cell.cell_contents for name, cell in cells}
        for x, array in zip(variables["leaves"], variables["arrays"], strict=True):
            np.copyto(array, x.data if isinstance(x, TensorBase) else x)
        states = [(owner, owner.state_dict()) for owner in self.owners]
        numbers = random.get_state()
        try:
            body()
        finally:
            for owner, state in states:
                owner.load_state_dict(state)
            random.set_state(numbers)
        return StandInGraph(variables)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `jit` take NumPy arrays for those of a GPU."""
    plain = recording.Recording

    def recording_without_device(
        name: str, arguments: Any, on_gpu: bool, *of_capture: Any
    ) -> recording.Recording:
        return plain(name, arguments, False, *of_capture)

    monkeypatch.setattr(function, "Pool", StandInPool)
    monkeypatch.setattr(function, "ReplayOrder", StandInOrder)
    monkeypatch.setattr(function, "Recording", recording_without_device)
    monkeypatch.setattr(function, "prepare", lambda device: None)
    for module in (function, signature):
        monkeypatch.setattr(module, "device_number", lambda array: 0)
        monkeypatch.setattr(module, "default_number", lambda: 0)
    monkeypatch.setattr(function, "_check_result", lambda result, name: None)
    monkeypatch.setattr(StandInPool, "owners", [])


def _leaves(value: Any) -> list[Any]:
    leaves: list[Any] = []
    flatten(value, leaves)
    return leaves
