"""Counters by which the blocks of a kernel find out which of them is the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array, import_cupy
from ..tracing import keep

_COUNT = 4096
_tickets: dict[int, Array] = {}


def ticket_of(array: Array) -> Any:
    """The address of a zero that the blocks of one launch count on; the kernel leaves it at zero.

    One for what that launch alone writes at the time, so that no two streams share it.
    """
    cupy = import_cupy()
    device = array.data.device_id
    tickets = _tickets.get(device)
    if tickets is None:
        tickets = cupy.zeros(_COUNT, np.uint32)
        if not cupy.cuda.get_current_stream().is_capturing():  # else it is not zero yet
            _tickets[device] = tickets
    keep(tickets)
    slot = (array.data.ptr >> 9) % _COUNT
    return tickets.data + slot * tickets.itemsize
