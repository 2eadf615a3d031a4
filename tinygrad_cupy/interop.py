"""The bridge to PyTorch: functions of either side in graphs of the other, on the same memory.

Arrays and tensors change hands without a copy, and what one side computes runs on the stream that
the other is on. The derivative of a bridged function is a bridged function: gradients of any order
pass.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .autograd import Op, TensorBase
from .autograd.backward import grad_of
from .autograd.joint import joined
from .autograd.levels import Tracer
from .autograd.mode import mode, set_grad_enabled
from .backend import Array, array_module, import_cupy, is_cuda, strides_of
from .backend.capture import active
from .backend.dtypes import is_bfloat16, is_float, resolve_dtype
from .pytree import Leaf, flatten, rebuild
from .tensor import Tensor

__all__ = ["from_torch", "to_torch"]


@functools.cache
def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise RuntimeError(
            f"[interop] the bridge needs PyTorch, which cannot be imported ({error}): install torch"
        ) from error
    return torch


# --- arrays and tensors -------------------------------------------------------------------------


def _array_of(tensor: Any) -> Array:
    """The memory of a torch tensor as an array, which keeps the tensor."""
    torch = _torch()
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        raise TypeError(f"[interop] expected a strided tensor, got {tensor.layout}")
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    dtype = _dtypes().get(tensor.dtype)
    if dtype is None:
        raise TypeError(f"[interop] expected a dtype that arrays have, got {tensor.dtype}")
    if tensor.is_cuda:  # as DLPack would, in a fifth of its time
        cuda, size = import_cupy().cuda, dtype.itemsize
        span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        count = size * span if tensor.numel() else 0
        memory = cuda.UnownedMemory(tensor.data_ptr(), count, tensor, tensor.device.index)
        strides = tuple(size * s for s in tensor.stride())
        shape, pointer = tuple(tensor.shape), cuda.MemoryPointer(memory, 0)
        return import_cupy().ndarray(shape, dtype, pointer, strides)
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(dtype)
    return tensor.numpy()


@functools.cache
def _dtypes() -> dict[Any, np.dtype[Any]]:
    """NumPy's dtypes by PyTorch's."""
    torch = _torch()
    names = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
    found = {getattr(torch, name): np.dtype(name) for name in names}
    return found | {torch.bfloat16: resolve_dtype("bfloat16")}


def _tensor_of(array: Array) -> Any:
    """The memory of an array as a torch tensor; a copy where PyTorch cannot have that memory."""
    torch = _torch()
    narrow, boolean = is_bfloat16(array.dtype), array.dtype == bool
    bits = array.view(np.int16) if narrow else array.view(np.uint8) if boolean else array
    if any(stride < 0 for stride in strides_of(bits)):
        bits = bits.copy()  # runs backwards
    if is_cuda(bits):
        tensor = torch.utils.dlpack.from_dlpack(bits.__dlpack__(stream=-1))  # the streams are one
    else:
        tensor = torch.from_numpy(bits if bits.flags.writeable else bits.copy())
    if narrow:
        return tensor.view(torch.bfloat16)
    return tensor.view(torch.bool) if boolean else tensor


ONE: Any = Leaf(0)  # the structure of a tensor alone


class _Plain(NamedTuple):
    """The structure of positional arguments that are all tensors."""

    arguments: int


def _rebuilt(structure: Any, leaves: Sequence[Any]) -> Any:
    """Arguments (args, kwargs), or a result, with these tensors."""
    if type(structure) is _Plain:
        return leaves, {}
    return leaves[0] if structure is ONE else rebuild(structure, leaves)


def _leaves(value: Any, what: str) -> tuple[Any, list[Any]]:
    """The structure of a value, and its torch tensors."""
    torch = _torch()
    if isinstance(value, torch.Tensor):
        return ONE, [value]
    found: list[Any] = []

    def take(one: Any) -> Any:
        if isinstance(one, torch.Tensor):
            found.append(one)
            return Tensor(np.zeros(()))
        if isinstance(one, list | tuple):
            parts = [take(x) for x in one]
            return type(one)._make(parts) if hasattr(one, "_make") else type(one)(parts)
        return {k: take(x) for k, x in one.items()} if isinstance(one, dict) else one

    try:
        return flatten(take(value), [], once=False), found
    except TypeError as error:
        raise TypeError(f"[interop] {what}: {error}") from None


_NOTHING = contextlib.nullcontext()


def _streams() -> tuple[int, int]:
    """The current streams of CuPy and of PyTorch, as addresses."""
    cupy, torch = import_cupy(), _torch()
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)  # in a tenth of the time
    device = torch.cuda.current_device()
    theirs = torch.cuda.current_stream().cuda_stream if raw is None else raw(device)
    return cupy.cuda.get_current_stream().ptr, theirs


def _on_stream_of(tensors: Sequence[Any]) -> contextlib.AbstractContextManager[Any]:
    """CuPy works on the current stream of PyTorch, where it is another."""
    if not any(t.is_cuda for t in tensors):
        return _NOTHING
    ours, theirs = _streams()
    return _NOTHING if ours == theirs else import_cupy().cuda.ExternalStream(theirs)


def _on_stream_of_cupy(arrays: Sequence[Array]) -> contextlib.AbstractContextManager[Any]:
    """PyTorch works on the current stream of CuPy, where it is another."""
    if not any(is_cuda(a) for a in arrays):
        return _NOTHING
    ours, theirs = _streams()
    if ours == theirs:
        return _NOTHING
    torch = _torch()
    return torch.cuda.stream(torch.cuda.ExternalStream(ours))  # type: ignore[no-any-return]


# --- ours, for PyTorch --------------------------------------------------------------------------


def to_torch(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch tensors that computes with ``fn``, a function of ours.

    fn:
        takes tensors of this package (in lists, tuples and dicts, beside anything else) and returns
        tensors likewise.

    Gradients of any order flow through it by ``torch.autograd``. Tensors that ``fn`` uses from
    outside are constants to PyTorch. TypeError for results that are no tensors; RuntimeError where
    PyTorch is not installed.

    >>> softplus = to_torch(lambda x: x.softplus())
    >>> softplus(torch.zeros(3, requires_grad=True)).sum().backward()
    """
    if not callable(fn):
        raise TypeError(f"[to_torch] expected a function, got {type(fn).__name__}")

    @functools.wraps(fn, updated=())
    def bridged(*args: Any, **kwargs: Any) -> Any:
        torch = _torch()
        structure: Any = _Plain(len(args))
        leaves = list(args)
        if kwargs or not all(isinstance(x, torch.Tensor) for x in args):
            structure, leaves = _leaves((args, kwargs), "the arguments")
        if torch.is_grad_enabled() and any(x.requires_grad for x in leaves):
            call = _Call(fn, structure)
            return call.value(_function().apply(call, *leaves))
        with _on_stream_of(leaves), set_grad_enabled(False):
            given = [Tensor(_array_of(x)) for x in leaves]
            call = _Call(fn, structure)
            return call.value([_tensor_of(y.data) for y in call.run(given)])

    return bridged


