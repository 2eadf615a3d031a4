"""Activations, element by element."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from ..autograd import Elementwise, TensorBase
from ..autograd.autocast import in_wide
from ..backend import Array, special_functions
from .comparison import where
from .promotion import as_float, as_ordered, in_single
from .unary import FAR

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class Tanh(Elementwise):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.tanh(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * (1 - y * y)


class Sigmoid(Elementwise):
    only_real = True
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return special_functions(x).expit(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * (y * (1 - y))


class Softplus(Elementwise):
    """log(1 + eˣ), without overflow."""

    only_real = True
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        with np.errstate(invalid="ignore"):  # NumPy warns of NaN, here alone
            return self.xp.logaddexp(x, x.dtype.type(0))

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * x.sigmoid()


class Silu(Elementwise):
    """x · sigmoid(x): 0 at -∞, with all derivatives."""

    only_real = True
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.maximum(x, -FAR) * special_functions(x).expit(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        x = x.clip(-FAR, FAR)
        y = x.sigmoid()
        return grad * (y * (x * (1 - y) + 1))


class Gelu(Elementwise):
    """x · Φ(x), Φ the normal distribution function: 0 at -∞, with all derivatives."""

    only_real = True
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        y = special_functions(x).erf(x * math.sqrt(0.5))
        y += 1
        y *= 0.5
        y *= self.xp.maximum(x, -FAR)
        return y

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        x = x.clip(-FAR, FAR)
        density = (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))
        return grad * (((x * math.sqrt(0.5)).erf() + 1) * 0.5 + x * density)


class Relu(Elementwise):
    """max(x, 0); the gradient at 0 is 0."""

    only_real = True
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return kernels.activation.relu(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return ReluBackward()(grad, y.detach())


class ReluBackward(Elementwise):
    """The gradient of ReLU, whose output is y: linear in the gradient, so its own backward."""

    only_real = True
    saves = ("y",)
    linear = ("grad",)

    def forward(self, grad: Array, y: Array) -> Array:
        return kernels.activation.relu_backward(grad, y)

    def backward(self, grad: Tensor, y: Tensor) -> tuple[Tensor, None]:
        return ReluBackward()(grad, y), None


class GeluTanh(Elementwise):
    """`Gelu` with Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""

    only_real = True
    saves = ("x",)
    scale, cubic = math.sqrt(2 / math.pi), 0.044715

    def forward(self, x: Array) -> Array:
        near = self.xp.clip(x, -FAR, FAR)
        y = self.xp.tanh((near + near * near * near * self.cubic) * self.scale)
        y += 1
        y *= 0.5
        y *= self.xp.maximum(x, -FAR)
        return y

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        x = x.clip(-FAR, FAR)
        square = x * x
        y = ((x * square * self.cubic + x) * self.scale).tanh()
        slope = (square * (3 * self.cubic) + 1) * (self.scale * 0.5)
        return grad * ((y + 1) * 0.5 + x * (1 - y * y) * slope)


class ActivationMixin(TensorBase):
    """Activations as methods."""

    __slots__ = ()

    def tanh(self) -> Tensor:
        """Hyperbolic tangent, elementwise."""
        return in_single(as_float(self), Tanh())

    def sigmoid(self) -> Tensor:
        """1 / (1 + e⁻ˣ), elementwise."""
        return in_single(as_float(self), Sigmoid())

    @in_wide
    def softplus(self, beta: float = 1.0, threshold: float | None = None) -> Tensor:
        """log(1 + exp(beta · x)) / beta, elementwise, without overflow.

        x itself where beta · x is above ``threshold``, which PyTorch sets to 20: none is needed.
        """
        if not beta:
            raise ValueError("[softplus] expected a beta other than 0")
        x = as_float(self)
        if beta == 1:
            y = Softplus()(x)
        else:
            y = in_single(x, lambda x: Softplus()(x * beta) / beta)
        return y if threshold is None else x.where(x * beta > threshold, y)

    def relu(self) -> Tensor:
        """max(x, 0), elementwise; the gradient at 0 is 0."""
        return Relu()(self)

    def leaky_relu(self, negative_slope: float = 0.01) -> Tensor:
        """x where x > 0, else negative_slope · x."""
        x = as_ordered(self, "leaky_relu")
        return x.where(x > 0, x * negative_slope)

    def elu(self, alpha: float = 1.0) -> Tensor:
        """x where x > 0, else alpha · (eˣ - 1) (Clevert et al. 2016)."""

        def compute(x: Tensor) -> Tensor:
            positive = x > 0
            negative = where(positive, 0, x)  # exp of a large positive x would overflow
            return x.where(positive, negative.expm1() * alpha)

        return in_single(as_ordered(self, "elu"), compute)

    def silu(self) -> Tensor:
        """x · sigmoid(x) (Elfwing et al. 2018), also called swish."""
        return in_single(as_float(self), Silu())

    def gelu(self, approximate: str = "none") -> Tensor:
        """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

        ``approximate="tanh"`` takes 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) instead.
        """
        if approximate not in ("none", "tanh"):
            raise ValueError(f'[gelu] expected approximate "none" or "tanh", got {approximate!r}')
        return in_single(as_float(self), Gelu() if approximate == "none" else GeluTanh())
