"""What convolution, pooling and im2col, in one to three dimensions, do with their inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..autograd import TensorBase
from ..kernels.common.windows import AXES

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


def with_batch(op: str, x: Any, ndim: int) -> tuple[Tensor, bool]:
    """x (N, C, …) with ``ndim`` axes for windows, and whether it came as one (C, …)."""
    axes = len(x.shape)
    if axes == ndim + 2:
        return x, False
    if axes == ndim + 1:
        return x.unsqueeze(0), True
    raise ValueError(
        f"[{op}] expected an input of shape (N, C, {AXES[ndim]}) or (C, {AXES[ndim]}), "
        f"got {tuple(x.shape)}"
    )


def of_batch(op: str, x: TensorBase, ndim: int, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """``compute`` of x (N, C, …), or of one (C, …), which gives one."""
    batch, is_one = with_batch(op, x, ndim)
    y = compute(batch)
    return y.squeeze(0) if is_one else y
