"""What convolutional models share: initial weights as torchvision's, and norms with their ReLU."""

from __future__ import annotations

from tinygrad_cupy.nn import init
from tinygrad_cupy.nn.hooks import hooks_of
from tinygrad_cupy.nn.layers.conv import Conv2d
from tinygrad_cupy.nn.layers.norm import BatchNorm2d
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.tensor import Tensor


def conv(
    inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> Conv2d:
    """A convolution that keeps the size but for its stride.

    Its weight starts from N(0, 2 / fan_out), a bias at 0.
    """
    layer = Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)
    layer.weight = Parameter(init.kaiming_normal(layer.weight.shape))
    if layer.bias is not None:
        layer.bias = Parameter(Tensor.zeros(outputs))
    return layer


def with_relu(norm: Module, x: Tensor) -> Tensor:
    """ReLU of a batch norm of x: one kernel, unless somebody listens to the norm."""
    if type(norm) is BatchNorm2d and hooks_of(norm) is None:
        return norm(x, relu=True)  # type: ignore[no-any-return]
    return norm(x).relu()  # type: ignore[no-any-return]
