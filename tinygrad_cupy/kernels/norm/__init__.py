"""Batch norm on arrays. Letters are explained in `common.windows`.

Where x is float16 or bfloat16, so are y and the gradients by y and by x, each rounded once; weight,
bias, statistics and their gradients are float32 beside it, else of x's dtype.

With a ``share`` of a batch that ranks have split, the statistics are those of all of it, and so are
the sums that the gradient by x takes; gradients by weight and bias are those of this rank's part.
"""

from __future__ import annotations

from ...backend import Array, kernel
from ...backend.ranks import Share
from . import cpu, cuda
from .cpu import Result, Running, values_of_channel

__all__ = ["Result", "Running", "batch_norm", "batch_norm_backward", "values_of_channel"]


@kernel(cpu=cpu.forward, cuda=cuda.forward)
def batch_norm(
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    running: Running,
    relu: bool,
    pool: bool,
    share: Share | None,
    cap: float | None = None,
) -> Result:
    """y (N, C, …) of x (N, C, …), per channel; then ReLU and a max-pool (2 × 2) where asked for.

    ReLU gives ``cap`` at most where there is one (ReLU6), and then no pool. Moves ``running``.
    """


@kernel(cpu=cpu.backward, cuda=cuda.backward)
def batch_norm_backward(
    grad: Array,
    x: Array,
    weight: Array,
    bias: Array,
    stats: Array,
    relu_y: Array | None,
    argmax: Array | None,
    relu: bool,
    needs_x: bool,
    mask_input: bool,
    share: Share | None,
    cap: float | None = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients by x (None where not needed), weight (C,) and bias (C,).

    ``mask_input``: of x itself, where that is the output of a ReLU, the ReLU's as well.
    """
