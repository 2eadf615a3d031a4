"""Activation functions as layers; each applies the Tensor method of its name to every value."""

from __future__ import annotations

from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module
from tinygrad_cupy.tensor import Tensor


class ReLU(Module):
    """max(x, 0).

    >>> nn.ReLU()(Tensor([-1.0, 0.0, 2.0]))
    Tensor([0., 0., 2.])
    """

    acts_as = "relu"

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x. Maas et al. (2013).

    >>> nn.LeakyReLU(0.1)(Tensor([-1.0, 0.0, 2.0]))
    Tensor([-0.1,  0. ,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = checks.number(self, "negative_slope", negative_slope, least=0)

    def forward(self, x: Tensor) -> Tensor:
        return x.leaky_relu(self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """x * Phi(x), Phi the normal distribution function; "tanh" is its fast approximation.

    Hendrycks and Gimpel, "Gaussian error linear units" (2016).

    >>> nn.GELU()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-0.159,  0.   ,  1.954])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = checks.choice(self, "approximate", approximate, ("none", "tanh"))

    def forward(self, x: Tensor) -> Tensor:
        return x.gelu(self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1). Clevert et al. (2015).

    >>> nn.ELU()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-0.632,  0.   ,  2.   ])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = checks.positive(self, "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return x.elu(self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SiLU(Module):
    """x * sigmoid(x), also called swish. Ramachandran et al. (2017).

    >>> nn.SiLU()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-0.269,  0.   ,  1.762])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.silu()


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    >>> nn.Sigmoid()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([0.269, 0.5  , 0.881])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class Tanh(Module):
    """The hyperbolic tangent.

    >>> nn.Tanh()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-0.762,  0.   ,  0.964])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, without overflow.

    x itself where beta * x is above `threshold`, which PyTorch sets to 20: none is needed.

    >>> nn.Softplus()(Tensor([-100.0, 0.0, 100.0])).round(3)
    Tensor([  0.   ,   0.693, 100.   ])
    """

    def __init__(self, beta: float = 1.0, threshold: float | None = None) -> None:
        self.beta = checks.positive(self, "beta", beta)
        self.threshold = None if threshold is None else checks.real(self, "threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        return x.softplus(self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) over `axis`, the last by default: values that sum to 1.

    >>> nn.Softmax()(Tensor([[0.0, 0.0], [0.0, 100.0]])).round(3)
    Tensor([[0.5, 0.5],
            [0. , 1. ]])
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"
