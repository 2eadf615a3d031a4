"""Activations put together from others, under PyTorch's names: a line for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import random
from ..autograd import Elementwise
from ..autograd.autocast import as_of_products
from ..autograd.batching import as_batched
from ..backend import Array, array_module, device_of, on_device_of
from ..backend.capture import active
from ..backend.dtypes import choose, is_narrow, narrow_scalar
from .activation import ActivationMixin
from .axes import nonempty_axes
from .comparison import Not, where
from .promotion import as_float, as_ordered, in_one_dtype, in_single, single
from .unary import FAR

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _activation(
    name: str, doc: str, compute: Callable[[Any], Any], ordered: bool = True
) -> Callable[[Any], Tensor]:
    """A method: ``compute`` of a tensor of floats, through float32 where it has 16 bits."""

    def method(self: Any) -> Tensor:
        return in_single(as_ordered(self, name) if ordered else as_float(self), compute)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = doc
    return method


def _elu(x: Any, alpha: float, stretch: float = 1.0) -> Any:
    positive = x > 0
    below = where(positive, 0, x)  # exp of a large positive x would overflow
    return x.where(positive, (below / stretch if stretch != 1 else below).expm1() * alpha)


class Between(Elementwise):
    """x limited to [low, high], without a slope at the ends, which are rounded to x's dtype."""

    only_real = True
    saves = ("y",)

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def forward(self, x: Array) -> Array:
        low, high = self._ends(x.dtype)
        wide = x.astype(np.float32) if is_narrow(x.dtype) else x
        y = choose(wide >= high, high, choose(wide <= low, low, wide))
        return y.astype(x.dtype) if is_narrow(x.dtype) else y

    def backward(self, grad: Tensor, y: Tensor) -> Tensor:
        low, high = self._ends(y.dtype)
        wide = single(y)
        inside = Not()((wide >= high) | (wide <= low))
        self.chosen = (inside,)
        return single(grad).where(inside, 0).astype(grad.dtype)

    def _ends(self, dtype: Any) -> tuple[float, float]:
        if not is_narrow(dtype):
            return self.low, self.high
        return float(narrow_scalar(self.low, dtype)), float(narrow_scalar(self.high, dtype))


def _between(x: Any, low: float, high: float) -> Tensor:
    found: Tensor = Between(low, high)(x)
    return found


