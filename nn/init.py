"""Initial values of parameters: PyTorch's defaults, drawn from random stream 0 (weights).

`tinygrad_cupy.manual_seed` makes them reproducible; the CPU and a GPU draw the same values to
rounding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cupy import backend, random

from . import checks
from .module import Parameter


def fan_in(shape: tuple[int, ...]) -> int:
    """Inputs that one output sees: the product of all axes of a weight but the first.

    That is in_features for a Linear (out, in) and C/g * KH * KW for a Conv2d (O, C/g, KH, KW). A
    ConvTranspose2d, whose weight is (C, O/g, KH, KW), follows PyTorch and counts O/g * KH * KW.

    >>> nn.init.fan_in((16, 3, 5, 5))  # of a Conv2d(3, 16, 5)
    75
    """
    return math.prod(shape[1:])


def uniform(shape: tuple[int, ...], bound: float, device: str | None = None) -> Any:
    """A float32 array of values drawn evenly from [-bound, bound).

    >>> w = nn.init.uniform((100, 4), bound=0.5)
    >>> w.shape, bool(abs(w).max() <= 0.5)
    ((100, 4), True)
    """
    with random.along(None):  # weights are no batch
        array = random.uniform(shape, random.STREAM_WEIGHTS, device or backend.default_device())
    array *= 2 * bound
    array -= bound
    return array


def kaiming_uniform(
    shape: tuple[int, ...], a: float = math.sqrt(5), device: str | None = None
) -> Any:
    """U(-b, b) with b = sqrt(6 / ((1 + a^2) * fan_in)).

    He et al., "Delving Deep into Rectifiers" (2015), equation 14, for a leaky ReLU of negative
    slope `a`. PyTorch's Linear and Conv2d use a = sqrt(5), which makes b = 1 / sqrt(fan_in).

    >>> w = nn.init.kaiming_uniform((64, 25))  # b = 1 / sqrt(25)
    >>> bool(abs(w).max() <= 0.2)
    True
    """
    return uniform(shape, math.sqrt(6 / ((1 + a * a) * fan_in(shape))), device)


def normal(shape: tuple[int, ...], std: float = 1.0, device: str | None = None) -> Any:
    """A float32 array of draws from N(0, std^2).

    >>> nn.init.normal((100, 4), std=0.02).shape
    (100, 4)
    """
    device = device or backend.default_device()
    backend.expect_memory("init.normal", shape, 4, device != "cpu")
    with random.along(None):
        array = random.normal(shape, random.STREAM_WEIGHTS, device)
    if std != 1:
        array *= np.float32(std)
    return array


def weight_and_bias(
    owner: object, weight_shape: tuple[int, ...], outputs: int, bias: bool, fan: int | None = None
) -> tuple[Parameter, Parameter | None]:
    """Weight and bias (or None) of a Linear or a convolution, as PyTorch starts them.

    MemoryError that names the layer where the weight is larger than all memory.

    Both are drawn from U(-b, b), b = 1 / sqrt(fan_in), or of `fan` where that is given: see
    `reset_parameters` of torch.nn.Linear.

    >>> weight, bias = nn.init.weight_and_bias("Mine", (8, 4), outputs=8, bias=True)
    >>> weight.shape, bias.shape
    ((8, 4), (8,))
    """
    name, device = checks.name_of(owner), backend.default_device()
    backend.expect_memory(name, weight_shape, 4, device != "cpu")
    if fan is None:
        fan, weight = fan_in(weight_shape), Parameter(kaiming_uniform(weight_shape))
    else:
        weight = Parameter(uniform(weight_shape, 1 / math.sqrt(fan)))
    return weight, Parameter(uniform((outputs,), 1 / math.sqrt(fan))) if bias else None


def kaiming_normal(shape: tuple[int, ...], device: str | None = None) -> Any:
    """N(0, 2 / fan_out), fan_out = O * KH * KW of a weight (O, C/g, KH, KW).

    He et al. (2015): a gradient keeps its size through ReLUs. torchvision's convolutions do so.

    >>> nn.init.kaiming_normal((32, 3, 3, 3)).shape
    (32, 3, 3, 3)
    """
    return normal(shape, math.sqrt(2 / (shape[0] * math.prod(shape[2:]))), device)


def dirac(shape: tuple[int, ...], groups: int = 1, device: str | None = None) -> Any:
    """Filters that hand their input on: weight[c, c, middle] = 1, and 0 everywhere else.

    A convolution (O, C/g, KH, KW) of odd windows and padding="same" then starts as the identity on
    its first channels; filters beyond C/g are 0. With `groups` that is so for the O/g filters of
    each. Zagoruyko and Komodakis, "DiracNets" (2017). ValueError for other shapes than those of
    convolutions of 1 to 3 axes, and for filters that the groups do not divide.

    >>> conv = nn.Conv2d(2, 3, 3, padding="same", bias=False)
    >>> conv.weight = nn.Parameter(nn.init.dirac(conv.weight.shape))
    >>> x = Tensor.rand(1, 2, 5, 5)
    >>> (conv(x)[:, :2] == x).all().item(), conv(x)[:, 2].max().item()
    (True, 0.0)
    """
    if not 3 <= len(shape) <= 5 or min(shape) < 1:
        raise ValueError(
            "[init.dirac] expected a convolution's shape (O, C/g, ...) of 3 to 5 axes, none of "
            f"them empty, got {shape}"
        )
    count = checks.integer("init.dirac", "groups", groups)
    if shape[0] % count:
        raise ValueError(
            f"[init.dirac] expected groups that divide {shape[0]} filters, got {count}"
        )
    values = np.zeros(shape, np.float32)
    each = shape[0] // count
    channels = np.arange(min(each, shape[1]))
    middle: Any = [size // 2 for size in shape[2:]]
    for first in range(0, shape[0], each):
        values[(first + channels, channels, *middle)] = 1
    return backend.to_device(values, device or backend.default_device())


def uniform_parameter(owner: object, shape: tuple[int, ...], bound: float) -> Parameter:
    """A Parameter of U(-b, b); MemoryError that names the layer where there is no room for it.

    >>> nn.init.uniform_parameter("Mine", (8, 4), bound=0.1).requires_grad
    True
    """
    on_gpu = backend.default_device() != "cpu"
    backend.expect_memory(checks.name_of(owner), shape, 4, on_gpu)
    return Parameter(uniform(shape, bound))
