"""Recurrent layers on the CPU through ``recurrent.c``, where there is a C compiler; for float32.

`reference` says what is computed. What makes states of the gates is kept for the backward, which
need not multiply by the weight again. A thread takes rows of the batch through all steps.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ...backend import Array
from ...backend.c_source import CSource, plain
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import thread_count, workspace
from ..common import sums
from .reference import Found, Saved, by_weight

LEAST = 4  # rows for a thread: each reads the whole weight at every step

_file = CSource(__file__, "../../backend/c_math.h", "../../backend/c_panels.h", "recurrent.c")


class _Recurrent(ctypes.Structure):
    """As ``Recurrent`` in recurrent.c."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("steps", "rows", "size", "gates", "reverse", "relu")
    ]


def suits(gates: Array, *others: Array) -> bool:
    """Whether the gates (T, N, G) and what they are computed with are for this."""
    floats = all(x.dtype == np.float32 for x in (gates, *others))
    return bool(floats and gates.size and _file.library is not None)


def rnn(
    gates: Array, h: Array, weight: Array, seen: Array | None, relu: bool, reverse: bool
) -> Array:
    """As `kernels.recurrent.rnn`."""
    sizes, y = _sizes(gates, h, reverse, relu), aligned_empty((len(gates), *h.shape), np.float32)
    packed = _packed("recurrent_pack", sizes, weight)
    _run("rnn_forward", sizes, plain(gates), plain(h), packed, _bytes(seen), y)
    return y


def rnn_backward(grad: Array, saved: Saved, relu: bool, reverse: bool, needs_weight: bool) -> Found:
    """As `kernels.recurrent.rnn_backward`."""
    gates, h, weight, seen, y = saved
    sizes = _sizes(gates, h, reverse, relu)
    packed = _packed("recurrent_pack_back", sizes, weight)
    dz, dh = aligned_empty(y.shape, np.float32), aligned_empty(h.shape, np.float32)
    _run("rnn_backward", sizes, plain(grad), packed, _bytes(seen), plain(y), dz, dh)
    return dz, dh, by_weight(dz, y, h, reverse) if needs_weight else None


def lstm(
    gates: Array, h: Array, c: Array, weight: Array, seen: Array | None, reverse: bool
) -> tuple[Array, Array]:
    """As `kernels.recurrent.lstm`."""
    sizes, y = _sizes(gates, h, reverse), aligned_empty((2, len(gates), *h.shape), np.float32)
    kept = aligned_empty(gates.shape, np.float32)
    packed = _packed("recurrent_pack", sizes, weight)
    given = *map(plain, (gates, h, c)), packed, _bytes(seen)
    _run("lstm_forward", sizes, *given, y, kept)
    return y, kept


def lstm_backward(
    grad: Array, saved: Saved, kept: Array, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.lstm_backward`."""
    gates, h, c, weight, seen, y = saved
    sizes = _sizes(gates, h, reverse)
    packed = _packed("recurrent_pack_back", sizes, weight)
    dz, states = aligned_empty(kept.shape, np.float32), aligned_empty((2, *h.shape), np.float32)
    given = plain(grad), plain(y), kept, plain(c), packed, _bytes(seen)
    _run("lstm_backward", sizes, *given, dz, states)
    return dz, *states, by_weight(dz, y[0], h, reverse) if needs_weight else None


def gru(
    gates: Array,
    h: Array,
    weight: Array,
    bias: Array | None,
    seen: Array | None,
    reverse: bool,
) -> tuple[Array, Array]:
    """As `kernels.recurrent.gru`."""
    sizes, y = _sizes(gates, h, reverse), aligned_empty((len(gates), *h.shape), np.float32)
    kept = aligned_empty((*y.shape[:2], 4, y.shape[2]), np.float32)
    packed = _packed("recurrent_pack", sizes, weight)
    given = plain(gates), plain(h), packed, None if bias is None else plain(bias), _bytes(seen)
    _run("gru_forward", sizes, *given, y, kept)
    return y, kept


def gru_backward(
    grad: Array, saved: Saved, kept: Array, reverse: bool, needs_weight: bool
) -> Found:
    """As `kernels.recurrent.gru_backward`."""
    gates, h, weight, bias, seen, y = saved
    sizes = _sizes(gates, h, reverse)
    packed = _packed("recurrent_pack_back", sizes, weight)
    dz, d_own = aligned_empty(gates.shape, np.float32), aligned_empty(gates.shape, np.float32)
    dh = aligned_empty(h.shape, np.float32)
    given = plain(grad), plain(y), kept, plain(h), packed, _bytes(seen)
    _run("gru_backward", sizes, *given, dz, d_own, dh)
    of_weight = by_weight(d_own, y, h, reverse) if needs_weight else None
    return dz, dh, of_weight, None if bias is None else sums.total(d_own, (0, 1))


def _sizes(gates: Array, h: Array, reverse: bool, relu: bool = False) -> _Recurrent:
    steps, rows, width = gates.shape
    size = h.shape[1]
    return _Recurrent(steps, rows, size, width // size, reverse, relu)


def _packed(name: str, sizes: _Recurrent, weight: Array) -> Array:
    """The weight in the order in which the products of all steps read it."""
    packed = workspace("recurrent", (_file.size("recurrent_packed", sizes),), np.float32)
    columns = len(weight) if name == "recurrent_pack" else weight.shape[1]
    panels = -(-columns // _file.size("recurrent_width"))
    _file.run(name, sizes, panels, (plain(weight), packed))
    return packed


def _run(name: str, sizes: _Recurrent, *arguments: Any) -> None:
    least = max(LEAST, -(-sizes.rows // thread_count()))
    each = max(least, -(-sizes.rows // 16))
    scratch = each * _file.size("recurrent_scratch", sizes)
    _file.run(name, sizes, sizes.rows, arguments, scratch, least)


def _bytes(seen: Array | None) -> Array | None:
    return None if seen is None else plain(seen.astype(np.bool_, copy=False))
