"""Functions of ours for PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import TensorBase
from ..autograd.backward import grad_of
from ..autograd.memory import writing_line
from ..autograd.mode import set_grad_enabled
from ..backend.capture import active
from ..backend.dtypes import is_inexact
from ..tensor import Tensor
from .exchange import (
    ONE,
    Positional,
    apart,
    array_of,
    import_torch,
    leaf_kinds,
    leaves_of,
    on_stream_of_torch,
    rebuilt,
    tensor_of,
    viewing,
)


def to_torch(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch tensors that computes with ``fn``, a function of ours.

    fn:
        takes tensors of this package (in lists, tuples and dicts, beside anything else) and returns
        tensors likewise.

    Gradients of any order flow through it by ``torch.autograd``; ``fn`` itself runs once. Tensors
    that ``fn`` uses from outside are constants to PyTorch. Results that are views of arguments are
    views in PyTorch, too. TypeError for results that are no tensors; RuntimeError inside of `jit`,
    where a replay would find other memory, and where PyTorch is not installed.

    >>> softplus = tg.interop.to_torch(lambda x: x.softplus())
    >>> x = torch.zeros(3, requires_grad=True)
    >>> softplus(x).sum().backward()
    >>> x.grad
    tensor([0.5000, 0.5000, 0.5000])
    """
    if not callable(fn):
        raise TypeError(f"[to_torch] expected a function, got {type(fn).__name__}")

    @functools.wraps(fn, updated=())
    def bridged(*args: Any, **kwargs: Any) -> Any:
        torch = import_torch()
        if active.run is not None:
            active.run.refuse(
                "a tensor of PyTorch is used, whose memory may be elsewhere at a replay",
                "call a function for PyTorch outside of the jitted one",
            )
        structure: Any = Positional(len(args))
        leaves: Sequence[Any] = args
        if kwargs or not all(isinstance(x, torch.Tensor) for x in args):
            structure, leaves = leaves_of((args, kwargs), torch.Tensor)
        call = Call(fn, structure)
        if torch.is_grad_enabled() and any(x.requires_grad for x in leaves):
            made = _function().apply(call, *leaves)
        else:
            with on_stream_of_torch(leaves), set_grad_enabled(False):
                call.begin(leaves, (False,) * len(leaves))
                made = call.results(leaves)
        return rebuilt(call.result, made)

    return bridged


class Call:
    """One call: the arguments and results as tensors of ours, and our graph between them."""

    result: Any  # the structure of the results

    def __init__(self, fn: Callable[..., Any], structure: Any) -> None:
        self.fn, self.structure = fn, structure
        self.given: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def begin(self, leaves: Sequence[Any], needs: Sequence[bool]) -> None:
        """Run the function on torch tensors; ``needs`` says which of them want gradients."""
        self.given = [_leaf(x, need) for x, need in zip(leaves, needs, strict=True)]
        args, kwargs = rebuilt(self.structure, self.given)
        found: Any = self.fn(*args, **kwargs)
        if isinstance(found, Tensor):
            self.result, self.outputs = ONE, [found]
        else:
            self.result, self.outputs = leaves_of(found, leaf_kinds())
            for y in self.outputs or [found]:
                if not isinstance(y, TensorBase):
                    kind = type(y).__name__
                    raise TypeError(f"[to_torch] expected tensors as results, got {kind}")
        for leaf, x in zip(leaves, self.given, strict=True):
            if x._version.count:  # the function wrote into it
                import_torch().autograd.graph.increment_version(leaf)

    def results(self, leaves: Sequence[Any]) -> list[Any]:
        """The results as torch tensors."""
        versions = [x._version for x in self.given]
        made = []
        for y in self.outputs:
            if y._version in versions:
                k = versions.index(y._version)
                made.append(viewing(leaves[k], self.given[k].data, y.data))
            else:
                made.append(tensor_of(y.data))
        return made

    def gradients(self, grads: Sequence[Any], keep: bool) -> list[Any]:
        """Of the arguments, from those of the results, as torch tensors without a graph."""
        pairs = [
            (y, _leaf(g, False))
            for y, g in zip(self.outputs, grads, strict=True)
            if g is not None and y.requires_grad
        ]
        sought = [x for x in self.given if x.requires_grad]
        if not pairs or not sought:
            return [None] * len(self.given)
        seeds = [u for _, u in pairs]
        found = grad_of([y for y, _ in pairs], sought, seeds, retain_graph=keep, allow_unused=True)
        arrays = iter(
            apart([None if g is None else g.data for g in found], [u.data for u in seeds])
        )
        by_given = [next(arrays) if x.requires_grad else None for x in self.given]
        return [None if array is None else tensor_of(array) for array in by_given]


