"""Operations of your own, from functions of arrays and from CUDA kernels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd import Op, TensorBase
from .autograd.array_rules import outside
from .autograd.backward import conjugated, transposed
from .autograd.fused import through_reference
from .autograd.levels import Tracer, as_leaf
from .autograd.mode import set_grad_enabled
from .backend import Array, array_module, import_cupy, is_cuda, may_share_memory
from .gradcheck import gradcheck
from .tensor import Tensor

Shape = tuple[int, ...]
THREADS = 256  # of a block, where a RawKernel is launched without a word about it

WAYS = (
    "give custom_op a jvp= or a reference=, both in tensor operations, or its backward in tensors "
    "(tensor_backward=)"
)


def custom_op(
    forward: Any = None,
    *,
    backward: Any = None,
    tensor_backward: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    elementwise: bool = False,
    strides: bool = False,
    out: Callable[..., tuple[Shape, Any]] | None = None,
    block: int = THREADS,
    name: str | None = None,
) -> Any:
    """Make an operation of a function of arrays or of a CUDA kernel; also as a decorator.

    forward:
        a function of NumPy or CuPy arrays (and numbers) that returns a new array; or a kernel of
        CuPy: an ``ElementwiseKernel``, or a ``RawKernel`` or ``cupyx.jit.rawkernel`` function,
        which is launched with one thread for each element of the result, in blocks of ``block``,
        on the arguments ``(*inputs, y, n)``: y is the result, n its size as a 64-bit integer.
    backward:
        ``backward(grad, y, *inputs)`` returns the gradients by the inputs, None where there is
        none: a function of arrays, or a kernel, which is launched likewise (a raw one on
        ``(grad, y, *inputs, *gradients, n)`` with a gradient for each array among the inputs).
        Without any backward the operation has no gradient, and asking for one raises.
    tensor_backward:
        the same as a function of tensors: what it gives can be differentiated again.
    jvp:
        ``jvp(y, inputs, tangents)`` returns the tangent of y, in tensor operations (which may be
        custom ones); tangents are tensors, zeros for an input that does not move.
    reference:
        the same operation in tensor operations, ``reference(*inputs)``.
    elementwise:
        an element of the result depends on the inputs' elements at its place alone, all inputs
        being of one shape. Forward mode and `vmap` then need nothing else.
    strides:
        the kernels take arrays that lie anyhow. Otherwise they get C-contiguous ones.
    out:
        ``out(*inputs)`` gives the shape and the dtype of a raw kernel's result; those of the first
        array when None.

    With a ``backward`` on arrays alone the first derivative is there, and anything beyond it
    (forward mode, a derivative of the gradient) raises ``RuntimeError`` and names what would help.
    The operation runs in `jit` as in eager code, if its kernels only launch work. Its result has a
    ``gradcheck(*inputs, order=2)`` method.

    >>> @tg.custom_op(backward=lambda grad, y, x: 3 * x * x * grad)
    ... def cube(x):
    ...     return x * x * x
    >>> x = Tensor([2.0], requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    Tensor([12.])
    """
    options: dict[str, Any] = {
        "backward": backward, "tensor_backward": tensor_backward, "jvp": jvp,
        "reference": reference, "elementwise": elementwise, "strides": strides, "out": out,
        "block": block, "name": name,
    }  # fmt: skip
    if forward is None:
        return functools.partial(custom_op, **options)
    return CustomOp(forward, **options)


class CustomOp:
    """An operation made by `custom_op`: call it on tensors, arrays and numbers."""

    def __init__(self, forward: Any, **options: Any) -> None:
        self.name = options["name"] or getattr(forward, "__name__", None) or "custom"
        if not callable(forward):
            raise TypeError(
                f"[custom_op] expected a function or a kernel, got {type(forward).__name__}"
            )
        if options["backward"] is not None and options["tensor_backward"] is not None:
            raise TypeError("[custom_op] expected one backward, on arrays or on tensors, got both")
        block = options["block"]
        if not isinstance(block, int | np.integer) or not 1 <= block <= 1024:
            raise ValueError(f"[custom_op] expected block from 1 to 1024, got {block!r}")
        self.out, self.block, self.takes_strides = options["out"], int(block), options["strides"]
        self.forward = self._on_arrays(forward, results=1)
        backward = options["backward"]
        self.backward = None if backward is None else self._on_arrays(backward, results=0)
        self.tensor_backward, self.jvp = options["tensor_backward"], options["jvp"]
        self.reference, self.elementwise = options["reference"], options["elementwise"]
        self._kinds: dict[int, type[_Custom]] = {}
        if inspect.isfunction(forward):
            functools.update_wrapper(self, forward)

    def __call__(self, *inputs: Any) -> Tensor:
        given = [self._input(x) for x in inputs]
        if not any(isinstance(x, TensorBase) for x in given):
            raise TypeError(f"[{self.name}] expected at least one tensor among its arguments")
        kind = self._kinds.get(len(given))
        if kind is None:
            kind = self._kinds[len(given)] = _kind_of(self, len(given))
        return kind()(*given)

    def gradcheck(self, *inputs: Tensor, order: int = 2, **options: Any) -> bool:
        """`tinygrad_cupy.gradcheck` of the operation at ``inputs``; ``order=1`` for one that has
        no second derivative."""
        return gradcheck(self, inputs, order=order, **options)

    def __repr__(self) -> str:
        return f"<custom operation {self.name}>"

    def _input(self, x: Any) -> Any:
        if isinstance(x, TensorBase | bool | int | float):
            return x
        if isinstance(x, np.ndarray) or is_cuda(x):
            return Tensor(x)
        if isinstance(x, np.generic):
            return x.item()
        raise TypeError(
            f"[{self.name}] expected tensors, arrays and numbers, got {type(x).__name__}"
        )

    # --- kernels --------------------------------------------------------------------------------

    def _on_arrays(self, kernel: Any, results: int) -> Callable[..., Any]:
        """A kernel of any kind as a function of arrays; ``results`` 0: one for each input array."""
        if type(kernel).__name__ not in ("RawKernel", "_JitRawKernel"):
            return kernel  # type: ignore[no-any-return]

        def launched(*arguments: Any) -> Any:
            if results:
                first = next(x for x in arguments if is_cuda(x))
                shape, dtype = self.out(*arguments) if self.out else (first.shape, first.dtype)
                made = [import_cupy().empty(shape, dtype)]
            else:  # (grad, y, *inputs)
                made = [import_cupy().empty(x.shape, x.dtype) for x in arguments[2:] if is_cuda(x)]
            count = made[0].size if results else arguments[1].size
            numbers = [x if is_cuda(x) else _as_number(x) for x in arguments]
            grid = (max(1, -(-count // self.block)),)
            kernel(grid, (self.block,), (*numbers, *made, np.int64(count)))
            if results:
                return made[0]
            found = iter(made)
            return tuple([next(found) if is_cuda(x) else None for x in arguments[2:]])

        return launched

    def arrays(self, values: Sequence[Any]) -> list[Any]:
        """Arguments as the kernels take them."""
        if self.takes_strides:
            return list(values)
        return [
            array_module(x).ascontiguousarray(x).reshape(x.shape)
            if (isinstance(x, np.ndarray) or is_cuda(x))
            else x
            for x in values
        ]


def _as_number(x: Any) -> Any:
    """A Python number as a kernel's argument: a 64-bit integer or a double."""
    return np.int64(x) if isinstance(x, int) else np.float64(x)


class _Custom(Op):
    """An operation made by `custom_op`; its class has as many inputs as the call."""

    spec: CustomOp
    constants = ("spec",)

    def forward(self, *inputs: Any) -> Array:
        found = self.spec.forward(*self.spec.arrays(inputs))
        first = next(x for x in inputs if isinstance(x, np.ndarray) or is_cuda(x))
        if not (isinstance(found, np.ndarray | np.generic) or is_cuda(found)):
            raise TypeError(
                f"[{self.spec.name}] expected forward to return an array, got "
                f"{type(found).__name__}"
            )
        if is_cuda(found) != is_cuda(first):
            raise TypeError(
                f"[{self.spec.name}] expected forward to return an array on the device of its "
                "inputs"
            )
        if any(hasattr(x, "dtype") and may_share_memory(found, x) for x in inputs):
            raise ValueError(
                f"[{self.spec.name}] expected forward to return a new array, got memory of an input"
            )
        return found

    def _run_backward(self, grad: Tensor, create_graph: bool) -> Any:
        spec = self.spec
        if spec.tensor_backward is not None:
            *inputs, y = self._read_saved(create_graph)
            found = spec.tensor_backward(conjugated(grad), y, *inputs)
            found = found if isinstance(found, tuple | list) else (found,)
            return [conjugated(g) if isinstance(g, TensorBase) else g for g in found]
        traced: Any = grad if isinstance(grad, Tracer) else None
        if (create_graph or traced is not None) and (spec.reference or spec.jvp):
            with set_grad_enabled(True):
                return self._by_tensors(grad)
        if spec.backward is None:
            raise RuntimeError(f"[{spec.name}] has no backward: {WAYS}")
        if traced is not None:
            return traced._level.rule(self, grad, create_graph)
        self._check_saved()
        *values, y = [value for value, *_ in self._saved or ()]
        found = spec.backward(*spec.arrays((conjugated(grad).data, y, *values)))
        found = found if isinstance(found, tuple | list) else (found,)
        made = [None if g is None else conjugated(grad._wrap(g)) for g in found]
        if not create_graph:
            return made
        text = (
            f"[{spec.name}] its backward works on arrays, so what it gives cannot be "
            f"differentiated again: {WAYS}"
        )
        sources = (*self.edges, grad._edge())
        return [None if g is None else outside(g, text, sources) for g in made]

    def _by_tensors(self, grad: Tensor) -> Sequence[Any]:
        """The gradients with their graph, from the reference or from the forward mode."""
        *inputs, y = self._read_saved(True)
        if self.spec.reference is not None:
            return through_reference(self.spec.reference, grad, inputs, self.needs)
        # Jᵀ u is the gradient by t of u · J t, which is linear in t.
        tangents = [
            as_leaf(x._zeros()) if need else None
            for x, need in zip(inputs, self.needs, strict=True)
        ]
        wanted = [t for t in tangents if t is not None]
        along = self.jvp(y, inputs, tangents)
        found = iter(transposed([along], wanted, [grad], create_graph=True, allow_unused=True))
        return [None if t is None else next(found) for t in tangents]


def _custom_jvp(self: _Custom, y: Any, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The tangent by the user's rule, with zeros where nothing moves."""
    moves = [
        t if t is not None or not isinstance(x, TensorBase) else x._zeros()
        for x, t in zip(inputs, tangents, strict=True)
    ]
    found = self.spec.jvp(y, tuple(inputs), tuple(moves))
    if not isinstance(found, TensorBase) or found.shape != y.shape:
        got = getattr(found, "shape", type(found).__name__)
        raise TypeError(f"[{self.spec.name}] expected jvp to give a tensor {y.shape}, got {got}")
    return found


def _kind_of(spec: CustomOp, count: int) -> type[_Custom]:
    """The class of the operation with that many inputs."""
    names = tuple([f"x{i}" for i in range(count)])

    def forward(self: _Custom, *inputs: Any) -> Array:
        return _Custom.forward(self, *inputs)

    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in ("self", *names)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    body: dict[str, Any] = {
        "forward": forward, "saves": (*names, "y"), "spec": spec, "__module__": __name__,
        "elementwise": spec.elementwise,
    }  # fmt: skip
    if spec.jvp is not None:
        body["jvp"] = _custom_jvp
    return type(spec.name, (_Custom,), body)
