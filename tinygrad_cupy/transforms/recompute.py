"""Memory for time: a function whose intermediate results are computed again on the way back."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import random
from ..autograd import TensorBase
from ..autograd.autocast import again
from ..autograd.backward import transposed
from ..autograd.fused import Alias
from ..autograd.joint import joined
from ..autograd.levels import Level, as_leaf
from ..autograd.mode import mode, set_grad_enabled
from ..autograd.views import as_it_is
from ..backend.capture import active
from ..backend.devices import copy
from ..backend.dtypes import is_inexact
from .tree import Tree, expect_function


def checkpoint(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``fn(*args, **kwargs)``, of which only the arguments are kept for the backward pass.

    That calls ``fn`` again, with the random numbers of the first call, and goes on from there: the
    same gradients, the same dropout masks, less memory, and the time of one more forward pass.
    Tensors that ``fn`` uses from outside, such as a layer's weights, get their gradients, too. What
    it writes in place (the statistics of a batch norm) is written once.

    Without arguments it returns a function, so that ``@checkpoint`` decorates one. ``fn`` must do
    the same at both calls; inside of `jvp` and `vmap` it is called as it is, and saves nothing.
    (Chen et al. 2016, "Training deep nets with sublinear memory cost".)

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> tg.checkpoint(lambda x: x.exp().log(), x).sum().backward()
    >>> x.grad
    Tensor([1., 1.])
    """
    expect_function("checkpoint", fn)
    if not args and not kwargs:
        return functools.wraps(fn, updated=())(functools.partial(checkpoint, fn))
    if not mode.recording or any(not isinstance(level, _Tape) for level in _levels()):
        return fn(*args, **kwargs)
    return _Run(fn, Tree((args, kwargs), "[checkpoint] the arguments")).result()


def _levels() -> Iterator[Level]:
    level = active.level
    while level is not None:
        yield level
        level = level.outer


class _Tape(Level):
    """Sees which tensors a function uses and writes."""

    name = "checkpoint"

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[int, TensorBase] = {}
        self.written: dict[int, TensorBase] = {}

    def uses(self, tensors: Sequence[TensorBase]) -> None:
        self.used.update({id(x): x for x in tensors if x.requires_grad})
        super().uses(tensors)

    def writes(self, tensor: TensorBase) -> None:
        if not self.has_made(tensor):
            self.written.setdefault(id(tensor._version), tensor)
        super().writes(tensor)


class _Again(Level):
    """The second call, which would give tensors from outside a graph that the first did not."""

    name = "checkpoint"

    def joins(self, tensor: TensorBase) -> None:
        if not self.has_made(tensor):
            raise RuntimeError(
                f"[checkpoint] the function writes into a tensor of shape {tensor.shape} from "
                "outside, with what wants a gradient: it is called again on the way back, so write "
                "into a .clone(), and return that"
            )
        super().joins(tensor)


def _as_it_is(x: TensorBase) -> TensorBase:
    """A result at its place in the graph: if the caller's is written, that may come of this."""
    return x if x.is_leaf else as_it_is(x)


class _Run:
    """A call, and what is needed to repeat it."""

    def __init__(self, fn: Callable[..., Any], arguments: Tree) -> None:
        self.fn, self.arguments = fn, arguments
        self.numbers, self.casts = random.snapshot(), again()
        tape = _Tape()
        with tape.entered(), set_grad_enabled(False):
            args, kwargs = arguments.with_leaves(arguments.leaves)
            self.outputs = Tree(fn(*args, **kwargs), "[checkpoint] the result")
        self.written = list(tape.written.values())
        given = {id(x): _as_it_is(x) for x in arguments.leaves}
        arguments.leaves = [given[id(x)] for x in arguments.leaves]
        self.wanted = [x for x in given.values() if x.requires_grad]
        self.outside = [x for x in tape.used.values() if id(x) not in given]

    def result(self) -> Any:
        """The result, in the graph."""
        outputs = self.outputs
        self.outputs = None  # type: ignore[assignment]  # they are the caller's
        inputs = [*self.wanted, *self.outside]
        if not inputs:
            return outputs.with_leaves(outputs.leaves)
        floats = [y for y in outputs.leaves if is_inexact(y.dtype)]
        watched = [*self.arguments.leaves, *self.outside]
        made = iter(joined(inputs, floats, self.gradients, watched))
        return outputs.with_leaves(
            [next(made) if is_inexact(y.dtype) else y for y in outputs.leaves]
        )

    def gradients(self, by_output: list[Any]) -> list[Any]:
        """The gradients of the inputs, from a second call; with its graph where that is wanted."""
        create_graph = mode.recording
        ends = {id(x): self._end(x, create_graph) for x in self.wanted}
        given = [ends.get(id(x), x) for x in self.arguments.leaves]
        with self.casts, self._as_before(), _Again().entered(), set_grad_enabled(True):
            args, kwargs = self.arguments.with_leaves(given)
            outputs = Tree(self.fn(*args, **kwargs), "[checkpoint] the result").leaves
        floats = [y for y in outputs if is_inexact(y.dtype)]
        pairs = [
            (y, u)
            for y, u in zip(floats, by_output, strict=True)
            if u is not None and y.requires_grad
        ]
        sought = [*ends.values(), *self.outside]
        if not pairs:
            return [None] * len(sought)
        return transposed(
            [y for y, _ in pairs], sought, [u for _, u in pairs], create_graph,
            allow_unused=True, through=False,
        )  # fmt: skip

    def _end(self, x: Any, create_graph: bool) -> Any:
        return Alias()(x) if create_graph else as_leaf(x)

    @contextlib.contextmanager
    def _as_before(self) -> Iterator[None]:
        """Inside of it random numbers are those of the first call; what is written is undone."""
        now = random.snapshot()
        kept = [(x, x.data.copy(), x._version.count) for x in self.written]
        try:
            random.restore(self.numbers)
            yield
        finally:
            random.restore(now)
            for x, values, count in kept:
                copy(values, x.data)
                x._version.rewind(count)
