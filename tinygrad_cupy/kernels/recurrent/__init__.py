"""Recurrent layers on arrays: all steps forward, and all steps back.

Letters in shapes: T steps, N rows of the batch, H hidden features, G their gates (H, 3 H or 4 H).
``seen`` (T, N, 1) says which steps a row has; at the others its state stays as it is. ``saved`` is
what the forward took, and y; ``kept`` what it kept beside y, None where the backward computes the
gates again.
"""

from __future__ import annotations

from ...backend import Array, kernel
from . import cpu, cuda
from .reference import Found, Saved

__all__ = ["gru", "gru_backward", "lstm", "lstm_backward", "rnn", "rnn_backward"]


@kernel(cpu=cpu.rnn, cuda=cuda.rnn)
def rnn(
    gates: Array, h: Array, weight: Array, seen: Array | None, relu: bool, reverse: bool
) -> Array:
    """The states (T, N, H): tanh, or max(·, 0), of gates (T, N, H) + h @ weight (H, H) ᵀ."""


@kernel(cpu=cpu.rnn_backward, cuda=cuda.rnn_backward)
def rnn_backward(grad: Array, saved: Saved, relu: bool, reverse: bool, needs_weight: bool) -> Found:
    """The gradients by gates, h and weight of that by the states y."""


@kernel(cpu=cpu.lstm, cuda=cuda.lstm)
def lstm(
    gates: Array, h: Array, c: Array, weight: Array, seen: Array | None, reverse: bool
) -> tuple[Array, Array | None]:
    """The states and the cells, (2, T, N, H), of gates (T, N, 4 H), and ``kept``.

    The gates are i, f, g, o; weight is (4 H, H).
    """


@kernel(cpu=cpu.lstm_backward, cuda=cuda.lstm_backward)
def lstm_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """The gradients by gates, h, c and weight of that, (2, T, N, H), by states and cells y."""


@kernel(cpu=cpu.gru, cuda=cuda.gru)
def gru(
    gates: Array,
    h: Array,
    weight: Array,
    bias: Array | None,
    seen: Array | None,
    reverse: bool,
) -> tuple[Array, Array | None]:
    """The states (T, N, H) of gates (T, N, 3 H), and ``kept``.

    The gates are r, z, n; weight is (3 H, H), bias (3 H,).
    """


@kernel(cpu=cpu.gru_backward, cuda=cuda.gru_backward)
def gru_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """The gradients by gates, h, weight and bias of that by the states y."""
