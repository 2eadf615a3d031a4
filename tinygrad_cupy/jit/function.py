"""`jit`: a function of tensors, such as a whole training step, as one launch of a CUDA graph.

The first call of a signature runs as it is and tells, by a `Recording`, what it depends on. The
second is captured; from then on a call copies its arguments into the captured inputs, launches the
graph, and redoes what the function did to Python objects: gradients set, versions bumped.
"""

from __future__ import annotations

import copy as copying
import functools
import sys
import threading
import types
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

import numpy as np

from .. import random
from ..autograd import TensorBase
from ..autograd.mode import is_grad_enabled
from ..backend import Array, array_module, default_device, import_cupy, on_device_of
from ..backend.blas import get_precision
from ..backend.capture import active
from ..backend.cuda_graph import CaptureError, Pool, Turn, copy, device_number
from ..pytree import Structure, flatten, rebuild
from ..tensor import Tensor
from .recording import FITS, OUTDATED, Guards, Recording, kind_of, place_of
from .replay import Captured, array_of

P = ParamSpec("P")
R = TypeVar("R")

MANY = 32  # ways of calling that a function remembers, and calls that nothing was captured for


@overload
def jit(function: Callable[P, R], *, steps: int = 1) -> Jitted[P, R]: ...
@overload
def jit(function: None = None, *, steps: int = 1) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...
def jit(function: Any = None, *, steps: int = 1) -> Any:
    """Run a function of tensors on a GPU as one captured CUDA graph; on the CPU, as it is.

    >>> @tg.jit
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = model(x).cross_entropy(y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss

    The first call with a signature runs eagerly, the second is captured, later ones replay. The
    signature is the shape, dtype, layout, device and ``requires_grad`` of every tensor or array
    among the arguments and the kind of gradient it has, the value of every other one, `no_grad`,
    the precision of products and the default device; each of the last 32 keeps device memory of
    its own. A model switched to ``eval()``, moved or unfrozen is noticed, and captured anew.

    Tensors that the function returns are outside of any graph, and their memory is written again
    by the next call: read them before, or keep ``.detach().clone()``; reading one later raises
    `RuntimeError`. Reading values on the host inside the function raises as well, and so does
    making tensors from host data: return them, and pass them. Python code of the function runs in
    the first two calls only, and the Python numbers it reads are fixed from then on.

    steps:
        K > 1 puts K calls into one launch. Every tensor among the arguments then has a leading
        axis of any length L, the function gets one slice after the other, and its results come
        back stacked along a new leading axis, in memory of their own. No gradient goes into an
        argument.
    """
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"[jit] expected steps as a whole number of at least 1, got {steps!r}")
    if function is None:
        return functools.partial(jit, steps=steps)
    if not callable(function):
        raise TypeError(f"[jit] expected a function, got {type(function).__name__}")
    return Jitted(function) if steps == 1 else _Stepped(function, int(steps))


