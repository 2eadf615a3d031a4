"""Functions of one tensor, element by element: exponentials, roots, sines, activations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..autograd import Op, TensorBase
from ..backend import Array, special_functions
from . import relu_kernels
from .elementwise import as_float

if TYPE_CHECKING:
    from ..tensor import Tensor


# --- functions ----------------------------------------------------------------------------------


class Exp(Op):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.exp(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * y


class Expm1(Op):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.expm1(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * (y + 1)


class Log(Op):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.log(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad / x


class Sqrt(Op):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.sqrt(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad / (y * 2)


class Abs(Op):
    """|x|; the gradient at 0 is 0."""

    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.abs(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * x.sign()


class Sign(Op):
    def forward(self, x: Array) -> Array:
        return self.xp.sign(x)

    def backward(self, grad: Tensor) -> Tensor:
        return grad._wrap(self.xp.zeros_like(grad.data))


class Sin(Op):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.sin(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * x.cos()


class Cos(Op):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.cos(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return -(grad * x.sin())


class Erf(Op):
    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return special_functions(x).erf(x)

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (-(x * x)).exp() * (2 / math.sqrt(math.pi))


# --- activations --------------------------------------------------------------------------------


class Tanh(Op):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return self.xp.tanh(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * (1 - y * y)


class Sigmoid(Op):
    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return special_functions(x).expit(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return grad * (y * (1 - y))


class Softplus(Op):
    """log(1 + eˣ), without overflow."""

    saves = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.logaddexp(x, x.dtype.type(0))

    def backward(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * x.sigmoid()


class Relu(Op):
    """max(x, 0); the gradient at 0 is 0."""

    saves = ("y",)

    def forward(self, x: Array) -> Array:
        return relu_kernels.relu(x)

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        return ReluGate(y.data).watch(y)(grad)


class ReluGate(Op):
    """The gradient of ReLU: linear in the gradient, so it is its own backward."""

    def __init__(self, y: Array) -> None:
        self.y = y

    def forward(self, grad: Array) -> Array:
        return relu_kernels.gate(grad, self.y)

    def backward(self, grad: Tensor) -> Tensor:
        return ReluGate(self.y).watch_with(self)(grad)


# --- the methods --------------------------------------------------------------------------------


class FunctionMixin(TensorBase):
    """Functions and activations as methods."""

    __slots__ = ()

    def exp(self) -> Tensor:
        """eˣ, elementwise."""
        return Exp()(as_float(self))

    def expm1(self) -> Tensor:
        """eˣ - 1, elementwise, exact near 0."""
        return Expm1()(as_float(self))

    def log(self) -> Tensor:
        """Natural logarithm, elementwise."""
        return Log()(as_float(self))

    def sqrt(self) -> Tensor:
        """Square root, elementwise; the gradient at 0 is infinite."""
        return Sqrt()(as_float(self))

    def abs(self) -> Tensor:
        """Absolute value, elementwise; the gradient at 0 is 0."""
        return Abs()(self)

    __abs__ = abs

    def sign(self) -> Tensor:
        """-1, 0 or 1, elementwise; the gradient is 0."""
        return Sign()(self)

    def sin(self) -> Tensor:
        """Sine of radians, elementwise."""
        return Sin()(as_float(self))

    def cos(self) -> Tensor:
        """Cosine of radians, elementwise."""
        return Cos()(as_float(self))

    def erf(self) -> Tensor:
        """The error function 2/√π ∫₀ˣ exp(-t²) dt, elementwise."""
        return Erf()(as_float(self))

    def tanh(self) -> Tensor:
        """Hyperbolic tangent, elementwise."""
        return Tanh()(as_float(self))

    def sigmoid(self) -> Tensor:
        """1 / (1 + e⁻ˣ), elementwise."""
        return Sigmoid()(as_float(self))

    def softplus(self) -> Tensor:
        """log(1 + eˣ), elementwise, without overflow."""
        return Softplus()(as_float(self))

    def relu(self) -> Tensor:
        """max(x, 0), elementwise; the gradient at 0 is 0."""
        return Relu()(self)

    def leaky_relu(self, negative_slope: float = 0.01) -> Tensor:
        """x where x > 0, else negative_slope · x."""
        x = as_float(self)
        return x.where(x > 0, x * negative_slope)

    def elu(self, alpha: float = 1.0) -> Tensor:
        """x where x > 0, else alpha · (eˣ - 1) (Clevert et al. 2016)."""
        x = as_float(self)
        negative = x.where(x <= 0, 0)  # exp of a large positive x would overflow
        return x.where(x > 0, negative.expm1() * alpha)

    def silu(self) -> Tensor:
        """x · sigmoid(x) (Elfwing et al. 2018), also called swish."""
        x = as_float(self)
        return x * x.sigmoid()

    def gelu(self, approximate: str = "none") -> Tensor:
        """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

        ``approximate="tanh"`` takes 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) instead.
        """
        x = as_float(self)
        if approximate == "none":
            return x * ((x * math.sqrt(0.5)).erf() + 1) * 0.5
        if approximate == "tanh":
            return x * (((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)).tanh() + 1) * 0.5
        raise ValueError(f'[gelu] expected approximate "none" or "tanh", got {approximate!r}')
