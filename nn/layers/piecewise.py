"""More activation functions as layers; each applies the Tensor method of its name."""

from __future__ import annotations

from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.nn import checks
from tinygrad_cupy.nn.module import Module, Parameter
from tinygrad_cupy.tensor import Tensor


class CELU(Module):
    """x where x > 0, else alpha * (exp(x / alpha) - 1). Barron (2017).

    >>> nn.CELU(2.0)(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-0.787,  0.   ,  2.   ])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = checks.positive(self, "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return x.celu(self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(Module):
    """1.0507 * (x where x > 0, else 1.6733 * (exp(x) - 1)). Klambauer et al. (2017).

    >>> nn.SELU()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-1.111,  0.   ,  2.101])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.selu()


class Mish(Module):
    """x * tanh(log(1 + exp(x))). Misra (2019).

    >>> nn.Mish()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-0.303,  0.   ,  1.944])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mish()


class ReLU6(Module):
    """x limited to [0, 6]. Krizhevsky (2010).

    >>> nn.ReLU6()(Tensor([-1.0, 3.0, 8.0]))
    Tensor([0., 3., 6.])
    """

    acts_as = "relu6"

    def forward(self, x: Tensor) -> Tensor:
        return x.relu6()


class Hardtanh(Module):
    """x limited to [min_val, max_val], by default [-1, 1].

    >>> nn.Hardtanh()(Tensor([-3.0, 0.5, 2.0]))
    Tensor([-1. ,  0.5,  1. ])
    """

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
    """x / 6 + 1 / 2, limited to [0, 1].

    >>> nn.Hardsigmoid()(Tensor([-4.0, 0.0, 1.5]))
    Tensor([0.  , 0.5 , 0.75])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.hardsigmoid()


class Hardswish(Module):
    """x * hardsigmoid(x). Howard et al., "Searching for MobileNetV3" (2019).

    >>> nn.Hardswish()(Tensor([-1.5, 1.5, 4.0]))
    Tensor([-0.375,  1.125,  4.   ])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.hardswish()


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x))), without overflow.

    >>> nn.LogSigmoid()(Tensor([-100.0, 0.0])).round(3)
    Tensor([-100.   ,   -0.693])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.logsigmoid()


class Softsign(Module):
    """x / (1 + |x|).

    >>> nn.Softsign()(Tensor([-1.0, 0.0, 3.0]))
    Tensor([-0.5 ,  0.  ,  0.75])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.softsign()


class Tanhshrink(Module):
    """x - tanh(x).

    >>> nn.Tanhshrink()(Tensor([-1.0, 0.0, 2.0])).round(3)
    Tensor([-0.238,  0.   ,  1.036])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.tanhshrink()


class Hardshrink(Module):
    """x, but 0 from -lambd to lambd.

    >>> nn.Hardshrink()(Tensor([-1.0, 0.3, 2.0]))
    Tensor([-1.,  0.,  2.])
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = checks.number(self, "lambd", lambd, least=0)

    def forward(self, x: Tensor) -> Tensor:
        return x.hardshrink(self.lambd)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}"


class Softshrink(Module):
    """x moved towards 0 by lambd, which it does not pass.

    >>> nn.Softshrink()(Tensor([-1.0, 0.3, 2.0]))
    Tensor([-0.5,  0. ,  1.5])
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = checks.number(self, "lambd", lambd, least=0)

    def forward(self, x: Tensor) -> Tensor:
        return x.softshrink(self.lambd)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}"


class Threshold(Module):
    """x where it is above `threshold`, else `value`.

    >>> nn.Threshold(1.0, -5.0)(Tensor([0.5, 1.0, 2.0]))
    Tensor([-5., -5.,  2.])
    """

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

    >>> nn.PReLU()(Tensor([-1.0, 0.0, 2.0])).detach()
    Tensor([-0.25,  0.  ,  2.  ])
    >>> nn.PReLU(3).weight.shape  # a slope for each of three channels
    (3,)
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

    >>> nn.RReLU(0.1, 0.3).eval()(Tensor([-1.0, 0.0, 2.0]))
    Tensor([-0.2,  0. ,  2. ])
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

    >>> nn.GLU()(Tensor([[1.0, 2.0, 0.0, 100.0]]))
    Tensor([[0.5, 2. ]])
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.glu(self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Module):
    """log(softmax(x)) over `axis`, the last by default, without overflow: what NLLLoss takes.

    >>> nn.LogSoftmax()(Tensor([[0.0, 0.0]])).round(3)
    Tensor([[-0.693, -0.693]])
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.log_softmax(self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmin(Module):
    """exp(-x) / sum(exp(-x)) over `axis`, the last by default.

    >>> nn.Softmin()(Tensor([[0.0, 0.0], [0.0, 100.0]])).round(3)
    Tensor([[0.5, 0.5],
            [1. , 0. ]])
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.softmin(self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmax2d(Module):
    """Softmax over the channels at every pixel of (N, C, H, W) or (C, H, W).

    >>> y = nn.Softmax2d()(Tensor.rand(2, 3, 4, 4))
    >>> y.shape, y.sum(1).round(3).max().item()
    ((2, 3, 4, 4), 1.0)
    """

    def forward(self, x: Tensor) -> Tensor:
        checks.input_axes(self, x, "N, C, H, W", "C, H, W")
        return x.softmax(-3)