class _Call:
    """One call of a function of ours for PyTorch."""

    def __init__(self, fn: Callable[..., Any], structure: Any) -> None:
        self.fn, self.structure = fn, structure

    def run(self, given: Sequence[Tensor]) -> list[Any]:
        """The tensors of the result."""
        args, kwargs = _rebuilt(self.structure, given)
        found = self.fn(*args, **kwargs)
        if isinstance(found, TensorBase):
            self.result = ONE
            return [found]
        outputs: list[Any] = []
        self.result = flatten(found, outputs, once=False)
        for y in outputs:
            if not isinstance(y, TensorBase):
                raise TypeError(f"[to_torch] expected tensors as results, got {type(y).__name__}")
        return outputs

    def value(self, outputs: Any) -> Any:
        """The result with torch tensors in it."""
        return _rebuilt(self.result, outputs)

    def gradients(self, *given: Any) -> list[Any]:
        """Of leaves and, behind them, gradients of the results: the gradients of the leaves."""
        count = self.count
        with set_grad_enabled(True):
            ends = [
                x if x.requires_grad or not is_float(x.dtype) else _leaf(x) for x in given[:count]
            ]
            outputs = self.run(ends)
        pairs = [(y, u) for y, u in zip(outputs, given[count:], strict=True) if y.requires_grad]
        sought = [x for x in ends if x.requires_grad]
        found = iter(
            grad_of(
                [y for y, _ in pairs], sought, [u for _, u in pairs], mode.recording,
                allow_unused=True,
            )
        )  # fmt: skip
        made = [next(found) if x.requires_grad else None for x in ends]
        return [x._zeros() if g is None else g for x, g in zip(ends, made, strict=True)]

    count = 0


