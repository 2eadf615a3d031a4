"""More activation functions as layers; each applies the Tensor method of its name."""

from __future__ import annotations

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.tensor import Tensor


class CELU(Module):
    """x where x > 0, else alpha * (exp(x / alpha) - 1). Barron (2017)."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = checks.positive(self, "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return x.celu(self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(Module):
    """1.0507 * (x where x > 0, else 1.6733 * (exp(x) - 1)). Klambauer et al. (2017)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.selu()


class Mish(Module):
    """x * tanh(log(1 + exp(x))). Misra (2019)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mish()


class ReLU6(Module):
    """x limited to [0, 6]. Krizhevsky (2010)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu6()


class Hardtanh(Module):
    """x limited to [min_val, max_val], by default [-1, 1]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val = checks.real(self, "min_val", min_val)
        self.max_val = checks.real(self, "max_val", max_val)
        if self.min_val >= self.max_val:
            raise ValueError(f"[Hardtanh] min_val must be below max_val, got {min_val}, {max_val}")

    def forward(self, x: Tensor) -> Tensor:
        return x.hardtanh(self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Hardsigmoid(Module):
    """x / 6 + 1 / 2, limited to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.hardsigmoid()


class Hardswish(Module):
    """x * hardsigmoid(x). Howard et al., "Searching for MobileNetV3" (2019)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.hardswish()


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x))), without overflow."""

    def forward(self, x: Tensor) -> Tensor:
        return x.logsigmoid()


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softsign()


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanhshrink()


class Hardshrink(Module):
    """x, but 0 from -lambd to lambd."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = checks.number(self, "lambd", lambd, least=0)

    def forward(self, x: Tensor) -> Tensor:
        return x.hardshrink(self.lambd)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}"


class Softshrink(Module):
    """x moved towards 0 by lambd, which it does not pass."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = checks.number(self, "lambd", lambd, least=0)

    def forward(self, x: Tensor) -> Tensor:
        return x.softshrink(self.lambd)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}"


class Threshold(Module):
    """x where it is above `threshold`, else `value`."""

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold = checks.real(self, "threshold", threshold)
        self.value = checks.real(self, "value", value)

    def forward(self, x: Tensor) -> Tensor:
        return x.threshold(self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class PReLU(Module):
    """x where x > 0, else weight * x, the slope being learned. He et al. (2015).

    `weight` (num_parameters,) starts at `init`: one for all, or one for each channel (axis 1).
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = checks.integer(self, "num_parameters", num_parameters)
        self.weight = Parameter(Tensor.full((self.num_parameters,), float(init), "float32"))

    def forward(self, x: Tensor) -> Tensor:
        checks.input_tensor(self, x)
        return x.prelu(self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """x where x >= 0, else a * x: in training a is drawn from [lower, upper) for every value.

    In evaluation it is their mean. Draws come from random stream 2. Xu et al. (2015).
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        self.lower = checks.real(self, "lower", lower)
        self.upper = checks.real(self, "upper", upper)
        if self.lower > self.upper:
            raise ValueError(f"[RReLU] lower must be at most upper, got {lower} and {upper}")

    def forward(self, x: Tensor) -> Tensor:
        observe(self, "lower", "upper")
        return x.rrelu(self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"


# --- along an axis --------------------------------------------------------------------------------


class GLU(Module):
    """a * sigmoid(b), a and b the halves of x along `axis`, the last by default.

    Dauphin et al., "Language modeling with gated convolutional networks" (2017).
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.glu(self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Module):
    """log(softmax(x)) over `axis`, the last by default, without overflow: what NLLLoss takes."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.log_softmax(self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmin(Module):
    """exp(-x) / sum(exp(-x)) over `axis`, the last by default."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.softmin(self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmax2d(Module):
    """Softmax over the channels at every pixel of (N, C, H, W) or (C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W", "C, H, W")
        return x.softmax(-3)