class PiecewiseMixin(ActivationMixin):
    """More activations as methods. At a kink the slope is one of both sides, as in PyTorch."""

    __slots__ = ()

    hardsigmoid = _activation(
        "hardsigmoid",
        "x / 6 + 1 / 2, limited to [0, 1].",
        lambda x: _between(x / 6 + 0.5, 0, 1),
    )
    hardswish = _activation(
        "hardswish",
        "x · hardsigmoid(x) (Howard et al. 2019).",
        lambda x: _between(x / 6 + 0.5, 0, 1) * x.maximum(-FAR),
    )
    logsigmoid = _activation(
        "logsigmoid", "log(1 / (1 + e⁻ˣ)), without overflow.", lambda x: -(-x).softplus()
    )
    mish = _activation(
        "mish",
        "x · tanh(log(1 + eˣ)) (Misra 2019).",
        lambda x: x.maximum(-FAR) * x.softplus().tanh(),
    )
    selu = _activation(
        "selu",
        "1.0507 · (x where x > 0, else 1.6733 · (eˣ - 1)) (Klambauer et al. 2017).",
        lambda x: _elu(x, SELU_ALPHA) * SELU_SCALE,
    )
    softsign = _activation("softsign", "x / (1 + |x|).", lambda x: x / (x.abs() + 1), False)
    tanhshrink = _activation("tanhshrink", "x - tanh(x).", lambda x: x - x.tanh(), False)

    def relu6(self) -> Tensor:
        """x limited to [0, 6]."""
        return _between(as_ordered(self, "relu6"), 0, 6)

    def celu(self, alpha: float = 1.0) -> Tensor:
        """x where x > 0, else alpha · (exp(x / alpha) - 1) (Barron 2017)."""
        if not alpha:
            raise ValueError("[celu] expected an alpha other than 0")
        return in_single(as_ordered(self, "celu"), lambda x: _elu(x, alpha, alpha))

    def glu(self, axis: int = -1) -> Tensor:
        """a · sigmoid(b), a and b the halves of self along ``axis`` (Dauphin et al. 2017)."""
        x: Any = as_float(self)
        (place,) = nonempty_axes(x.shape, axis, "glu")
        if x.shape[place] % 2:
            raise ValueError(
                f"[glu] expected an even number of elements along axis {axis}, got shape {x.shape}"
            )
        before, half = (slice(None),) * place, x.shape[place] // 2

        def gated(x: Any) -> Any:
            a, b = x[(*before, slice(half))], x[(*before, slice(half, None))]
            return a * b.sigmoid()

        return in_single(x, gated)

    def hardshrink(self, lambd: float = 0.5) -> Tensor:
        """x, but 0 from -lambd to lambd."""
        x: Any = as_ordered(self, "hardshrink")
        return where((x >= -lambd) & (x <= lambd), 0, x)

    def hardtanh(self, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
        """x limited to [min_val, max_val]."""
        if min_val > max_val:
            raise ValueError(f"[hardtanh] expected min_val ≤ max_val, got {min_val} and {max_val}")
        x: Any = as_ordered(self, "hardtanh")
        return _between(x, min_val, max_val)

    def prelu(self, weight: Tensor) -> Tensor:
        """x where x > 0, else weight · x (He et al. 2015).

        The weight has one element, or one for each channel: along axis 1. Raises ``ValueError``
        where it has neither.
        """
        x, w = as_of_products(as_ordered(self, "prelu"), as_float(weight))
        x, w = in_one_dtype(x, w)
        channels = x.shape[1] if len(x.shape) > 1 else 1
        if len(w.shape) > 1 or w.shape not in ((), (1,), (channels,)):
            raise ValueError(
                f"[prelu] expected a weight of shape (1,) or ({channels},), got {w.shape}"
            )
        if w.shape != (1,) and w.shape:
            w = w.reshape(-1, *[1] * (len(x.shape) - 2))
        elif not x.shape:
            w = w.reshape(())
        return x.where(x > 0, w * x)

    def rrelu(self, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
        """x where x > 0, else a · x (Xu et al. 2015).

        In training each a is drawn from [lower, upper) (from the stream of dropout); else it is
        their mean.
        """
        if not lower <= upper:
            raise ValueError(f"[rrelu] expected lower ≤ upper, got {lower} and {upper}")
        x: Any = as_ordered(self, "rrelu")
        if not training:
            slope: Any = (lower + upper) / 2
        else:
            slope = (drawn(x, x.shape) * (upper - lower) + lower).astype(x.dtype)
        return x.where(x > 0, x * slope)  # type: ignore[no-any-return]

    def softmin(self, axis: Any = -1) -> Tensor:
        """exp(-x) / Σ exp(-x), the sum over ``axis``."""
        x: Any = as_float(self)
        return (-x).softmax(axis)  # type: ignore[no-any-return]

    def softshrink(self, lambd: float = 0.5) -> Tensor:
        """x moved towards 0 by lambd, which it does not pass."""
        if lambd < 0:
            raise ValueError(f"[softshrink] expected lambd ≥ 0, got {lambd}")
        return in_single(as_ordered(self, "softshrink"), lambda x: x - x.clip(-lambd, lambd))

    def threshold(self, threshold: float, value: float) -> Tensor:
        """x where it is above ``threshold``, else ``value``."""
        x: Any = as_ordered(self, "threshold")
        return where(x <= threshold, value, x)

    def gumbel_softmax(self, tau: float = 1.0, hard: bool = False, axis: int = -1) -> Tensor:
        """softmax((self + g) / tau) over ``axis``, g drawn from Gumbel's distribution.

        With ``hard`` one-hot at its largest element, with the gradient of the soft one (Jang et al.
        2017). Drawn from the stream of dropout.
        """
        x: Any = as_ordered(self, "gumbel_softmax")
        wide = single(x)
        waits = -(1 - drawn(x, x.shape).astype(wide.dtype)).log()
        noise = -waits.maximum(2.0**-25).log()
        soft = ((wide + noise) / tau).softmax(axis).astype(x.dtype)
        if not hard:
            return soft  # type: ignore[no-any-return]
        with on_device_of(x.data):
            count = array_module(x.data).arange(soft.shape[axis])
        places = x._wrap(count.reshape(-1, *[1] * (soft.ndim - 1 - axis % soft.ndim)))
        chosen = places == soft.detach().argmax(axis, keepdims=True)
        return chosen.astype(soft.dtype) - soft.detach() + soft  # type: ignore[no-any-return]


def drawn(x: Any, shape: tuple[int, ...]) -> Any:
    """Numbers in [0, 1), float32, from the stream of dropout, each element of a batch's own."""

    def one(shape: tuple[int, ...]) -> Any:
        return x._plain._wrap(random.uniform(shape, random.STREAM_DROPOUT, device_of(x.data)))

    return one(shape) if active.level is None else as_batched(one, shape)