def _leaf(x: Tensor) -> Tensor:
    leaf = x.detach()
    leaf.requires_grad = True
    return leaf


@functools.cache
def _function() -> Any:
    """The ``torch.autograd.Function``, once PyTorch is imported."""
    torch = _torch()

    base: Any = torch.autograd.Function

    class Ours(base):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, call: _Call, *leaves: Any) -> Any:
            call.count = len(leaves)
            ctx.call = call
            ctx.save_for_backward(*leaves)
            with _on_stream_of(leaves), set_grad_enabled(True):
                given = []
                for x, need in zip(leaves, ctx.needs_input_grad[1:], strict=True):
                    tensor = Tensor(_array_of(x))
                    tensor.requires_grad = bool(need) and is_float(tensor.dtype)
                    given.append(tensor)
                outputs = call.run(given)
            ctx.given, ctx.outputs = given, outputs
            made = [_tensor_of(y.data) for y in outputs]
            made = [t.view_as(t) if any(t is x for x in leaves) else t for t in made]
            fixed = [t for t, y in zip(made, outputs, strict=True) if not y.requires_grad]
            ctx.mark_non_differentiable(*fixed)
            return tuple(made)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            leaves = ctx.saved_tensors  # PyTorch says here when one was written in place
            seeds = [
                torch.zeros(y.shape, dtype=_dtype_of(y), device=leaves[0].device)
                if g is None
                else g
                for g, y in zip(grads, ctx.outputs, strict=True)
            ]
            if torch.is_grad_enabled():  # a graph of the gradients is wanted
                found = to_torch(ctx.call.gradients)(*leaves, *seeds)
            else:
                found = _backward_of_ours(ctx, seeds)
            needs = ctx.needs_input_grad[1:]
            return (None, *[g if need else None for g, need in zip(found, needs, strict=True)])

    return Ours


def _dtype_of(y: Any) -> Any:
    return getattr(_torch(), str(y.dtype))


def _backward_of_ours(ctx: Any, grads: Sequence[Any]) -> list[Any]:
    with _on_stream_of(grads), set_grad_enabled(False):
        pairs = [
            (y, Tensor(_array_of(g)))
            for y, g in zip(ctx.outputs, grads, strict=True)
            if y.requires_grad
        ]
        sought = [x for x in ctx.given if x.requires_grad]
        found: list[Any] = [None] * len(sought)
        if pairs:
            found = grad_of(
                [y for y, _ in pairs], sought, [u for _, u in pairs], retain_graph=True,
                allow_unused=True,
            )  # fmt: skip
        made = iter(found)
        by_leaf = [next(made) if x.requires_grad else None for x in ctx.given]
        return [None if g is None else _tensor_of(g.data) for g in by_leaf]


# --- PyTorch's, for us --------------------------------------------------------------------------


