"""Recurrent layers on the CPU: in C what `native` suits, the rest as in `reference`."""

from __future__ import annotations

from ...backend import Array
from . import native, reference
from .reference import Found, Saved


def rnn(
    gates: Array, h: Array, weight: Array, seen: Array | None, relu: bool, reverse: bool
) -> Array:
    """As `kernels.recurrent.rnn`."""
    if native.suits(gates, h, weight):
        return native.rnn(gates, h, weight, seen, relu, reverse)
    return reference.rnn(gates, h, weight, seen, relu, reverse)


def rnn_backward(grad: Array, saved: Saved, relu: bool, reverse: bool, needs_weight: bool) -> Found:
    """As `kernels.recurrent.rnn_backward`."""
    if native.suits(*saved[:3]):
        return native.rnn_backward(grad, saved, relu, reverse, needs_weight)
    return reference.rnn_backward(grad, saved, relu, reverse, needs_weight)


def lstm(
    gates: Array, h: Array, c: Array, weight: Array, seen: Array | None, reverse: bool
) -> tuple[Array, Array | None]:
    """As `kernels.recurrent.lstm`."""
    if native.suits(gates, h, c, weight):
        return native.lstm(gates, h, c, weight, seen, reverse)
    return reference.lstm(gates, h, c, weight, seen, reverse)


def lstm_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.lstm_backward`."""
    if kept is None:
        return reference.lstm_backward(grad, saved, None, reverse, needs_weight)
    return native.lstm_backward(grad, saved, kept, reverse, needs_weight)


def gru(
    gates: Array,
    h: Array,
    weight: Array,
    bias: Array | None,
    seen: Array | None,
    reverse: bool,
) -> tuple[Array, Array | None]:
    """As `kernels.recurrent.gru`."""
    if native.suits(gates, h, weight):
        return native.gru(gates, h, weight, bias, seen, reverse)
    return reference.gru(gates, h, weight, bias, seen, reverse)


def gru_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.gru_backward`."""
    if kept is None:
        return reference.gru_backward(grad, saved, None, reverse, needs_weight)
    return native.gru_backward(grad, saved, kept, reverse, needs_weight)
