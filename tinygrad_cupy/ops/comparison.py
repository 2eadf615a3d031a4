"""Comparing and choosing element by element: `where`, maxima, limits, ``==`` and the like."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Elementwise, TensorBase
from ..autograd.mode import mode
from ..backend import Array, array_module, device_of, plain_array
from ..backend.dtypes import choose, expect_fitting, is_narrow, narrow_scalar, quietly
from .arithmetic import ArithmeticMixin
from .functions import choice
from .promotion import as_float

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class Where(Elementwise):
    """``a`` where ``condition`` (booleans, not differentiated) holds, else ``b``."""

    broadcasts = True
    saves = ("condition",)
    linear = ("a", "b")
    jointly = True

    def forward(self, condition: Array, a: Array, b: Array) -> Array:
        return choose(condition, a, b)

    def backward(self, grad: Tensor, condition: Tensor) -> tuple[Tensor | None, ...]:
        other = Not()(condition) if self.needs[2] else None
        self.chosen = (None, condition, other)
        return (
            None,
            grad.where(condition, 0) if self.needs[1] else None,
            grad.where(other, 0) if other is not None else None,
        )


class Not(Elementwise):
    """Whether a boolean does not hold."""

    differentiable = False

    def forward(self, x: Array) -> Array:
        return ~x


class Maximum(Elementwise):
    """The larger of a and b; where they are equal, each gets half of the gradient.

    Where one of them is NaN, so is the result, and both get the gradient, as in PyTorch.
    """

    broadcasts = True

    def forward(self, a: Array, b: Array) -> Array:
        self.order = quietly(_order, a, b)
        return quietly(self.xp.maximum, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        self.chosen = (grad._wrap(self.order != BELOW), grad._wrap(self.order != ABOVE))
        half = (grad * 0.5).where(self.order == EQUAL, 0)  # a product would make NaN of ∞
        return grad.where(self.order % 2 == 0, half), grad.where(self.order < ABOVE, half)


class Minimum(Maximum):
    """The smaller of a and b; where they are equal, each gets half of the gradient."""

    def forward(self, a: Array, b: Array) -> Array:
        self.order = quietly(_order, a, b)
        return quietly(self.xp.minimum, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        above, below = super().backward(grad)
        self.chosen = self.chosen[::-1]
        return below, above


BELOW, ABOVE, EQUAL = 1, 2, 3


def _order(a: Array, b: Array) -> Array:
    """How a lies to b, one byte an element: 1 below, 2 above, 3 equal, 0 where one is NaN."""
    return (a <= b).astype(np.int8) + (a >= b) * np.int8(ABOVE)


class Clip(Elementwise):
    """x limited to [low, high]; the gradient passes but where x lies outside."""

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = low, high

    def forward(self, x: Array) -> Array:
        xp = self.xp
        if is_narrow(x.dtype):  # NumPy's clip widens bfloat16
            y = x if self.low is None else quietly(xp.maximum, x, self.low)
            y = y if self.high is None else quietly(xp.minimum, y, self.high)
        else:
            y = xp.clip(x, self.low, self.high)
        crossed = self.low is not None and self.high is not None and self.low > self.high
        self.inside = x != x if crossed else (y == x) | (x != x)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        self.chosen = (grad._wrap(self.inside),)
        return grad.where(self.inside, 0)


Fmax = choice(
    "fmax",
    "The larger of a and b, the other where one is NaN; equal elements share the gradient.",
    lambda a, b: (a >= b) | (b != b),
    lambda a, b: (b >= a) | (a != a),
)
Fmin = choice(
    "fmin",
    "The smaller of a and b, the other where one is NaN; equal elements share the gradient.",
    lambda a, b: (a <= b) | (b != b),
    lambda a, b: (b <= a) | (a != a),
)
AtLeast = choice(
    "at_least",
    "a, or the limit b where a is below; where they are equal, a has the gradient.",
    lambda a, b: ~(a < b),
    lambda a, b: a < b,
    lambda a, b: array_module(a).maximum(a, b),
)
AtMost = choice(
    "at_most",
    "a, or the limit b where a is above; where they are equal, a has the gradient.",
    lambda a, b: ~(a > b),
    lambda a, b: a > b,
    lambda a, b: array_module(a).minimum(a, b),
)


class Compare(Elementwise):
    """A comparison: booleans, nothing to differentiate."""

    differentiable = False
    broadcasts = True

    def __init__(self, name: str) -> None:
        self.name = name

    def forward(self, a: Array, b: Array) -> Array:
        return quietly(getattr(self.xp, self.name), a, b)


def _limits(low: Any, high: Any, dtype: Any) -> tuple[Any, Any]:
    """The limits of a `Clip` as ``dtype`` holds them."""
    if is_narrow(dtype):
        return (
            None if low is None else narrow_scalar(low, dtype),
            None if high is None else narrow_scalar(high, dtype),
        )
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        low = None if low is None or low <= info.min else low
        high = None if high is None or high >= info.max else high
        for limit in (low, high):
            expect_fitting(0 if limit is None else limit, dtype, "clip")
    return low, high


def _mask(condition: Any, x: TensorBase, other: Any = None) -> TensorBase:
    """The condition as a boolean tensor on the device of ``x``.

    A copy of an array where a gradient will be wanted, of x or of the ``other`` side.
    """
    if isinstance(condition, TensorBase):
        tensor = condition
    else:
        array = condition
        if isinstance(array, bool | list):
            array = array_module(x._facts).asarray(array)
        wanted = x.requires_grad or (isinstance(other, TensorBase) and other.requires_grad)
        array = plain_array(array)
        tensor = x._wrap(array.copy() if wanted and mode.recording else array)
    if tensor.dtype != bool:
        raise TypeError(f"[where] expected a boolean condition, got dtype {tensor.dtype}")
    place = device_of(tensor._facts)
    if place != device_of(x._facts):
        raise ValueError(
            f"[where] expected the condition on {device_of(x._facts)} like the values, got "
            f"{place}; move it with .to(device)"
        )
    return tensor


class ComparisonMixin(ArithmeticMixin):
    """Comparing and choosing as operators and methods."""

    __slots__ = ()

    def _compare(self, name: str, other: Any) -> Any:
        other = self._operand(other)
        if other is NotImplemented:
            return NotImplemented
        if not isinstance(other, TensorBase) and is_narrow(self._facts.dtype):
            other = narrow_scalar(other, self._facts.dtype)
        return Compare(name)(self, other)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._compare("equal", other)  # type: ignore[no-any-return]

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._compare("not_equal", other)  # type: ignore[no-any-return]

    def __lt__(self, other: Any) -> Tensor:
        return self._compare("less", other)  # type: ignore[no-any-return]

    def __le__(self, other: Any) -> Tensor:
        return self._compare("less_equal", other)  # type: ignore[no-any-return]

    def __gt__(self, other: Any) -> Tensor:
        return self._compare("greater", other)  # type: ignore[no-any-return]

    def __ge__(self, other: Any) -> Tensor:
        return self._compare("greater_equal", other)  # type: ignore[no-any-return]

    __hash__ = object.__hash__  # identity: == gives a tensor

    def where(self, condition: Any, other: Any) -> Tensor:
        """Elements of self where ``condition`` holds, of ``other`` elsewhere; all broadcast.

        What is not chosen has no gradient: where it was computed element by element, an infinite
        slope on the way does not make NaN of its 0, as in ``x.sqrt().where(x > 0, 0)`` at 0.
        """
        mask = _mask(condition, self, other)
        return self._method("where", lambda: functools.partial(Where(), mask), other)

    def maximum(self, other: Any) -> Tensor:
        """The larger of self and other; equal elements share the gradient."""
        return self._method("maximum", Maximum, other)

    def minimum(self, other: Any) -> Tensor:
        """The smaller of self and other; equal elements share the gradient."""
        return self._method("minimum", Minimum, other)

    def clip(
        self,
        low: Any = None,
        high: Any = None,
        out: Any = None,
        *,
        min: Any = None,
        max: Any = None,
    ) -> Tensor:
        """Elements limited to [low, high]; None leaves that side open. NumPy calls them min, max.

        Limits that are tensors or arrays broadcast, and have a gradient where x lies outside; the
        upper one counts where they cross.
        """
        low = _one_limit("low", low, min)
        high = _one_limit("high", high, max)
        if out is not None:
            return np.clip(self, low, high, out)  # type: ignore[call-overload, no-any-return]
        if low is None and high is None:
            raise ValueError("[clip] expected a lower or an upper limit, got neither")
        limits: list[Any] = [None if v is None else self._operand(v) for v in (low, high)]
        x: Any = self
        if any(isinstance(v, TensorBase) for v in limits):
            for kind, limit in zip((AtLeast, AtMost), limits, strict=True):
                x = x if limit is None else kind.of(x, limit)
            return x  # type: ignore[no-any-return]
        x = as_float(self) if any(isinstance(v, float) for v in limits) else self
        return Clip(*_limits(limits[0], limits[1], x._facts.dtype))(x)


def _one_limit(name: str, ours: Any, theirs: Any) -> Any:
    if ours is not None and theirs is not None:
        raise TypeError(f"[clip] expected {name} by one of its two names, got both")
    return theirs if ours is None else ours


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """``a`` where the boolean ``condition`` holds, else ``b``; all three broadcast.

    At least one of ``a`` and ``b`` is a tensor; the other may be a scalar.

    >>> x = Tensor([-1.0, 2.0], requires_grad=True)
    >>> tg.where(x > 0, x, 0.0).sum().backward()
    >>> x.grad
    Tensor([0., 1.])
    """
    if isinstance(a, TensorBase):
        return a.where(condition, b)  # type: ignore[attr-defined, no-any-return]
    if not isinstance(b, TensorBase):
        raise TypeError(
            f"[where] expected a tensor as a or b, got {type(a).__name__} and {type(b).__name__}"
        )
    tensor: Any = b
    mask = Not()(_mask(condition, b))
    choose = functools.partial(Where().watch(condition), mask)
    chosen: Tensor = tensor._method("where", lambda: choose, a)
    return chosen
