"""Recurrent layers; what they compute is in `tinygrad_cupy.ops.recurrent`.

Letters in shapes: N sequences of a batch, T steps, I input features, H hidden features, P what
states are projected to (H without a projection), D directions (1 or 2), L layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.backend.dtypes import is_float
from tinygrad_cupy.nn import checks, init
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.ops import recurrent
from tinygrad_cupy.ops.shape import concat, stack
from tinygrad_cupy.tensor import Tensor

Lengths = Sequence[int] | np.ndarray | Tensor


class _Recurrent(Module):
    """What RNN, LSTM and GRU have: layers, directions, dropout between layers, lengths.

    Parameters have PyTorch's names, per layer k and direction: weight_ih_l{k} (G, I),
    weight_hh_l{k} (G, P), bias_ih_l{k} and bias_hh_l{k} (G,), and those with _reverse behind them.
    """

    gates: ClassVar[int]  # G / H

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        self.input_size = checks.integer(self, "input_size", input_size)
        self.hidden_size = checks.integer(self, "hidden_size", hidden_size)
        self.num_layers = checks.integer(self, "num_layers", num_layers)
        self.proj_size = checks.integer(self, "proj_size", proj_size, least=0)
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"[{type(self).__name__}] proj_size must be below hidden_size {hidden_size}, got "
                f"{proj_size}"
            )
        self.dropout = checks.fraction(self, "dropout", dropout)
        self.bias, self.batch_first = bool(bias), bool(batch_first)
        self.bidirectional = bool(bidirectional)
        output = self.proj_size or self.hidden_size
        for layer in range(self.num_layers):
            size = output * len(self._ends) if layer else self.input_size
            for end in self._ends:
                self._add(f"_l{layer}{end}", size, output)

    @property
    def _ends(self) -> tuple[str, ...]:
        """What the names of each direction's parameters end with."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def _add(self, end: str, inputs: int, output: int) -> None:
        rows, bound = self.gates * self.hidden_size, 1 / math.sqrt(self.hidden_size)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs)}
        shapes["weight_hh"] = (rows, output)
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for name, shape in shapes.items():
            setattr(self, name + end, init.uniform_parameter(self, shape, bound))

    def _own(self, name: str) -> Any:
        return getattr(self, name, None)

    def _layer(
        self, x: Tensor, end: str, states: Sequence[Tensor], seen: Tensor | None
    ) -> Sequence[Tensor]:
        """The states (T, N, ...) of one layer in one direction, outputs first."""
        raise NotImplementedError

    def _sizes(self) -> tuple[int, ...]:
        """Of each state that is carried along."""
        return (self.hidden_size,)

    def _run(
        self, x: Tensor, states: Sequence[Any] | None, lengths: Lengths | None
    ) -> tuple[Tensor, list[Tensor]]:
        checks.input_axes(self, x, *(["N, T, I"] if self.batch_first else ["T, N, I"]), "T, I")
        checks.input_size(self, x, -1, self.input_size, "input features")
        one = x.ndim == 2
        observe(self, "dropout")
        if one:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.swapaxes(0, 1)
        if not x.shape[0]:
            raise ValueError(f"[{type(self).__name__}] expected at least one step, got none")
        seen = None
        if lengths is not None:
            seen = _seen(self, lengths, x)
            x = x.where(seen, 0)
        begun = self._begun(x, states, one)
        left: list[list[Tensor]] = [[] for _ in begun]
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = x.dropout(self.dropout, self.training, 1)  # time first
            sides = []
            for way, end in enumerate(self._ends):
                place = layer * len(self._ends) + way
                now = [each[place] for each in begun]
                found = self._layer(x, f"_l{layer}{end}", now, seen)
                for kept, each in zip(left, found, strict=True):
                    kept.append(each[0 if end else -1])
                sides.append(found[0])
            x = sides[0] if len(sides) == 1 else concat(sides, axis=2)
            if seen is not None:
                x = x.where(seen, 0)
        last = [stack(each) for each in left]  # (L · D, N, ...)
        if one:
            return x.squeeze(1), [each.squeeze(1) for each in last]
        return x.swapaxes(0, 1) if self.batch_first else x, last

    def _begun(self, x: Tensor, states: Sequence[Any] | None, one: bool) -> list[Tensor]:
        """What each layer and direction starts with: zeros, or what is given."""
        count, rows = self.num_layers * len(self._ends), x.shape[1]
        shapes = [(count, rows, size) for size in self._sizes()]
        if states is None:
            dtype = x.dtype if is_float(x.dtype) else "float32"
            return [Tensor.zeros(*shape, dtype=dtype, device=x.device) for shape in shapes]
        found = []
        for state, (_, _, size) in zip(states, shapes, strict=True):
            wanted = (count, size) if one else (count, rows, size)
            if not isinstance(state, Tensor) or state.shape != wanted:
                got = state.shape if isinstance(state, Tensor) else type(state).__name__
                raise ValueError(
                    f"[{type(self).__name__}] expected a state of shape {wanted}, got {got}"
                )
            found.append(state.unsqueeze(1) if one else state)
        return found

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (
            *(("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0)),
            *(("bidirectional", False), ("proj_size", 0)),
        ):
            value = getattr(self, name)
            text += f", {name}={value}" if value != usual else ""
        return text


class _OfOneState(_Recurrent):
    """Called as layer(x, h_0, lengths=...), returns y, h_n."""

    def forward(
        self, x: Tensor, h_0: Tensor | None = None, *, lengths: Lengths | None = None
    ) -> tuple[Tensor, Tensor]:
        y, (h,) = self._run(x, None if h_0 is None else [h_0], lengths)
        return y, h


class RNN(_OfOneState):
    """An Elman network: h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), of `num_layers` layers.

    Elman, "Finding structure in time" (1990). `nonlinearity` is "tanh" or "relu". Called as
    rnn(x, h_0, lengths=...): x (T, N, I), with `batch_first` (N, T, I), or (T, I) of one sequence;
    h_0 (L * D, N, H) defaults to zeros. Returns the last layer's states (T, N, D * H), laid out as
    x is, and the last state of each layer and direction, (L * D, N, H).

    `bidirectional` adds networks that run from the end (D = 2); each layer sees both. `dropout` is
    applied to what each layer but the last gives, in training. `lengths` (N,), integers, says how
    many steps each sequence has: what lies behind is not read, the outputs there are 0 and the last
    states are those of the last real step, as with PyTorch's packed sequences.

    weight_ih_l0 (H, I), weight_hh_l0 (H, H), bias_ih_l0 and bias_hh_l0 (H,), `..._l1`, ... and
    `..._l0_reverse`, ... start from U(-b, b), b = 1 / sqrt(H). `bias=False` leaves the biases out.
    ValueError for inputs or states of other shapes, no step, and lengths that are not 1 to T.

    >>> rnn = nn.RNN(8, 16, bidirectional=True)
    >>> y, h = rnn(Tensor.rand(5, 3, 8))  # 5 steps of 3 sequences
    >>> y.shape, h.shape
    ((5, 3, 32), (2, 3, 16))
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        self.nonlinearity = checks.choice(self, "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )

    def _layer(
        self, x: Tensor, end: str, states: Sequence[Tensor], seen: Tensor | None
    ) -> Sequence[Tensor]:
        gates = _input_part(self, x, end, both=True)
        weight, relu = self._own("weight_hh" + end), self.nonlinearity == "relu"
        return [recurrent.rnn(gates, states[0], weight, seen, relu, end.endswith("_reverse"))]

    def extra_repr(self) -> str:
        kind = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity!r}"
        return super().extra_repr() + kind


class LSTM(_Recurrent):
    """Long short-term memory, of `num_layers` layers.

    Hochreiter and Schmidhuber, "Long short-term memory" (1997), with a forget gate (Gers 2000):
    i, f, g, o are the four parts of W_ih x_t + b_ih + W_hh h_(t-1) + b_hh, and

        c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g),  h_t = sigmoid(o) tanh(c_t)

    Called as lstm(x, (h_0, c_0), lengths=...), returns y, (h_n, c_n); shapes, `bidirectional`,
    `dropout`, `lengths` and initial values as in RNN, weights of 4 H rows. With `proj_size` P the
    states are W_hr h_t, of P < H features (Sak et al. 2014): weight_hr_l0 (P, H), weight_hh_l0
    (4 H, P).

    >>> lstm = nn.LSTM(8, 16, num_layers=2, batch_first=True)
    >>> y, (h, c) = lstm(Tensor.rand(3, 5, 8), lengths=[5, 2, 1])
    >>> y.shape, h.shape, c.shape
    ((3, 5, 16), (2, 3, 16), (2, 3, 16))
    >>> (y[1, 2:] == 0).all().item()  # behind the end of the second sequence
    True
    """

    gates = 4

    def forward(
        self,
        x: Tensor,
        states: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Lengths | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if states is not None and (not isinstance(states, tuple | list) or len(states) != 2):
            raise TypeError("[LSTM] expected two states (h_0, c_0), or none")
        y, (h, c) = self._run(x, states, lengths)
        return y, (h, c)

    def _sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def _layer(
        self, x: Tensor, end: str, states: Sequence[Tensor], seen: Tensor | None
    ) -> Sequence[Tensor]:
        gates = _input_part(self, x, end, both=True)
        weight, project = self._own("weight_hh" + end), self._own("weight_hr" + end)
        h, c = states
        return recurrent.lstm(gates, h, c, weight, seen, end.endswith("_reverse"), project)


class GRU(_OfOneState):
    """Gated recurrent units, of `num_layers` layers.

    Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), in the form of
    cuDNN and PyTorch: with the three parts r, z, n of a = W_ih x_t + b_ih and of
    b = W_hh h_(t-1) + b_hh,

        r = sigmoid(a_r + b_r),  z = sigmoid(a_z + b_z),  n = tanh(a_n + r b_n),
        h_t = (1 - z) n + z h_(t-1)

    Called as gru(x, h_0, lengths=...); arguments, shapes and initial values as in RNN, weights of
    3 H rows.

    >>> y, h = nn.GRU(8, 16)(Tensor.rand(5, 3, 8))
    >>> y.shape, h.shape
    ((5, 3, 16), (1, 3, 16))
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )

    def _layer(
        self, x: Tensor, end: str, states: Sequence[Tensor], seen: Tensor | None
    ) -> Sequence[Tensor]:
        gates = _input_part(self, x, end, both=False)
        weight, bias = self._own("weight_hh" + end), self._own("bias_hh" + end)
        return [recurrent.gru(gates, states[0], weight, bias, seen, end.endswith("_reverse"))]


