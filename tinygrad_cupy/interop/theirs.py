"""Functions of PyTorch for us."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import Op, TensorBase
from ..autograd.backward import conjugated
from ..autograd.joint import joined
from ..autograd.levels import Tracer, as_leaf
from ..autograd.mode import mode
from ..backend import Array, array_module
from ..backend.capture import active
from ..tensor import Tensor
from .exchange import (
    ONE,
    Positional,
    array_of,
    import_torch,
    leaf_kinds,
    leaves_of,
    on_stream_of_cupy,
    rebuilt,
    tensor_of,
)


def from_torch(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of our tensors that computes with ``fn``, a function or module of PyTorch.

    fn:
        takes torch tensors (in lists, tuples and dicts, beside anything else) and returns torch
        tensors likewise.

    Gradients of any order flow to the arguments; ``fn`` itself runs once. Tensors of PyTorch that
    it uses from outside, such as a module's parameters, get theirs as in PyTorch: from
    ``.backward()``, added to their own ``.grad`` and without a graph; an optimizer of PyTorch
    trains them. `grad` leaves them alone.

    Inside of `jvp` and `vmap`, ``fn`` runs several times and must give the same each time, so may
    draw no random numbers. RuntimeError inside of `jit`, whose memory PyTorch knows nothing of, and
    where PyTorch is not installed.

    >>> softplus = tg.interop.from_torch(torch.nn.Softplus())
    >>> x = Tensor([0.0, 0.0, 0.0], requires_grad=True)
    >>> softplus(x).sum().backward()
    >>> x.grad
    Tensor([0.5, 0.5, 0.5])
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
        structure: Any = Positional(len(args))
        given: Sequence[Any] = args
        if kwargs or not all(isinstance(x, TensorBase) for x in args):
            structure, leaves = leaves_of((args, kwargs), leaf_kinds())
            given = [x if isinstance(x, TensorBase) else Tensor(x) for x in leaves]
        if not given:
            raise TypeError("[from_torch] expected at least one tensor among the arguments")
        call = Call(fn, structure, given)
        if active.level is not None and any(isinstance(x, Tracer) for x in given):
            return call.traced()
        try:
            return Theirs(call).watch(*given)(*given)
        except _Several as several:
            return rebuilt(call.result, call.in_graph(several.outputs))

    return bridged


class Call:
    """One call: the arguments and results as torch tensors, and PyTorch's graph between them."""

    result: Any  # the structure of the results

    def __init__(self, fn: Callable[..., Any], structure: Any, given: Sequence[Any]) -> None:
        self.fn, self.structure, self.given = fn, structure, given
        self.told: list[Any] = []  # the structure and number of results, for its copies as well
        self.leaves: list[Any] = []
        self.outputs: list[Any] = []
        self.seen: list[tuple[Any, int]] = []  # versions of our results, and their counts

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The results as arrays."""
        torch, recording = import_torch(), mode.recording
        with on_stream_of_cupy(arrays), torch.set_grad_enabled(recording):
            self.leaves = leaves = [tensor_of(array) for array in arrays]
            if recording:
                for leaf, x in zip(leaves, self.given, strict=True):
                    if x.requires_grad:
                        leaf.requires_grad_(True)
            args, kwargs = rebuilt(self.structure, leaves)
            self.result, self.outputs = leaves_of(self.fn(*args, **kwargs), torch.Tensor)
            self.told[:] = self.result, len(self.outputs)
            if not self.outputs:
                raise TypeError("[from_torch] expected the function to return a tensor, got none")
            for leaf, x in zip(leaves, self.given, strict=True):
                if leaf._version:  # the function wrote into it
                    x.bump_version()
            return [array_of(t) for t in self.outputs]

    def copy(self) -> Call:
        """The same of other arguments."""
        copied = Call(self.fn, self.structure, ())
        copied.told = self.told
        return copied

    def traced(self) -> Any:
        """The results inside of a transform: each by itself, which calls the function again."""
        given = self.given
        first = Theirs(self, 0)(*given)
        result, count = self.told
        rest = [Theirs(self.copy(), k)(*given) for k in range(1, count)]
        return rebuilt(result, [first, *rest])

    def share(self, outputs: Sequence[Any]) -> None:
        """Tell the results from now on: which are views of arguments, and how often written."""
        for t, y in zip(self.outputs, outputs, strict=True):
            base = t if t._base is None else t._base
            for leaf, x in zip(self.leaves, self.given, strict=True):
                if base is leaf or base is leaf._base:
                    y._version = x._version
        self.seen = [(y._version, y._version.count) for y in outputs]

    def in_graph(self, outputs: list[Any]) -> list[Any]:
        """The results as those of the arguments."""
        self.share(outputs)
        moving = [k for k, t in enumerate(self.outputs) if t.requires_grad]
        if not mode.recording or not moving:
            return outputs
        inputs = [x for x in self.given if x.requires_grad]

        def rule(grads: list[Any]) -> list[Any]:
            pairs = [(k, g) for k, g in zip(moving, grads, strict=True) if g is not None]
            found = self.gradients([k for k, _ in pairs], [g for _, g in pairs]) if pairs else []
            by_input = [g for x, g in zip(self.given, found, strict=False) if x.requires_grad]
            return by_input or [None] * len(inputs or "1")

        # Where a module's parameters alone want gradients, the graph ends in a leaf of no meaning.
        ends = inputs or [_anchor(self.given[0])]
        made = joined(ends, [outputs[k] for k in moving], rule, self.given)
        for k, y in zip(moving, made, strict=True):
            outputs[k] = y
        return outputs

    def gradients(self, which: list[int], by_output: list[Any]) -> list[Any]:
        """The gradients of the arguments, from those of some results, as our rules see them."""
        found = self._as_theirs(which, [conjugated(g) for g in by_output])
        return [conjugated(g) for g in found]

    def _as_theirs(self, which: list[int], by_output: list[Any]) -> list[Any]:
        if any(isinstance(x, Tracer) for x in (*self.given, *by_output)):
            return self._again(which, by_output)
        pairs = [(k, g) for k, g in zip(which, by_output, strict=True) if self._moves(k)]
        if not pairs:
            return [x._zeros() if x.requires_grad else None for x in self.given]
        which, by_output = [k for k, _ in pairs], [g for _, g in pairs]
        torch = import_torch()
        for t, (version, count) in zip(self.outputs, self.seen, strict=False):
            if version.count != count:
                torch.autograd.graph.increment_version(t)  # PyTorch raises where it needs it
        fills, recording = mode.rule is not None and mode.rule.fills, mode.recording
        with on_stream_of_cupy([g.data for g in by_output]):
            outputs = [self.outputs[k] for k in which]
            seeds = [tensor_of(g.data) for g in by_output]
            if recording:
                if fills:
                    self._fill(outputs, seeds)
                return self._differentiable(outputs, seeds, by_output)
            if fills:
                found = self._fill(outputs, seeds)
            else:
                found = self._gradients(outputs, seeds)
            return [
                None if not x.requires_grad else x._zeros() if g is None else Tensor(array_of(g))
                for x, g in zip(self.given, _apart(found, seeds), strict=True)
            ]

    def _moves(self, which: int) -> bool:
        return bool(self.outputs[which].requires_grad)

    def _fill(self, outputs: list[Any], seeds: list[Any]) -> list[Any]:
        """The gradients of the leaves; those of PyTorch's own are added to their ``.grad``."""
        import_torch().autograd.backward(outputs, seeds, retain_graph=True)
        found = [leaf.grad for leaf in self.leaves]
        for leaf in self.leaves:
            leaf.grad = None
        return found

    def _gradients(self, outputs: list[Any], seeds: list[Any], again: bool = False) -> list[Any]:
        """The gradients of the leaves alone."""
        sought = [leaf for leaf in self.leaves if leaf.requires_grad]
        if not sought:
            return [None] * len(self.leaves)
        found = iter(
            import_torch().autograd.grad(outputs, sought, seeds, True, again, allow_unused=True)
        )
        return [next(found) if leaf.requires_grad else None for leaf in self.leaves]

    def _differentiable(self, outputs: list[Any], seeds: list[Any], grads: list[Any]) -> list[Any]:
        """The same as results of arguments and gradients, from the graph that the call left."""
        for seed, g in zip(seeds, grads, strict=True):
            seed.requires_grad_(g.requires_grad)
        found = self._gradients(outputs, seeds, again=True)
        inner = Call(self.fn, None, [*self.given, *grads])
        inner.leaves = [*self.leaves, *seeds]
        inner.outputs = [g for g in found if g is not None]
        made = iter(inner.in_graph([Tensor(array_of(g)) for g in inner.outputs]))
        return [
            next(made) if g is not None else x._zeros() if x.requires_grad else None
            for x, g in zip(self.given, found, strict=True)
        ]

    def _again(self, which: list[int], by_output: list[Any]) -> list[Any]:
        """The same inside of transforms: by calling the function again, as one of ours."""
        moving = [k for k, x in enumerate(self.given) if x.requires_grad]
        arguments = (*self.given, *by_output)
        found = {k: from_torch(self._pull(which, k, moving))(*arguments) for k in moving}
        return [found.get(k) for k in range(len(self.given))]

    def _pull(self, which: list[int], sought: int, moving: list[int]) -> Callable[..., Any]:
        """The gradient of an argument as a function of PyTorch."""
        torch, count = import_torch(), len(self.given)

        def pull(*tensors: Any) -> Any:
            leaves = list(tensors[:count])
            with torch.enable_grad():
                for k in moving:
                    if not leaves[k].requires_grad:
                        leaves[k] = leaves[k].detach().requires_grad_(True)
                args, kwargs = rebuilt(self.structure, leaves)
                _, outputs = leaves_of(self.fn(*args, **kwargs), torch.Tensor)
                found = None
                if all(outputs[k].requires_grad for k in which):
                    (found,) = torch.autograd.grad(
                        [outputs[k] for k in which], [leaves[sought]], list(tensors[count:]),
                        create_graph=True, allow_unused=True,
                    )  # fmt: skip
            return torch.zeros_like(leaves[sought]) if found is None else found

        return pull


