"""Recurrent layers on a GPU: step by step as in `reference`, where nothing is kept beside y."""

from __future__ import annotations

from ...backend import Array
from . import reference
from .reference import Found, Saved, rnn, rnn_backward

__all__ = ["gru", "gru_backward", "lstm", "lstm_backward", "rnn", "rnn_backward"]


def lstm(
    gates: Array, h: Array, c: Array, weight: Array, seen: Array | None, reverse: bool
) -> tuple[Array, Array | None]:
    """As `kernels.recurrent.lstm`."""
    return reference.lstm(gates, h, c, weight, seen, reverse), None


def lstm_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.lstm_backward`."""
    return reference.lstm_backward(grad, saved, reverse, needs_weight)


def gru(
    gates: Array,
    h: Array,
    weight: Array,
    bias: Array | None,
    seen: Array | None,
    reverse: bool,
) -> tuple[Array, Array | None]:
    """As `kernels.recurrent.gru`."""
    return reference.gru(gates, h, weight, bias, seen, reverse), None


def gru_backward(
    grad: Array, saved: Saved, kept: Array | None, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.gru_backward`."""
    return reference.gru_backward(grad, saved, reverse, needs_weight)