class _Cell(Module):
    """One step of a recurrent layer: weight_ih (G, I), weight_hh (G, H), bias_ih, bias_hh (G,)."""

    gates: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        self.input_size = checks.integer(self, "input_size", input_size)
        self.hidden_size = checks.integer(self, "hidden_size", hidden_size)
        self.bias = bool(bias)
        rows, bound = self.gates * self.hidden_size, 1 / math.sqrt(self.hidden_size)
        self.weight_ih = init.uniform_parameter(self, (rows, self.input_size), bound)
        self.weight_hh = init.uniform_parameter(self, (rows, self.hidden_size), bound)
        self.bias_ih = init.uniform_parameter(self, (rows,), bound) if bias else None
        self.bias_hh = init.uniform_parameter(self, (rows,), bound) if bias else None

    def _start(self, x: Tensor, *states: Tensor | None) -> list[Tensor]:
        """x and the states with one step in front, and with an axis of rows."""
        checks.input_axes(self, x, "N, I", "I")
        checks.input_size(self, x, -1, self.input_size, "input features")
        wanted = (*x.shape[:-1], self.hidden_size)
        dtype = x.dtype if is_float(x.dtype) else "float32"
        rows = [x.reshape(1, -1, self.input_size)]
        for state in states:
            if state is None:
                state = Tensor.zeros(*wanted, dtype=dtype, device=x.device)
            if state.shape != wanted:
                raise ValueError(
                    f"[{type(self).__name__}] expected a state of shape {wanted}, got {state.shape}"
                )
            rows.append(state.reshape(-1, self.hidden_size))
        return rows

    def _shaped(self, x: Tensor, found: Tensor) -> Tensor:
        return found.reshape(*x.shape[:-1], self.hidden_size)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of RNN: (N, I) or (I,), and h (N, H), zeros by default, give the next h.

    weight_ih (H, I), weight_hh (H, H), bias_ih and bias_hh (H,) start as those of RNN.

    >>> cell, h = nn.RNNCell(8, 16), None
    >>> for x in Tensor.rand(5, 3, 8):
    ...     h = cell(x, h)
    >>> h.shape
    (3, 16)
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        self.nonlinearity = checks.choice(self, "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, bias)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        row, state = self._start(x, h)
        gates = _input_part(self, row, "", both=True)
        relu = self.nonlinearity == "relu"
        return self._shaped(x, recurrent.rnn(gates, state, self.weight_hh, relu=relu))


class LSTMCell(_Cell):
    """One step of LSTM: (N, I) or (I,), and (h, c), zeros by default, give the next (h, c).

    Parameters are those of RNNCell, of 4 H rows.

    >>> h, c = nn.LSTMCell(8, 16)(Tensor.rand(3, 8))
    >>> h.shape, c.shape
    ((3, 16), (3, 16))
    """

    gates = 4

    def forward(
        self, x: Tensor, states: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        row, h, c = self._start(x, *(states or (None, None)))
        h, c = recurrent.lstm(_input_part(self, row, "", both=True), h, c, self.weight_hh)
        return self._shaped(x, h), self._shaped(x, c)


class GRUCell(_Cell):
    """One step of GRU: (N, I) or (I,), and h (N, H), zeros by default, give the next h.

    Parameters are those of RNNCell, of 3 H rows.

    >>> nn.GRUCell(8, 16)(Tensor.rand(3, 8), Tensor.zeros(3, 16)).shape
    (3, 16)
    """

    gates = 3

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        row, state = self._start(x, h)
        gates = _input_part(self, row, "", both=False)
        return self._shaped(x, recurrent.gru(gates, state, self.weight_hh, self.bias_hh))


def _input_part(layer: Module, x: Tensor, end: str, both: bool) -> Tensor:
    """The input's part of the gates, (T, N, G), of all steps in one product; with both biases."""
    weight = getattr(layer, "weight_ih" + end)
    bias = getattr(layer, "bias_ih" + end, None)
    if bias is not None and both:
        bias = bias + getattr(layer, "bias_hh" + end)
    return x.linear(weight, bias)


def _seen(owner: object, lengths: Lengths, x: Tensor) -> Tensor:
    """(T, N, 1): whether a step comes before a sequence's end."""
    steps, rows, _ = x.shape
    numbers = lengths if isinstance(lengths, Tensor) else np.asarray(lengths)
    if numbers.shape != (rows,) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"[{checks.name_of(owner)}] expected lengths to be {rows} integers, got shape "
            f"{numbers.shape} and dtype {numbers.dtype}"
        )
    if (
        isinstance(numbers, np.ndarray)
        and rows
        and not 1 <= numbers.min() <= numbers.max() <= steps
    ):
        raise ValueError(
            f"[{checks.name_of(owner)}] expected lengths from 1 to {steps}, the steps that there "
            f"are, got {numbers.min()} to {numbers.max()}"
        )
    return recurrent.before(x, numbers)