def _apart(found: list[Any], seeds: list[Any]) -> list[Any]:
    """Gradients that share memory with one before or with the seeds copied: ours are changed."""
    known = {seed.untyped_storage().data_ptr() for seed in seeds}
    made = []
    for g in found:
        if g is not None:
            place = g.untyped_storage().data_ptr()
            if place in known:
                g = g.clone()
            known.add(place)
        made.append(g)
    return made


def _anchor(x: Any) -> Any:
    return as_leaf(x._wrap(array_module(x.data).zeros((), np.float32)))


class _Several(Exception):
    """A function of PyTorch gave other than one tensor that wants a gradient where arguments do."""

    def __init__(self, outputs: list[Any]) -> None:
        self.outputs = outputs


class Theirs(Op):
    """One result of a function of PyTorch.

    ``which``: inside of a transform, the number of the result.
    """

    constants = ("call",)

    def __init__(self, call: Call, which: int | None = None) -> None:
        self.call, self.which = call, which

    def __copy__(self) -> Theirs:
        return Theirs(self.call.copy(), self.which)

    def __call__(self, *inputs: Any) -> Tensor:
        self.call.given = inputs
        result = super().__call__(*inputs)
        if self.which is None:
            self.call.share((result,))
        return result

    def forward(self, *arrays: Array) -> Array:
        call = self.call
        found = call.run(arrays)
        if self.which is not None:
            return found[self.which]
        wanted = mode.recording and any(x.requires_grad for x in call.given)
        if call.result is not ONE or call.outputs[0].requires_grad != wanted:
            raise _Several([Tensor(array) for array in found])
        return found[0]

    def backward(self, grad: Any) -> tuple[Any, ...]:
        return tuple(self.call.gradients([self.which or 0], [grad]))