class Jitted(Generic[P, R]):
    """A function under `jit`; call it like the function itself.

    ``memory_bytes`` is the device memory its captures hold; `forget` lets go of them.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.name = _name(function)
        self.calls = self._eager_calls = 0
        self._variants: dict[Hashable, list[_Variant]] = {}
        self._turns: dict[int, Turn] = {}  # by GPU
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
        return _by_name(self) or (Jitted, (self.function,))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if active.run is not None:  # inside another jitted function, which captures this one's work
            return self.function(*args, **kwargs)
        leaves: list[Any] = []
        structure = self._structure((args, kwargs), leaves, "arguments")
        device = _device(leaves, self.name)
        if device == "cpu":
            return self.function(*args, **kwargs)
        if device == "cpu beside cuda":
            recording = Recording(self.name, leaves, on_gpu=False)
            return cast(R, recording.run(self.function, *args, **kwargs))
        with self._lock:
            self.calls += 1
            signature = (structure, tuple([_signature(x) for x in leaves]), *_circumstances())
            variant = self._fitting(signature)
            result: R
            if variant is None:
                result = self._run_eagerly(signature, args, kwargs, leaves)
            else:
                captured = variant.captured or self._capture(variant, structure, leaves)
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

    def _structure(self, value: Any, leaves: list[Any], what: str) -> Structure:
        try:
            return flatten(value, leaves)
        except TypeError as error:
            raise TypeError(f"[jit] {what} of {self.name}: {error}") from None

    def _fitting(self, signature: Hashable) -> _Variant | None:
        """The variant that may stand for this call. Those that never may again are dropped."""
        variants = self._variants.get(signature, [])
        for variant in list(variants):
            verdict = variant.guards.judge()
            if verdict == FITS:
                variant.last_call = self.calls
                return variant
            if verdict == OUTDATED:
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
        detached = [x.detach() if x._node is not None else x for x in results]
        self._remember(signature, _Variant(recording.finish(), self.calls))
        return rebuild(structure, detached)

    def _capture(self, variant: _Variant, structure: Structure, leaves: list[Any]) -> Captured:
        device = max(map(device_number, (array_of(x) for x in leaves)), default=_default_number())
        _make_random_states(device)
        pool = Pool(device)
        arrays = [pool.like(array_of(x)) for x in leaves]
        recording = Recording(self.name, (), on_gpu=True, like=pool.like)
        recording.copied = {id(x._version) for x in leaves if isinstance(x, TensorBase)}
        inputs: list[Any] = []
        returned: list[Any] = []

        def body() -> None:
            try:
                active.run = recording
                inputs.extend(map(_input, leaves, arrays))
                recording.inputs = {id(x) for x in inputs if isinstance(x, TensorBase)}
                args, kwargs = rebuild(structure, inputs)
                returned.append(self.function(*args, **kwargs))
            finally:
                active.run = None

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
        turn = self._turns.setdefault(device, Turn())
        captured = Captured(recording, pool, graph, turn, inputs, shape, results)
        left = [version for version, _ in captured.bumps]
        left += [x._version for x in inputs if isinstance(x, TensorBase)]
        for collection in (inputs, results):  # and the graphs that lead to them
            collection.clear()
        variant.guards = recording.finish(left)
        variant.captured = captured
        return captured


@dataclass(eq=False)
class _Variant:
    """One way that a call of some signature may go; captured at its second time."""

    guards: Guards
    last_call: int  # that it stood for
    captured: Captured | None = None


class _Stepped:
    """`jit(steps=K)`: K slices per launch; what remains runs one slice per launch."""

    def __init__(self, function: Callable[..., Any], steps: int) -> None:
        self.function, self.steps, self.name = function, steps, _name(function)
        self._many = Jitted(
            functools.update_wrapper(functools.partial(_slice_by_slice, function), function)
        )
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __copy__(self) -> _Stepped:
        return _Stepped(self.function, self.steps)

    def __deepcopy__(self, memo: Any) -> _Stepped:
        return _Stepped(copying.deepcopy(self.function, memo), self.steps)

    def __reduce__(self) -> Any:
        return _by_name(self) or (_Stepped, (self.function, self.steps))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves: list[Any] = []
        structure = self._many._structure((args, kwargs), leaves, "arguments")
        length = _length(leaves, self.name)
        _refuse_grads(leaves, self.name)
        if active.run is not None or _device(leaves, self.name) != "cuda":
            return self._many(*args, **kwargs)
        stacked: list[Array] = []
        start = 0
        while start < length:
            count = self.steps if length - start >= self.steps else 1
            rows = slice(start, start + count)
            block_args, block_kwargs = rebuild(structure, [x[rows] for x in leaves])
            results: list[Any] = []
            shape = flatten(self._many(*block_args, **block_kwargs), results)
            if not stacked:
                stacked = [_stack_for(x.data[0], length) for x in results]
            for x, stack in zip(results, stacked, strict=True):
                with on_device_of(stack):
                    copy(x.data, stack[rows])
            start += count
        return rebuild(shape, [Tensor._wrap(stack) for stack in stacked])

    @property
    def memory_bytes(self) -> int:
        """Device memory that the captures hold."""
        return self._many.memory_bytes

    def forget(self) -> None:
        """Drop all captures, and their memory as far as no result uses it."""
        self._many.forget()


def _by_name(jitted: Any) -> str | None:
    """The name by which pickle finds a decorated function in its module again, if it does."""
    found: Any = sys.modules.get(str(getattr(jitted, "__module__", "")))
    for part in str(getattr(jitted, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
    return str(jitted.__qualname__) if found is jitted else None


def _slice_by_slice(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The function on every slice, its results stacked."""
    name = _name(function)
    leaves: list[Any] = []
    structure = flatten((args, kwargs), leaves)
    stacked: list[Array] = []
    expected: Structure | None = None
    length = _length(leaves, name)
    for i in range(length):
        slice_args, slice_kwargs = rebuild(structure, [x[i] for x in leaves])
        results: list[Any] = []
        shape = flatten(function(*slice_args, **slice_kwargs), results)
        if not all(isinstance(x, TensorBase) for x in results) or shape != (expected or shape):
            raise TypeError(
                f"[jit] {name} runs in steps: expected it to return tensors, of every slice alike"
            )
        if expected is None:
            expected, stacked = shape, [_stack_for(x.data, length) for x in results]
        for x, stack in zip(results, stacked, strict=True):
            with on_device_of(stack):
                stack[i] = x.data
    assert expected is not None
    return rebuild(expected, [Tensor._wrap(stack) for stack in stacked])


