"""Normalization over the last axes, and over neighbouring channels."""

from __future__ import annotations

from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.tensor import Tensor


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the last axes, `normalized_shape`.

    Ba, Kiros and Hinton, "Layer normalization" (2016). The biased variance; the same in training
    and evaluation. `weight` starts at 1 and `bias` at 0, both of shape `normalized_shape`;
    `elementwise_affine=False` leaves both out, `bias=False` the bias. ValueError for an input of
    other last axes.

    >>> norm = nn.LayerNorm(2)
    >>> norm(Tensor([[1.0, 3.0], [10.0, 30.0]])).detach().round(3)
    Tensor([[-1.,  1.],
            [-1.,  1.]])
    >>> nn.LayerNorm((3, 8)).weight.shape
    (3, 8)
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        axes = self.normalized_shape = _last_axes(self, normalized_shape)
        self.eps = checks.positive(self, "eps", eps)
        self.weight = Parameter(Tensor.ones(*axes)) if elementwise_affine else None
        self.bias = Parameter(Tensor.zeros(*axes)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        _expect_last_axes(self, x, self.normalized_shape)
        return x.layer_norm(self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
        )


class RMSNorm(Module):
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axes, `normalized_shape`.

    Zhang and Sennrich, "Root mean square layer normalization" (2019). `eps` is by default the
    distance from 1 to the next number of the dtype that is computed in. `weight` starts at 1;
    `elementwise_affine=False` leaves it out. ValueError for an input of other last axes.

    >>> nn.RMSNorm(2)(Tensor([[1.0, 7.0]])).detach().round(3)  # by the root of (1 + 49) / 2
    Tensor([[0.2, 1.4]])
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        self.normalized_shape = _last_axes(self, normalized_shape)
        self.eps = None if eps is None else checks.positive(self, "eps", eps)
        self.weight = Parameter(Tensor.ones(*self.normalized_shape)) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        _expect_last_axes(self, x, self.normalized_shape)
        return x.rms_norm(self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
        )


class LocalResponseNorm(Module):
    """x / (k + alpha * m)^beta, m the mean of x^2 over `size` neighbouring channels.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks" (2012); of
    (N, C, ...), channels beyond the ends being 0. Defaults: alpha 1e-4, beta 0.75, k 1.

    >>> nn.LocalResponseNorm(5)(Tensor.rand(2, 16, 8, 8)).shape
    (2, 16, 8, 8)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = checks.integer(self, "size", size)
        self.alpha, self.beta, self.k = (
            checks.real(self, name, value)
            for name, value in (("alpha", alpha), ("beta", beta), ("k", k))
        )

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.local_response_norm(self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _last_axes(layer: Module, shape: int | tuple[int, ...]) -> tuple[int, ...]:
    axes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not axes:
        name = type(layer).__name__
        raise ValueError(f"[{name}] normalized_shape must name at least one axis, got ()")
    return tuple([checks.integer(layer, "normalized_shape", size) for size in axes])


def _expect_last_axes(layer: Module, x: Tensor, shape: tuple[int, ...]) -> None:
    checks.input_tensor(layer, x)
    axes = len(shape)
    if x.shape[-axes:] != shape:
        raise ValueError(
            f"[{type(layer).__name__}] expected the last {axes} axes to be {shape}, got "
            f"{x.shape[-axes:]} (input shape {x.shape})"
        )