def from_torch(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of our tensors that computes with ``fn``, a function or module of PyTorch.

    fn:
        takes torch tensors (in lists, tuples and dicts, beside anything else) and returns torch
        tensors likewise.

    Gradients of any order flow to the arguments. Tensors of PyTorch that ``fn`` uses from outside,
    such as a module's parameters, get theirs in their own ``.grad``, as by ``loss.backward()`` in
    PyTorch (not where a graph of the gradients is made): an optimizer of PyTorch trains them.
    Inside of `jvp` and `vmap`, ``fn`` returns one tensor. RuntimeError inside of `jit`, whose
    memory PyTorch knows nothing of, and where PyTorch is not installed.

    >>> mish = from_torch(torch.nn.Mish())
    >>> mish(x).sum().backward()
    """
    if not callable(fn):
        raise TypeError(f"[from_torch] expected a function, got {type(fn).__name__}")

    @functools.wraps(fn, updated=())
    def bridged(*args: Any, **kwargs: Any) -> Any:
        if active.run is not None:
            active.run.refuse(
                "a function of PyTorch is called, whose memory a replay would not have",
                "call it outside of the function",
            )
        structure: Any = _Plain(len(args))
        given = list(args)
        if kwargs or not all(isinstance(x, TensorBase) for x in args):
            leaves: list[Any] = []
            structure = flatten((args, kwargs), leaves, once=False)
            given = [x if isinstance(x, TensorBase) else Tensor(x) for x in leaves]
        if not given:
            raise TypeError("[from_torch] expected at least one tensor among the arguments")
        call = _TorchCall(fn, structure, given)
        try:
            return Theirs(call).watch(*given)(*given)
        except _Several as several:
            outputs = several.outputs
        if mode.recording and any(t.requires_grad for t in call.outputs):
            outputs = call.in_graph(outputs)
        return _rebuilt(call.result, outputs)

    return bridged


class _TorchCall:
    """One call of a function of PyTorch for us."""

    def __init__(self, fn: Callable[..., Any], structure: Any, given: list[Any]) -> None:
        self.fn, self.structure, self.given = fn, structure, given
        self.outputs: list[Any] = []
        self.leaves: list[Any] = []
        self.result: Any = None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The results as arrays; PyTorch's graph stays here."""
        torch = _torch()
        recording = mode.recording
        with _on_stream_of_cupy(arrays), torch.set_grad_enabled(recording):
            self.leaves = [_tensor_of(array) for array in arrays]
            if recording:
                for leaf, x in zip(self.leaves, self.given, strict=True):
                    if x.requires_grad and leaf.is_floating_point():
                        leaf.requires_grad_(True)
            args, kwargs = _rebuilt(self.structure, self.leaves)
            self.result, self.outputs = _leaves(self.fn(*args, **kwargs), "the results")
            if not self.outputs:
                raise TypeError("[from_torch] expected the function to return a tensor, got none")
            return [_array_of(t) for t in self.outputs]

    def in_graph(self, outputs: list[Any]) -> list[Any]:
        """The results as those of the arguments."""
        inputs = [x for x in self.given if x.requires_grad]
        if not inputs:  # a module's parameters alone want gradients
            inputs = [_anchor(self.given[0])]
        moving = [k for k, t in enumerate(self.outputs) if t.requires_grad]
        made = joined(inputs, [outputs[k] for k in moving], self._rule(inputs, moving), self.given)
        for k, y in zip(moving, made, strict=True):
            outputs[k] = y
        return outputs

    def _rule(self, inputs: list[Any], moving: list[int]) -> Callable[[list[Any]], list[Any]]:
        def rule(gradients: list[Any]) -> list[Any]:
            pairs = [(k, g) for k, g in zip(moving, gradients, strict=True) if g is not None]
            if not pairs:
                return [None] * len(inputs)
            by_given = self.gradients([k for k, _ in pairs], [g for _, g in pairs])
            found = [g for x, g in zip(self.given, by_given, strict=True) if x.requires_grad]
            return found if found else [None] * len(inputs)

        return rule

    def gradients(self, which: list[int], by_output: list[Any]) -> list[Any]:
        """The gradients of the arguments, from those of some results."""
        if mode.recording or any(isinstance(g, Tracer) for g in by_output):
            return self._differentiable(which, by_output)
        torch = _torch()
        pairs = [
            (k, g) for k, g in zip(which, by_output, strict=True) if self.outputs[k].requires_grad
        ]
        if not pairs:  # constants
            return [x._zeros() if x.requires_grad else None for x in self.given]
        which = [k for k, _ in pairs]
        arrays = [g.data for _, g in pairs]
        with _on_stream_of_cupy(arrays):
            torch.autograd.backward(
                [self.outputs[k] for k in which], [_tensor_of(a) for a in arrays], retain_graph=True
            )
            found = [leaf.grad for leaf in self.leaves]
            for leaf in self.leaves:
                leaf.grad = None
            return [
                None if not x.requires_grad else x._zeros() if g is None else Tensor(_array_of(g))
                for x, g in zip(self.given, found, strict=True)
            ]

    def _differentiable(self, which: list[int], by_output: list[Any]) -> list[Any]:
        """The same as a function of PyTorch of arguments and gradients."""
        moving = [k for k, x in enumerate(self.given) if x.requires_grad]
        arguments = (*self.given, *by_output)
        if any(isinstance(x, Tracer) for x in arguments):  # where a function gives one tensor
            found = [from_torch(self._pull(which, [k]))(*arguments) for k in moving]
        else:
            pulled = from_torch(self._pull(which, moving))(*arguments)
            found = [pulled] if len(moving) == 1 else list(pulled)
        by_moving = iter(found)
        return [next(by_moving) if x.requires_grad else None for x in self.given]

    def _pull(self, which: list[int], sought: list[int]) -> Callable[..., Any]:
        """The gradients of some arguments as a function of PyTorch."""
        torch, count = _torch(), len(self.given)
        moving = [k for k, x in enumerate(self.given) if x.requires_grad]

        def pull(*tensors: Any) -> Any:
            leaves = list(tensors[:count])
            with torch.enable_grad():
                for k in moving:
                    if not leaves[k].requires_grad:
                        leaves[k] = leaves[k].detach().requires_grad_(True)
                args, kwargs = _rebuilt(self.structure, leaves)
                _, outputs = _leaves(self.fn(*args, **kwargs), "the results")
                wanted = [leaves[k] for k in sought]
                found = torch.autograd.grad(
                    [outputs[k] for k in which], wanted, list(tensors[count:]),
                    create_graph=True, allow_unused=True,
                )  # fmt: skip
            made = tuple(
                torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)
            )
            return made[0] if len(made) == 1 else made

        return pull


