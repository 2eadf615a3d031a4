"""Recurrent networks: the states that a sequence leaves, one step after the other.

Letters in shapes: T steps, N rows of the batch, H hidden features, G their gates, P what states
are projected to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import FusedOp, TensorBase
from ..autograd.fused import through_reference
from ..backend import Array, constant, device_of
from ..backend.capture import active
from .promotion import as_float, in_one_dtype, single
from .shape import stack

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class _Recurrent(FusedOp):
    """What all have: a direction, a batch along N where the weights are one for all."""

    only_real = True
    states = 1  # of these, behind the gates among the inputs
    kept: Array | None = None  # what the forward kept for the backward on arrays
    outputs = 0  # axes in front of (T, N, H)

    def __init__(self, reverse: bool) -> None:
        self.reverse = reverse

    def backward(self, grad: Tensor, *saved: Any) -> Any:
        return through_reference(self.reference, grad, saved[:-1], self.needs)

    def batch(self, b: BatchLevel, *inputs: Any) -> Any:
        gates, *states = inputs[: 1 + self.states]
        *weights, seen = inputs[1 + self.states :]
        if b.has(*weights):
            return b.one_by_one(lambda *given: self.again()(*given), inputs)
        joined = [b.join(gates, 1), *(b.join(h, 0) for h in states), *weights, b.join(seen, 1)]
        return b.split(self.again()(*joined), self.outputs + 1)


class Rnn(_Recurrent):
    """h ← tanh(gates + h @ weightᵀ), or max(·, 0), all steps: the states (T, N, H)."""

    saves = ("gates", "h", "weight", "seen", "y")

    def __init__(self, reverse: bool, relu: bool) -> None:
        self.reverse, self.relu = reverse, relu

    def forward(self, gates: Array, h: Array, weight: Array, seen: Array | None) -> Array:
        return kernels.recurrent.rnn(gates, h, weight, seen, self.relu, self.reverse)

    def reference(self, gates: Tensor, h: Tensor, weight: Tensor, seen: Any) -> Tensor:
        def step(t: int, h: Tensor) -> tuple[Tensor]:
            z = gates[t] + h @ weight.T
            return (z.relu() if self.relu else z.tanh(),)

        return stack(_run(step, gates.shape[0], self.reverse, seen, h)[0])

    def backward_arrays(self, grad: Array, *saved: Any) -> Any:
        how = (self.relu, self.reverse, self.needs[2])
        return (*kernels.recurrent.rnn_backward(grad, saved, *how), None)


class Lstm(_Recurrent):
    """c ← σ(f) c + σ(i) tanh(g), h ← σ(o) tanh(c), all steps: states and cells (2, T, N, H)."""

    saves = ("gates", "h", "c", "weight", "seen", "y")
    states = 2
    outputs = 1

    def forward(self, gates: Array, h: Array, c: Array, weight: Array, seen: Any) -> Array:
        y, self.kept = kernels.recurrent.lstm(gates, h, c, weight, seen, self.reverse)
        return y

    def reference(self, gates: Tensor, h: Tensor, c: Tensor, weight: Tensor, seen: Any) -> Tensor:
        found = lstm_steps(gates, h, c, weight, None, seen, self.reverse)
        return stack([stack(states) for states in found])

    def backward_arrays(self, grad: Array, *saved: Any) -> Any:
        how = (self.kept, self.reverse, self.needs[3])
        return (*kernels.recurrent.lstm_backward(grad, saved, *how), None)


class Gru(_Recurrent):
    """r = σ(·), z = σ(·), n = tanh(· + r ·), h ← n + z (h - n), all steps: the states (T, N, H)."""

    saves = ("gates", "h", "weight", "bias", "seen", "y")

    def forward(
        self, gates: Array, h: Array, weight: Array, bias: Array | None, seen: Array | None
    ) -> Array:
        y, self.kept = kernels.recurrent.gru(gates, h, weight, bias, seen, self.reverse)
        return y

    def reference(
        self, gates: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None, seen: Any
    ) -> Tensor:
        size = h.shape[1]

        def step(t: int, h: Tensor) -> tuple[Tensor]:
            own = h.linear(weight, bias)
            both = (gates[t][:, : 2 * size] + own[:, : 2 * size]).sigmoid()
            n = (gates[t][:, 2 * size :] + both[:, :size] * own[:, 2 * size :]).tanh()
            return (n + both[:, size:] * (h - n),)

        return stack(_run(step, gates.shape[0], self.reverse, seen, h)[0])

    def backward_arrays(self, grad: Array, *saved: Any) -> Any:
        how = (self.kept, self.reverse, self.needs[2])
        return (*kernels.recurrent.gru_backward(grad, saved, *how), None)


def _run(
    step: Callable[..., tuple[Tensor, ...]],
    steps: int,
    reverse: bool,
    seen: Tensor | None,
    *states: Tensor,
) -> list[list[Tensor]]:
    """Each state after each step, in the order of time."""
    found: list[list[Any]] = [[None] * steps for _ in states]
    for t in reversed(range(steps)) if reverse else range(steps):
        new: Sequence[Tensor] = step(t, *states)
        if seen is not None:
            new = [n.where(seen[t], old) for n, old in zip(new, states, strict=True)]
        states = tuple(new)
        for each, state in zip(found, states, strict=True):
            each[t] = state
    return found


def lstm_steps(
    gates: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    project: Tensor | None,
    seen: Any,
    reverse: bool,
) -> list[list[Tensor]]:
    """States and cells of an LSTM, step by step in tensor operations."""
    size = c.shape[1]

    def step(t: int, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z = gates[t] + h @ weight.T  # (N, 4 H)
        both = z[:, : 2 * size].sigmoid()
        c = both[:, size:] * c + both[:, :size] * z[:, 2 * size : 3 * size].tanh()
        h = z[:, 3 * size :].sigmoid() * c.tanh()
        return (h if project is None else h @ project.T), c

    return _run(step, gates.shape[0], reverse, seen, h, c)


# --- for layers ---------------------------------------------------------------------------------


def rnn(
    gates: Tensor,
    h: Tensor,
    weight: Tensor,
    seen: Tensor | None = None,
    relu: bool = False,
    reverse: bool = False,
) -> Tensor:
    """The states (T, N, H) of an Elman network (1990): h ← tanh(gates + h @ weightᵀ).

    gates (T, N, H):
        the input's part of all steps, with the biases.
    h (N, H), weight (H, H):
        the state before the first step, and what it is multiplied with.
    seen (T, N, 1):
        booleans: at which steps a row goes on. At the others its state stays as it is.
    relu, reverse:
        max(·, 0) instead of tanh; from the last step to the first.
    """
    inputs = in_one_dtype(as_float(gates), h, weight)
    return _in_single(Rnn(reverse, relu), _dtype(gates, *inputs), *inputs, seen)


def lstm(
    gates: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    seen: Tensor | None = None,
    reverse: bool = False,
    project: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The states (T, N, H) and cells (T, N, H) of a long short-term memory (Hochreiter 1997).

    The four parts of gates (T, N, 4 H), beside h @ weightᵀ, are PyTorch's i, f, g, o:
    c ← σ(f) c + σ(i) tanh(g), h ← σ(o) tanh(c). Arguments as of `rnn`; with ``project`` (P, H) the
    states are h @ projectᵀ, of size P (Sak et al. 2014), and weight is (4 H, P).
    """
    inputs = in_one_dtype(as_float(gates), h, c, weight)
    dtype = _dtype(gates, *inputs)
    if project is None:
        packed = _in_single(Lstm(reverse), dtype, *inputs, seen)
        return packed[0], packed[1]
    gates, h, c, weight = (single(x) for x in inputs)
    found = lstm_steps(gates, h, c, weight, project.astype(gates.dtype), seen, reverse)
    states, cells = (stack(each).astype(dtype) for each in found)
    return states, cells


