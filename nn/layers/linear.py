"""The fully connected layer."""

from __future__ import annotations

from tinygrad_cupy.nn import checks, init
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class Linear(Module):
    """y = x @ weight.T + bias over the last axis: (..., in_features) -> (..., out_features).

    `weight` (out_features, in_features) and `bias` (out_features,) start from
    U(-b, b), b = 1 / sqrt(in_features). `bias=False` leaves the bias out. Called with `relu`, ReLU
    is applied as well, in the same kernel. ValueError for sizes below 1, and for an input whose
    last axis is not in_features.

    >>> layer = nn.Linear(3, 2)
    >>> layer(Tensor.rand(8, 3)).shape
    (8, 2)
    >>> layer.weight.shape, layer.bias.shape
    ((2, 3), (2,))
    """

    fuses = ("relu",)

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = checks.integer(self, "in_features", in_features)
        self.out_features = checks.integer(self, "out_features", out_features)
        shape = (self.out_features, self.in_features)
        self.weight, self.bias = init.weight_and_bias(self, shape, self.out_features, bias)

    def forward(self, x: Tensor, relu: bool = False) -> Tensor:
        checks.input_size(self, x, -1, self.in_features, "input features")
        return x.linear(self.weight, self.bias, relu)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