def _leaf(tensor: Any, need: bool) -> Tensor:
    found = Tensor(array_of(tensor))
    if need and is_inexact(found.data.dtype):
        found.requires_grad = True
    return found


class Gradients(Call):
    """The gradients of a `Call` as one of its arguments and of the gradients of its results."""

    def __init__(self, call: Call, wanted: Sequence[int]) -> None:
        super().__init__(call.fn, call.structure)
        self.call, self.wanted = call, wanted
        self.places: list[int] = []  # of the gradients that there are, among the arguments

    def begin(self, leaves: Sequence[Any], needs: Sequence[bool]) -> None:
        """From the graph that the call left; ``leaves`` are its own and, behind them, gradients."""
        given, count = self.call.given, len(self.call.given)
        seeds = [_leaf(g, need) for g, need in zip(leaves[count:], needs[count:], strict=True)]
        self.given = [*given, *seeds]
        sought = [k for k, x in enumerate(given) if x.requires_grad]
        found = grad_of(
            [self.call.outputs[k] for k in self.wanted], [given[k] for k in sought], seeds,
            create_graph=True, allow_unused=True,
        )  # fmt: skip
        self.places = [k for k, g in zip(sought, found, strict=True) if g is not None]
        self.outputs = [g for g in found if g is not None]


@functools.cache
def _function() -> Any:
    """The ``torch.autograd.Function``, once PyTorch is imported."""
    torch = import_torch()
    # Whether this backward pass leaves the graph for another; it does where PyTorch cannot tell.
    keeps = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)
    base: Any = torch.autograd.Function

    class Ours(base):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, call: Call, *leaves: Any) -> Any:
            ctx.set_materialize_grads(False)
            with on_stream_of_torch(leaves), set_grad_enabled(True):
                call.begin(leaves, ctx.needs_input_grad[1:])
                made = call.results(leaves)
            ctx.save_for_backward(*leaves)
            ctx.call = call
            fixed = [t for t, y in zip(made, call.outputs, strict=True) if not y.requires_grad]
            ctx.mark_non_differentiable(*fixed)
            # These share the results' memory and count of writes, but hold no graph.
            ctx.seen = [(t, t._version) for t in [t.detach() for t in made]]
            return tuple(made)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            call, leaves = ctx.call, ctx.saved_tensors  # raises where a leaf was written
            for y, (t, version) in zip(call.outputs, ctx.seen, strict=True):
                if t._version != version:
                    y._version.wrote(writing_line())  # our graph raises where it needs it
            if torch.is_grad_enabled():  # a graph of the gradients is wanted
                found = _differentiable(call, leaves, grads)
            else:
                keep = keeps()
                with on_stream_of_torch(leaves), set_grad_enabled(False):
                    found = call.gradients(grads, keep)
                if not keep:
                    ctx.call = ctx.seen = None
            needs = ctx.needs_input_grad[1:]
            return (None, *[g if need else None for g, need in zip(found, needs, strict=True)])

    return Ours


def _differentiable(call: Call, leaves: Sequence[Any], grads: Sequence[Any]) -> list[Any]:
    wanted = [
        k for k, (y, g) in enumerate(zip(call.outputs, grads, strict=True))
        if g is not None and y.requires_grad
    ]  # fmt: skip
    found: list[Any] = [None] * len(leaves)
    if wanted and any(x.requires_grad for x in call.given):
        inner = Gradients(call, wanted)
        made = _function().apply(inner, *leaves, *[grads[k] for k in wanted])
        for k, g in zip(inner.places, made, strict=True):
            found[k] = g
    return found
