"""Convolution on arrays: its three partial derivatives, and all of it as one kernel.

Convolution is one trilinear form Σ x · w · g of input, weight and the gradient of the output; the
field calls its partials fprop (by g: the output), dgrad (by x) and wgrad (by w). Shapes are those
of images; sequences (N, C, L) and volumes (N, C, D, H, W) go through `planes`. Letters are
explained in `common.windows`.
"""

from __future__ import annotations

from ...backend import Array, kernel
from ...backend.dtypes import through_single
from ..common.windows import Geometry, Shape
from . import cpu, cuda, direct, direct_cpu, planes
from .epilogue import Epilogue

__all__ = [
    "Epilogue",
    "Geometry",
    "backward",
    "dgrad",
    "fprop",
    "fused_backward",
    "fused_forward",
    "prepare_backward",
    "wgrad",
    "wgrad_and_bias",
    "wgrad_each",
]


@kernel(
    cpu=through_single(direct_cpu.fprop(planes.fprop(cpu.fprop))),
    cuda=direct.fprop(planes.fprop(cuda.fprop)),
)
def fprop(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, O, OH, OW) = x (N, C, H, W) ⋆ w (O, C/G, KH, KW) + bias (O,)."""


@kernel(
    cpu=through_single(direct_cpu.dgrad(planes.dgrad(cpu.dgrad))),
    cuda=direct.dgrad(planes.dgrad(cuda.dgrad)),
)
def dgrad(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
    """The gradient by x, (N, C, H, W), of g (N, O, OH, OW): a transposed convolution."""


@kernel(
    cpu=through_single(direct_cpu.wgrad(planes.wgrad(cpu.wgrad))),
    cuda=direct.wgrad(planes.wgrad(cuda.wgrad)),
)
def wgrad(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """The gradient by w, (O, C/G, KH, KW), of x (N, C, H, W) and g (N, O, OH, OW)."""


@kernel(
    cpu=direct_cpu.wgrad_and_bias(planes.wgrad(cpu.wgrad_and_bias)),
    cuda=direct.wgrad_and_bias(planes.wgrad(cuda.wgrad_and_bias)),
)
def wgrad_and_bias(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> tuple[Array, Array]:
    """`wgrad`, and the gradient by a bias (O,): the sum of g over N, OH and OW.

    On a GPU the kernel that reads g for the one has the other as well.
    """


@kernel(
    cpu=direct_cpu.backward(planes.backward(cpu.backward)),
    cuda=direct.backward(planes.backward(cuda.backward)),
)
def backward(
    g: Array, x: Array, w: Array, geometry: Geometry, by_bias: bool
) -> tuple[Array, Array, Array | None]:
    """`dgrad`, `wgrad` and, where asked for, the gradient by a bias, from one g."""


@kernel(
    cpu=through_single(planes.wgrad_each(cpu.wgrad_each)), cuda=planes.wgrad_each(cuda.wgrad_each)
)
def wgrad_each(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
    """`wgrad` of each element of a batch: (B, O, C, KH, KW) of x (B, N, C, H, W) and g (B, N, …).

    For one group.
    """


@kernel(cpu=through_single(cpu.fused_forward), cuda=cuda.fused_forward)
def fused_forward(
    x: Array, w: Array, bias: Array | None, geometry: Geometry, epilogue: Epilogue
) -> tuple[Array, Array | None]:
    """`fprop` and its epilogue: y, and the pool's argmax (N, O, OH/2, OW/2) where there is one."""


@kernel(cpu=through_single(cpu.fused_backward), cuda=cuda.fused_backward)
def fused_backward(
    grad: Array,
    x: Array,
    w: Array,
    y: Array | None,
    argmax: Array | None,
    geometry: Geometry,
    epilogue: Epilogue,
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    """Gradients by x, w and bias of `fused_forward`, None where not needed.

    y is read with ReLU alone: where there is an argmax, that says it all.
    """


@kernel(
    cpu=planes.prepare_backward(cpu.prepare_backward),
    cuda=direct.prepare_backward(planes.prepare_backward(cuda.prepare_backward)),
)
def prepare_backward(x: Array, w: Array, geometry: Geometry, epilogue: Epilogue) -> None:
    """Have compiled what the backward of `fused_forward` will want, where that takes a while."""
