"""Layers of two inputs: how alike vectors are, and a product of both."""

from __future__ import annotations

from tinygrad_cupy.nn import checks, init
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class CosineSimilarity(Module):
    """a · b / (max(|a|, eps) * max(|b|, eps)) of vectors along `axis`, by default 1.

    >>> nn.CosineSimilarity()(Tensor([[1.0, 0.0]]), Tensor([[3.0, 4.0]])).round(3)
    Tensor([0.6])
    """

    def __init__(self, axis: int = 1, eps: float = 1e-8) -> None:
        self.axis = axis
        self.eps = checks.positive(self, "eps", eps)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        checks.input_tensor(self, a)
        return a.cosine_similarity(b, self.axis, self.eps)

    def extra_repr(self) -> str:
        return f"axis={self.axis}, eps={self.eps}"


class PairwiseDistance(Module):
    """The p-norm of a - b + eps along the last axis: (..., D) twice -> (...).

    >>> nn.PairwiseDistance()(Tensor([[0.0, 0.0]]), Tensor([[3.0, 4.0]])).round(3)
    Tensor([5.])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> None:
        self.p, self.eps, self.keepdims = p, eps, bool(keepdims)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        checks.input_tensor(self, a)
        return a.pairwise_distance(b, self.p, self.eps, self.keepdims)

    def extra_repr(self) -> str:
        return f"p={self.p}, eps={self.eps}, keepdims={self.keepdims}"


class Bilinear(Module):
    """y_o = a @ weight_o @ b + bias_o: (..., in1_features), (..., in2_features) -> (..., O).

    `weight` (out_features, in1_features, in2_features) and `bias` (out_features,) start from
    U(-b, b), b = 1 / sqrt(in1_features). `bias=False` leaves the bias out.

    >>> nn.Bilinear(3, 4, 2)(Tensor.rand(8, 3), Tensor.rand(8, 4)).shape
    (8, 2)
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True
    ) -> None:
        self.in1_features = checks.integer(self, "in1_features", in1_features)
        self.in2_features = checks.integer(self, "in2_features", in2_features)
        self.out_features = checks.integer(self, "out_features", out_features)
        shape = (self.out_features, self.in1_features, self.in2_features)
        found = init.weight_and_bias(self, shape, self.out_features, bias, self.in1_features)
        self.weight, self.bias = found

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        checks.input_size(self, a, -1, self.in1_features, "features of the first input")
        checks.input_size(self, b, -1, self.in2_features, "features of the second input")
        return a.bilinear(b, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"{self.in1_features}, {self.in2_features}, {self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"