def _anchor(x: Any) -> Any:
    """A leaf for a graph that leads to PyTorch's own leaves alone."""
    return _leaf(x._wrap(array_module(x.data).zeros((), np.float32)))


class _Several(Exception):
    """A function of PyTorch gave several tensors, or none of the graph's kind."""

    def __init__(self, outputs: list[Any]) -> None:
        self.outputs = outputs


class Theirs(Op):
    """A function of PyTorch of one result."""

    constants = ("call",)

    def __init__(self, call: _TorchCall, traced: bool = False) -> None:
        self.call, self.traced = call, traced

    def __copy__(self) -> Theirs:
        return Theirs(_TorchCall(self.call.fn, self.call.structure, []), self.traced)

    def __call__(self, *inputs: Any) -> Tensor:
        self.call.given = list(inputs)
        self.traced = self.traced or any(isinstance(x, Tracer) for x in inputs)
        return super().__call__(*inputs)

    def forward(self, *arrays: Array) -> Array:
        call = self.call
        found = call.run(arrays)
        wanted = any(x.requires_grad for x in call.given)
        if call.result is ONE and (wanted or not call.outputs[0].requires_grad):
            return found[0]
        if self.traced:
            raise RuntimeError(
                "[from_torch] a function inside of a transform returns one tensor that depends on "
                f"its arguments, got {len(found)}"
            )
        raise _Several([Tensor(array) for array in found])

    def backward(self, grad: Any) -> tuple[Any, ...]:
        return tuple(self.call.gradients([0], [grad]))
