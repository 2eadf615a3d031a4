"""A captured run of a jitted function: its graph, and what a replay does before and after it."""

from __future__ import annotations

import weakref
from typing import Any

from ..autograd import TensorBase
from ..autograd.memory import writing_line
from ..backend import Array, array_module
from ..backend.cuda_graph import Pool, ReplayOrder
from ..backend.devices import copy
from ..pytree import TreeDef, rebuild
from .recording import Recording
from .result import Generation, JitResult


class Captured:
    """Made from a recording whose run was captured; the gradients that the run set are undone.

    ``inputs`` stand for the arguments, in the memory that the graph reads; ``results`` are the
    leaves of what the function returned, in the structure ``shape``.
    """

    def __init__(
        self,
        recording: Recording,
        pool: Pool,
        graph: Any,
        order: ReplayOrder,
        inputs: list[Any],
        shape: TreeDef,
        results: list[Any],
    ) -> None:
        self.pool, self.graph, self.order, self.shape = pool, graph, order, shape
        self.recording, self.name = recording, recording.name
        self.generation = Generation(recording.name)
        self.inputs = [array_of(x) for x in inputs]
        self.kept = recording.arrays  # memory of others that the graph uses
        tensors = {i: x for i, x in enumerate(inputs) if isinstance(x, TensorBase)}
        positions = {id(x): i for i, x in tensors.items()}
        self.written_inputs = [i for i, x in tensors.items() if recording.has_written(x)]
        self.results = [positions.get(id(x), _plain(x)) for x in results]

        # Where the graph expects the gradient that a leaf had before, and the one it leaves: of
        # leaves from outside, and of arguments by their position.
        self.entries: list[tuple[Any, Array]] = []
        self.grads: list[tuple[Any, Any]] = []
        self.input_entries: list[tuple[Any, Array]] = []
        self.input_grads: list[tuple[Any, Any]] = []
        for leaf_grad in recording.grads.values():
            leaf, entry, grad = leaf_grad.leaf, leaf_grad.entry, leaf_grad.leaf._grad
            whose: Any = positions.get(id(leaf))
            entries, grads = self.input_entries, self.input_grads
            if whose is None:
                whose, entries, grads = weakref.ref(leaf), self.entries, self.grads
            if entry is not None:
                entries.append((whose, entry.data))
            if entry is None or grad is not entry or recording.has_written(entry):
                grads.append((whose, None if grad is None else _plain(grad)))
        recording.forget_grads()
        self.copies = list(recording.copies.made.values())
        for each in self.copies:
            each.settle()

        # Whatever a replay writes, and others may hold, gets a new version.
        written = {
            id(version): (version, n)
            for version, n in recording.written.values()
            if version.made_in is not recording
        }
        left = [x for x in self.results if not isinstance(x, int)]
        left += [grad for _, grad in self.grads + self.input_grads if grad is not None]
        for x in left:
            if self._is_mine(x):
                written.setdefault(id(x._version), (x._version, 1))
        self.bumps = list(written.values())

    def _is_mine(self, tensor: Any) -> bool:
        return tensor._version.made_in is self.recording

    def replay(self, leaves: list[Any], call: int) -> Any:
        """Do it on these arguments, as the function's call of that number; what it returns."""
        self._refuse_aliases(leaves)
        with self.pool.device:
            self.order.take()
            for leaf, target in zip(leaves, self.inputs, strict=True):
                copy(array_of(leaf), target)
            for reference, target in self.entries:
                before = reference()._grad.data
                if before is not target:
                    copy(before, target)
            for position, target in self.input_entries:
                copy(leaves[position]._grad.data, target)
            for each in self.copies:
                each.refresh()
            self.graph.launch()
            for position in self.written_inputs:
                copy(self.inputs[position], array_of(leaves[position]))
        self.generation.call = call
        line = writing_line(2)
        for version, count in self.bumps:  # as `Version.wrote`, in less time
            version.count += count
            version._all = version.count, line
        for each in self.copies:
            each.replayed()
        for reference, grad in self.grads:
            leaf = reference()
            if leaf is not None:
                leaf._grad = None if grad is None else self._output(grad)
        for position in self.written_inputs:
            leaves[position].bump_version()
        for position, grad in self.input_grads:
            if grad is not None and self._is_mine(grad):
                grad = self._output(grad).clone()  # it may outlive many calls
            leaves[position]._grad = grad
        results = [leaves[x] if isinstance(x, int) else self._output(x) for x in self.results]
        return rebuild(self.shape, results)

    def _refuse_aliases(self, leaves: list[Any]) -> None:
        """No written argument may share memory with another: the graph has a copy of each."""
        for position in self.written_inputs:
            array = array_of(leaves[position])
            shares = array_module(array).may_share_memory
            if any(i != position and shares(array, array_of(x)) for i, x in enumerate(leaves)):
                raise RuntimeError(
                    f"[jit] an argument of {self.name} of shape {array.shape} is written in "
                    "place and shares memory with another argument, of which a capture has a copy: "
                    "pass one of them only, or a .clone()"
                )

    def _output(self, tensor: Any) -> Any:
        """For the caller: memory of this capture as a `JitResult`, other tensors as they are."""
        if not self._is_mine(tensor):
            return tensor
        return JitResult.around(tensor.data, tensor._version, self.generation)


def array_of(leaf: Any) -> Array:
    """The array of a tensor, or the array itself."""
    return leaf.data if isinstance(leaf, TensorBase) else leaf


def _plain(tensor: Any) -> Any:
    """The tensor without the graph that it came from, which would keep memory."""
    return tensor if tensor.is_leaf else tensor.detach()