def _stack_for(array: Array, length: int) -> Array:
    """Memory for ``length`` arrays like this one, on its device."""
    with on_device_of(array):
        return array_module(array).empty((length, *array.shape), array.dtype)


def _length(leaves: list[Any], name: str) -> int:
    lengths = {x.shape[0] if x.shape else 0 for x in leaves}
    length = int(lengths.pop()) if len(lengths) == 1 else 0
    if length == 0:
        raise ValueError(
            f"[jit] {name} runs in steps: expected tensors with the same leading axis, got shapes "
            f"{[tuple(x.shape) for x in leaves]}"
        )
    return length


def _refuse_grads(leaves: list[Any], name: str) -> None:
    for x in leaves:
        if isinstance(x, TensorBase) and x.requires_grad and is_grad_enabled():
            raise RuntimeError(
                f"[jit] {name} runs in steps: expected arguments without requires_grad, got one of "
                f"shape {x.shape}, of which each step has a slice that sends no gradient on: pass "
                "its .detach(), or let the function use it from outside"
            )


# --- arguments and results ------------------------------------------------------------------------


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _default_number() -> int:
    return int(default_device().partition(":")[2] or -1)


def _device(leaves: list[Any], name: str) -> str:
    """Where a call runs: "cuda", "cpu", or "cpu beside cuda" when it must not go to the GPU."""
    numbers = {device_number(array_of(x)) for x in leaves} or {_default_number()}
    if len(numbers) > 1:
        places = " and ".join("cpu" if n < 0 else f"cuda:{n}" for n in sorted(numbers))
        raise ValueError(
            f"[jit] expected the arguments of {name} on one device, got {places}; move one with "
            ".to(device)"
        )
    if numbers != {-1}:
        return "cuda"
    return "cpu" if default_device() == "cpu" else "cpu beside cuda"


def _make_random_states(device: int) -> None:
    """Have the streams' states on a GPU before a capture needs one, and would zero it each time."""
    with import_cupy().cuda.Device(device):
        for stream in (random.STREAM_WEIGHTS, random.STREAM_SHUFFLES, random.STREAM_DROPOUT):
            random.generator.state(stream, f"cuda:{device}")


def _signature(leaf: Any) -> Hashable:
    array = array_of(leaf)
    layout = None if array.flags.c_contiguous else array.strides
    facts = (array.shape, array.dtype, device_number(array), layout)
    if not isinstance(leaf, TensorBase):
        return facts
    if leaf._node is not None and is_grad_enabled():
        raise RuntimeError(
            f"[jit] an argument of shape {leaf.shape} is part of a graph, which a captured "
            "function cannot send its gradient on to: pass its .detach()"
        )
    return (*facts, leaf.requires_grad, kind_of(leaf._grad))


def _circumstances() -> tuple[Hashable, ...]:
    return is_grad_enabled(), get_precision(), default_device()


def _input(leaf: Any, array: Array) -> Any:
    """What the captured function gets in place of an argument."""
    if not isinstance(leaf, TensorBase):
        return array
    tensor = Tensor._wrap(array)
    tensor.requires_grad = leaf.requires_grad and leaf._node is None
    tensor._grad = leaf._grad  # the recording puts a copy in its place when it is read
    return tensor


def _check_result(x: Any, name: str) -> None:
    if not isinstance(x, TensorBase):
        raise TypeError(f"[jit] {name} returns an array; return a Tensor, which knows when it ages")
    if isinstance(x.data, np.ndarray):
        raise RuntimeError(
            f"[jit] {name} returns a tensor on the CPU, which a replay would not compute again"
        )
