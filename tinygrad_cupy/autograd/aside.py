"""Who asks for an array of a tensor: SciPy's sparse matrices, which should let it do the work."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def stand_aside(depth: int = 2) -> Any:
    """What has SciPy leave ``matrix @ tensor`` to the tensor, where that is what goes on; or None.

    Asked by an ``__array__``. SciPy takes an array of objects without axes for nothing that it
    knows; it would make an array of the tensor, and drop its gradient, else.
    """
    frame = sys._getframe(depth)
    if frame.f_code.co_name not in ("_matmul_dispatch", "_rmatmul_dispatch"):
        return None
    if not str(frame.f_globals.get("__name__", "")).startswith("scipy.sparse."):
        return None
    return np.empty((), object)
