"""Layers that put something around the last axes.

`padding` is one number for all sides, or two for each axis, the last axis first as in PyTorch:
(left, right, top, bottom, front, back).
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_cupy.kernels.common.windows import AXES
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.ops.padding import pad
from tinygrad_cupy.tensor import Tensor

Padding = int | tuple[int, ...]


class _Pad(Module):
    """What all have: how wide each side of `ndim` axes is padded, and in which mode of NumPy's."""

    ndim: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Padding) -> None:
        self.padding = checks.sides(self, "padding", padding, self.ndim)

    def forward(self, x: Tensor) -> Tensor:
        axes = AXES[self.ndim]
        checks.input_axes(self, x, f"N, C, {axes}", f"C, {axes}")
        last_first = [self.padding[i : i + 2] for i in range(0, len(self.padding), 2)]
        return pad(x, [*[(0, 0)] * (x.ndim - self.ndim), *last_first[::-1]], **self._how())

    def _how(self) -> dict[str, Any]:
        return {"mode": self.mode}

    def extra_repr(self) -> str:
        return f"padding={self.padding}"


class _ConstantPad(_Pad):
    """`value` all around."""

    mode = "constant"

    def __init__(self, padding: Padding, value: float) -> None:
        super().__init__(padding)
        self.value = checks.real(self, "value", value)

    def _how(self) -> dict[str, Any]:
        return {"mode": "constant", "constant_values": self.value}

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """`value` before and behind sequences (N, C, L).

    `padding` is one number for both ends, or (left, right).

    >>> nn.ConstantPad1d((1, 2), 9.0)(Tensor([[1.0, 2.0, 3.0]]))
    Tensor([[9., 1., 2., 3., 9., 9.]])
    """

    ndim = 1


class ConstantPad2d(_ConstantPad):
    """`value` around images (N, C, H, W).

    `padding` is one number for all sides, or (left, right, top, bottom).

    >>> nn.ConstantPad2d(1, 9.0)(Tensor([[[1.0, 2.0]]]))
    Tensor([[[9., 9., 9., 9.],
             [9., 1., 2., 9.],
             [9., 9., 9., 9.]]])
    """

    ndim = 2


class ConstantPad3d(_ConstantPad):
    """`value` around volumes (N, C, D, H, W).

    `padding` is one number for all sides, or (left, right, top, bottom, front, back).

    >>> nn.ConstantPad3d(1, 9.0)(Tensor.zeros(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    ndim = 3


class ZeroPad1d(_Pad):
    """0 before and behind sequences (N, C, L).

    `padding` is one number for both ends, or (left, right).

    >>> nn.ZeroPad1d((1, 2))(Tensor([[1.0, 2.0, 3.0]]))
    Tensor([[0., 1., 2., 3., 0., 0.]])
    """

    ndim, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """0 around images (N, C, H, W).

    `padding` is one number for all sides, or (left, right, top, bottom).

    >>> nn.ZeroPad2d((0, 1, 2, 0))(Tensor.ones(2, 3, 4, 5)).shape  # right 1, top 2
    (2, 3, 6, 6)
    """

    ndim, mode = 2, "constant"


class ZeroPad3d(_Pad):
    """0 around volumes (N, C, D, H, W).

    `padding` is one number for all sides, or (left, right, top, bottom, front, back).

    >>> nn.ZeroPad3d(1)(Tensor.ones(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    ndim, mode = 3, "constant"


class ReflectionPad1d(_Pad):
    """Sequences (N, C, L) mirrored at their ends, which are not repeated.

    `padding` is one number for both ends, or (left, right).

    >>> nn.ReflectionPad1d(2)(Tensor([[1.0, 2.0, 3.0]]))
    Tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """

    ndim, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Images (N, C, H, W) mirrored at their edges, which are not repeated.

    `padding` is one number for all sides, or (left, right, top, bottom).

    >>> nn.ReflectionPad2d((1, 1, 0, 0))(Tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    Tensor([[[2., 1., 2., 1.],
             [4., 3., 4., 3.]]])
    """

    ndim, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes (N, C, D, H, W) mirrored at their faces, which are not repeated.

    `padding` is one number for all sides, or (left, right, top, bottom, front, back).

    >>> nn.ReflectionPad3d(1)(Tensor.rand(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    ndim, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The ends of sequences (N, C, L) repeated.

    `padding` is one number for both ends, or (left, right).

    >>> nn.ReplicationPad1d(2)(Tensor([[1.0, 2.0, 3.0]]))
    Tensor([[1., 1., 1., 2., 3., 3., 3.]])
    """

    ndim, mode = 1, "edge"


class ReplicationPad2d(_Pad):
    """The edges of images (N, C, H, W) repeated.

    `padding` is one number for all sides, or (left, right, top, bottom).

    >>> nn.ReplicationPad2d((1, 1, 0, 0))(Tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    Tensor([[[1., 1., 2., 2.],
             [3., 3., 4., 4.]]])
    """

    ndim, mode = 2, "edge"


class ReplicationPad3d(_Pad):
    """The faces of volumes (N, C, D, H, W) repeated.

    `padding` is one number for all sides, or (left, right, top, bottom, front, back).

    >>> nn.ReplicationPad3d(1)(Tensor.rand(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    ndim, mode = 3, "edge"


class CircularPad1d(_Pad):
    """Sequences (N, C, L) continued from their other end.

    `padding` is one number for both ends, or (left, right).

    >>> nn.CircularPad1d(2)(Tensor([[1.0, 2.0, 3.0]]))
    Tensor([[2., 3., 1., 2., 3., 1., 2.]])
    """

    ndim, mode = 1, "wrap"


class CircularPad2d(_Pad):
    """Images (N, C, H, W) continued from their other edge.

    `padding` is one number for all sides, or (left, right, top, bottom).

    >>> nn.CircularPad2d((1, 1, 0, 0))(Tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    Tensor([[[2., 1., 2., 1.],
             [4., 3., 4., 3.]]])
    """

    ndim, mode = 2, "wrap"


class CircularPad3d(_Pad):
    """Volumes (N, C, D, H, W) continued from their other face.

    `padding` is one number for all sides, or (left, right, top, bottom, front, back).

    >>> nn.CircularPad3d(1)(Tensor.rand(2, 3, 4, 5, 6)).shape
    (2, 3, 6, 7, 8)
    """

    ndim, mode = 3, "wrap"