def gru(
    gates: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seen: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """The states (T, N, H) of a gated recurrent unit (Cho et al. 2014), as cuDNN and PyTorch do it.

    The three parts of gates (T, N, 3 H) are r, z, n, those of h @ weightᵀ + bias (3 H,) theirs:
    h ← n + z (h - n) with r = σ(·), z = σ(·) of the sums and n = tanh(gates + r · own). Arguments
    as of `rnn`.
    """
    inputs = in_one_dtype(as_float(gates), h, weight)
    bias = None if bias is None else bias.astype(inputs[0].dtype)
    return _in_single(Gru(reverse), _dtype(gates, *inputs), *inputs, bias, seen)


def before(x: Tensor, lengths: Any) -> Tensor:
    """(T, N, 1), where x (T, N, …) is: whether a step comes before the sequence's end."""
    steps, rows = x.shape[:2]
    times = np.arange(steps).reshape(steps, 1, 1)
    if isinstance(lengths, TensorBase):
        of_x: Any = x._wrap(constant(times, device_of(x.data)))
        column: Any = lengths.detach()  # type: ignore[attr-defined]
        return of_x < column.reshape(1, rows, 1)  # type: ignore[no-any-return]
    seen = times < np.asarray(lengths).reshape(1, rows, 1)
    return x._wrap(constant(seen, device_of(x.data)))


def _dtype(gates: Tensor, *inputs: Tensor) -> Any:
    """That of the result: under `autocast` the weights of float32 do not widen the gates."""
    return inputs[0].dtype if active.cast is None else as_float(gates).dtype


def _in_single(op: _Recurrent, dtype: Any, *inputs: Any) -> Tensor:
    """The operation, in float32 where its inputs have 16 bits: rounded once, not at every step."""
    *floats, seen = inputs
    return op(*(x if x is None else single(x) for x in floats), seen).astype(dtype)
