"""Counters by which the blocks of a kernel find out which of them is the last."""

from __future__ import annotations

import numpy as np

from ..backend import Array, import_cupy
from ..tracing import keep

_COUNT = 4096
_tickets: dict[int, Array] = {}


def ticket_of(array: Array) -> Array:
    """A zero that the blocks of one launch count on; the kernel leaves it at zero.

    One for what that launch alone writes at the time, so that no two streams share it.
    """
    cupy = import_cupy()
    tickets = _tickets.get(array.device.id)
    if tickets is None:
        tickets = cupy.zeros(_COUNT, np.uint32)
        if not cupy.cuda.get_current_stream().is_capturing():  # else it is not zero yet
            _tickets[array.device.id] = tickets
    keep(tickets)
    slot = (array.data.ptr >> 9) % _COUNT
    return tickets[slot : slot + 1]
