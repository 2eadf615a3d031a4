"""Padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import padding
from ..ops.protocols import implements
from .arrays import tensor

__all__ = ["pad"]


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """With elements added around, ``pad_width`` of them: a number, a pair, or one for each axis.

    =================================  ============================================================
    mode                               what is added
    =================================  ============================================================
    ``constant``                       ``constant_values`` (0), one, or one for each side; a tensor
                                       of them gets a gradient
    ``edge``                           the element at the edge
    ``linear_ramp``                    from the edge to ``end_values`` (0), evenly
    ``maximum mean median minimum``    of the ``stat_length`` elements next to the edge (all)
    ``reflect``, ``symmetric``         mirrored about the edge, which comes once, or twice;
                                       ``reflect_type="odd"`` mirrors the values about it as well
    ``wrap``                           from the other end
    ``empty``                          0
    =================================  ============================================================

    A function as ``mode`` is a ``TypeError``: it would write into arrays.
    """
    return padding.pad(tensor(array), pad_width, mode, **kwargs)
