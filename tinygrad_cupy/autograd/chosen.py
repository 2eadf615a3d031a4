"""Where a gradient counts: at the elements that an operation chose (`Op.chosen`).

What was not chosen has no gradient. The 0 that stands for it must not meet a slope of ∞ or NaN,
which would make NaN of it: of ``where(x > 0, x.sqrt(), 0)`` the gradient at 0 is 0. So the engine
knows where the gradient counts, all the way back through what acts element by element, or gives
elements other places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend.capture import active
from .mode import mode

if TYPE_CHECKING:
    from .op import Op
    from .typing import Tensor


def alone(node: Op, grads: Sequence[Tensor | None], only: Any) -> list[Tensor | None]:
    """The gradients by the inputs of ``node``, 0 where that by its output does not count.

    ``node.chosen`` is left within ``only``.
    """
    mine = node.chosen or (None,) * len(grads)
    node.chosen = [only if mask is None else mask & only for mask in mine]
    if not any(version is not None for _, _, version, _ in node._saved or ()):
        return list(grads)  # no slope that may be infinite: 0 stays 0
    return [g if g is None or _is_finite(g) else g.where(only, 0) for g in grads]


def _is_finite(grad: Tensor) -> bool:
    """Whether a gradient is known to hold neither ∞ nor NaN, and to be no part of a graph.

    On the CPU, where to look is faster than to choose.
    """
    array = grad.data
    if mode.recording or active.busy or type(array) is not np.ndarray:
        return False
    with np.errstate(all="ignore"):
        return array.dtype.kind == "f" and bool(np.isfinite(array.sum()))


def summed(mask: Any, shape: tuple[int, ...], grad: Tensor | None) -> Any:
    """Where one of the places was chosen that a gradient of this ``shape`` was summed over."""
    if mask is None or grad is None or grad.shape == shape:
        return mask
    return mask.broadcast_to(shape).astype(np.int64).sum_to(grad.shape) != 0
