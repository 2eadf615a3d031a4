"""Counters by which the blocks of a kernel find out which of them is the last.

Each block takes a ticket, as in NVIDIA's CUDA sample threadFenceReduction; the kernels' side is
kernels/common/last_block.cuh.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from .arrays import Array, import_cupy
from .capture import active, keep
from .devices import capturing, made_aside

_COUNT = 4096
MOST = 1024  # zeros that one launch may need
_of_streams: dict[tuple[int, ...], Array] = {}
_of_captures: weakref.WeakKeyDictionary[Any, Array] = weakref.WeakKeyDictionary()


def ticket_of(array: Array) -> Any:
    """The address of a zero that the blocks of one launch count on; the kernel leaves it at zero.

    Launches of one stream follow each other and may share it; every stream and every capture has
    zeros of its own. MOST of them lie from there on.
    """
    tickets = _tickets(array.data.device_id)
    keep(tickets)
    slot = (array.data.ptr >> 9) % _COUNT
    return tickets.data + slot * tickets.itemsize


def _tickets(device: int) -> Array:
    if capturing():
        tickets = _of_captures.get(active.run)
        if tickets is None:
            tickets = _of_captures[active.run] = _zeros()
        return tickets
    stream = import_cupy().cuda.get_current_stream()  # 2 means the default stream of each thread
    key = (device, stream.ptr, threading.get_ident() if stream.ptr == 2 else 0)
    tickets = _of_streams.get(key)
    if tickets is None:
        tickets = _of_streams[key] = _zeros()
    return tickets


def _zeros() -> Array:
    """New tickets."""
    return made_aside(lambda: import_cupy().zeros(_COUNT + MOST, np.uint32))
