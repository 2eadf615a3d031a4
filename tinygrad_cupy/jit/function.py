"""`jit`: a function of tensors, such as a whole training step, as one launch of a CUDA graph.

The first call of a signature runs as it is and tells, by a `Recording`, what it depends on. The
second is captured; from then on a call copies its arguments into the captured inputs, launches the
graph, and redoes what the function did to Python objects: gradients set, versions bumped.
"""

from __future__ import annotations

import copy as copying
import functools
import threading
import types
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from ..autograd import TensorBase
from ..autograd.chains import Chains
from ..backend import Array
from ..backend.capture import active, launch_all, prepare
from ..backend.cuda_graph import CaptureError, Pool, ReplayOrder
from ..backend.devices import device_number
from ..backend.ranks import ranks
from ..pytree import TreeDef, flatten, rebuild
from ..tensor import Tensor
from .copies import Written
from .guards import Guards, Match
from .recording import Recording, place_of
from .replay import Captured, array_of
from .signature import (
    circumstances,
    default_number,
    name_of,
    name_to_pickle,
    place_of_call,
    signature_of,
)
from .uploads import Upload

P = ParamSpec("P")
R = TypeVar("R")

MANY = 32  # ways of calling that a function remembers, and calls that nothing was captured for


class Jitted(Generic[P, R]):
    """A function under `jit`; call it like the function itself.

    ``memory_bytes`` is the device memory its captures hold; `forget` lets go of them.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.name = name_of(function)
        self.calls = self._eager_calls = 0
        self._variants: dict[Hashable, list[_Variant]] = {}
        self._orders: dict[int, ReplayOrder] = {}  # by GPU
        self._lock = threading.RLock()
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __copy__(self) -> Jitted[P, R]:
        """The same function, nothing of it captured."""
        return Jitted(self.function)

    def __deepcopy__(self, memo: Any) -> Jitted[P, R]:
        """A copy of the function, nothing of it captured: a method of a copied object is its."""
        return Jitted(copying.deepcopy(self.function, memo))

    def __reduce__(self) -> Any:
        return name_to_pickle(self) or (Jitted, (self.function,))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if active.inside is not None:  # another jitted function or a transform, whose work it is
            return self.function(*args, **kwargs)
        leaves: list[Any] = []
        structure = self._structure((args, kwargs), leaves, "arguments")
        device = place_of_call(leaves, self.name)
        if device == "cpu":
            return self.function(*args, **kwargs)
        if device == "cpu beside cuda":
            recording = Recording(self.name, leaves, on_gpu=False)
            return cast(R, recording.run(self.function, *args, **kwargs))
        with self._lock:
            self.calls += 1
            signature = (structure, tuple([signature_of(x) for x in leaves]), *circumstances())
            variant = self._fitting(signature)
            result: R
            if variant is None:
                result = self._run_eagerly(signature, args, kwargs, leaves)
            else:
                captured = variant.captured or self._capture(variant, structure, leaves)
                if ranks.world is not None:  # may hold what ranks do together
                    ranks.world.client.begin(f"a replay of {self.name}")
                result = captured.replay(leaves, self.calls)
            return result

    @property
    def memory_bytes(self) -> int:
        """Device memory that the captures hold."""
        with self._lock:
            captures = [one.captured for listed in self._variants.values() for one in listed]
        return sum(captured.pool.total_bytes for captured in captures if captured)

    def forget(self) -> None:
        """Drop all captures, and their memory as far as no result uses it."""
        with self._lock:
            self._variants.clear()

    def _structure(self, value: Any, leaves: list[Any], what: str) -> TreeDef:
        try:
            return flatten(value, leaves)
        except TypeError as error:
            raise TypeError(f"[jit] {what} of {self.name}: {error}") from None

    def _fitting(self, signature: Hashable) -> _Variant | None:
        """The variant that may stand for this call. Those that never may again are dropped."""
        variants = self._variants.get(signature, [])
        for variant in list(variants):
            match = variant.guards.check()
            if match is Match.FITS:
                variant.last_call = self.calls
                return variant
            if match is Match.OUTDATED:
                variants.remove(variant)
        return None

    def _remember(self, signature: Hashable, variant: _Variant) -> None:
        """Note a new variant. Of MANY the one unused for longest goes, with all that it holds."""
        every = [(one, listed) for listed in self._variants.values() for one in listed]
        if len(every) >= MANY:
            oldest, listed = min(every, key=lambda pair: pair[0].last_call)
            listed.remove(oldest)
        self._variants = {key: listed for key, listed in self._variants.items() if listed}
        self._variants.setdefault(signature, []).append(variant)

    def _run_eagerly(self, signature: Hashable, args: Any, kwargs: Any, leaves: list[Any]) -> Any:
        self._eager_calls += 1
        if self._eager_calls == MANY:
            warnings.warn(
                f"[jit] {MANY} calls of {self.name} ran eagerly, for each was the first of its "
                "kind: pass numbers that change as tensors, and tensors that change as arguments",
                stacklevel=3,
            )
        recording = Recording(self.name, leaves, on_gpu=True)
        result = recording.run(self.function, *args, **kwargs)
        results: list[Any] = []
        structure = self._structure(result, results, "results")
        for x in results:
            _check_result(x, self.name)
        detached = [x if x.is_leaf else x.detach() for x in results]
        uploads, copies = recording.hosts, recording.copies.found()
        self._remember(signature, _Variant(recording.finish(), self.calls, uploads, copies))
        return rebuild(structure, detached)

    def _capture(self, variant: _Variant, structure: TreeDef, leaves: list[Any]) -> Captured:
        device = max(map(device_number, (array_of(x) for x in leaves)), default=default_number())
        prepare(device)
        pool = Pool(device)
        arrays = [pool.like(array_of(x)) for x in leaves]
        known = variant.uploads, variant.copies
        recording = Recording(self.name, (), True, pool.like, *known)
        recording.copied = {id(x._version) for x in leaves if isinstance(x, TensorBase)}
        inputs: list[Any] = []
        returned: list[Any] = []

        def body() -> None:
            try:
                active.begin(recording)
                active.chains = Chains()
                inputs.extend(map(_input, leaves, arrays))
                recording.inputs = {id(x) for x in inputs if isinstance(x, TensorBase)}
                args, kwargs = rebuild(structure, inputs)
                returned.append(self.function(*args, **kwargs))
                launch_all()
            finally:
                active.chains = None
                active.end()

        try:
            graph = pool.capture(body)
            results: list[Any] = []
            shape = self._structure(returned.pop(), results, "results")
            for x in results:
                _check_result(x, self.name)
        except CaptureError as error:
            recording.forget_grads()
            cause = error.__cause__ or error
            raise RuntimeError(
                f"[jit] {place_of(cause)}: {self.name} cannot be captured here ({cause}): read "
                "values outside of the function, compute with the operations of tinygrad_cupy, and "
                "make an array of host values outside and pass it as an argument"
            ) from cause
        except BaseException:
            recording.forget_grads()
            raise
        order = self._orders.setdefault(device, ReplayOrder())
        captured = Captured(recording, pool, graph, order, inputs, shape, results)
        left = [version for version, _ in captured.bumps]
        left += [x._version for x in inputs if isinstance(x, TensorBase)]
        for collection in (inputs, results):  # and the graphs that lead to them
            collection.clear()
        variant.guards = recording.finish(left)
        variant.captured, variant.uploads, variant.copies = captured, [], {}
        if ranks.world is not None:
            ranks.captured.add(self)
        return captured


@dataclass(eq=False)
class _Variant:
    """One way that a call of some signature may go; captured at its second time."""

    guards: Guards
    last_call: int  # that it stood for
    uploads: list[Upload]  # what the eager call brought from the host
    copies: dict[int, tuple[Any, Written]]  # and what it found of weights, see `copies`
    captured: Captured | None = None


def _input(leaf: Any, array: Array) -> Any:
    """What the captured function gets in place of an argument."""
    if not isinstance(leaf, TensorBase):
        return array
    tensor = Tensor._wrap(array)
    tensor.requires_grad = leaf.requires_grad and leaf.is_leaf
    tensor._grad = leaf._grad  # the recording puts a copy in its place when it is read
    return tensor


def _check_result(x: Any, name: str) -> None:
    if not isinstance(x, TensorBase):
        raise TypeError(f"[jit] {name} returns an array; return a Tensor, which knows when it ages")
    if isinstance(x.data, np.ndarray):
        raise RuntimeError(
            f"[jit] {name} returns a tensor on the CPU, which a replay would not compute again"
        )
