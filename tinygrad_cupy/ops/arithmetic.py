"""Operations applied element by element: arithmetic, functions, activations, comparisons.

Binary operations broadcast as NumPy's do. A Python or NumPy scalar takes the tensor's dtype; only
a float meeting an integer tensor turns it into float32. With float16 and bfloat16 tensors, sums,
products and powers by a scalar are computed in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from ..autograd import Op, TensorBase
from ..autograd.mode import mode
from ..backend import Array, array_module, device_of, plain_array
from ..backend.dtypes import (
    choose,
    common_dtype,
    expect_fitting,
    is_float,
    is_narrow,
    narrow_scalar,
    quietly,
    rounded_once,
)

if TYPE_CHECKING:
    from ..tensor import Tensor


def as_float(x: TensorBase) -> Tensor:
    """``x``, cast to float32 where it holds integers or booleans."""
    tensor: Tensor = x  # type: ignore[assignment]
    return tensor if is_float(x.data.dtype) else tensor.astype(np.float32)


def in_one_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """``tensors``, promoted to one dtype; themselves where they are of one already."""
    dtypes = [t.data.dtype for t in tensors]
    if len(set(dtypes)) == 1:
        return tensors
    dtype = common_dtype(*dtypes)
    return tuple([t.astype(dtype) for t in tensors])


def in_single(x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """``compute(x)``, in float32 and cast back where x is of float16 or bfloat16.

    What is computed on the way would overflow there, and be rounded at every step.
    """
    if not is_narrow(x.data.dtype):
        return compute(x)
    return compute(x.astype(np.float32)).astype(x.data.dtype)


def single(x: Tensor) -> Tensor:
    """``x``, in float32 where it has 16 bits: a rule of several steps is rounded at its end."""
    return x.astype(np.float32) if is_narrow(x.data.dtype) else x


NUMBERS = (bool, int, float, np.float32)  # what an operation takes beside a tensor


# --- arithmetic ---------------------------------------------------------------------------------


class Add(Op):
    broadcasts = True

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.add, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad


class Sub(Op):
    broadcasts = True

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.subtract, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        return grad, -grad if self.needs[1] else None


class Mul(Op):
    broadcasts = True
    saves = ("a", "b")
    read_for = (1, 0)

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.multiply, a, b)

    def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if grad.data.dtype.itemsize == 2 and self._stretched(grad.data.shape):
            grad = single(grad)  # rounded when it has been summed, not before
        return grad * b if self.needs[0] else None, grad * a if self.needs[1] else None

    def _stretched(self, shape: tuple[int, ...]) -> bool:
        return any(known is not None and known[0] != shape for known in self.inputs)


class Div(Op):
    broadcasts = True
    saves = ("a", "b")
    read_for = (1, None)

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.true_divide, a, b)

    def backward(self, grad: Tensor, a: Any, b: Any) -> tuple[Tensor, Tensor | None]:
        over_b = single(grad) / b
        return over_b, -(over_b * (a / single(b))) if self.needs[1] else None


class Pow(Op):
    """a ** b. At a = 0 the derivative by b is 0 for b ≥ 0 (its limit), and by a is 0 for b = 0."""

    broadcasts = True
    saves = ("a", "b", "y")
    read_for = (None, None, 1)

    def forward(self, a: Array, b: Array) -> Array:
        if type(b) in (int, float, np.float32) and b in (1, 2):  # exact; CUDA's pow is not
            return a * a if b == 2 else a.copy()
        if type(b) is np.float32 or type(a) is np.float32:
            return rounded_once(self.xp.power, a, b)
        return a**b  # NumPy takes roots faster through the operator than by power()

    def backward(
        self, grad: Tensor, a: Any, b: Any, y: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        if is_narrow(grad.data.dtype):  # y too: it was rounded, and its products may be summed
            grad = single(grad)
            a, b = (v if isinstance(v, NUMBERS) else single(v) for v in (a, b))
            y = a**b if self.needs[1] else y
        return (
            self._by_base(grad, a, b) if self.needs[0] else None,
            self._by_exponent(grad, a, b, y) if self.needs[1] else None,
        )

    def _by_base(self, grad: Tensor, a: Any, b: Any) -> Any:
        if isinstance(b, NUMBERS):
            if b == 0:
                return grad.where(self.xp.zeros((), bool), 0)  # a product would make NaN of ∞
            return grad * (b * a ** (b - 1))
        # Only there is b · a**(b - 1) of the form 0 · ∞; elsewhere b = 0 has a slope by b.
        flat = (b == 0).data & (a == 0).data
        exponent = b.where(~flat, 1)
        return (grad * exponent * a ** (exponent - 1)).where(~flat, 0)

    def _by_exponent(self, grad: Tensor, a: Any, b: Tensor, y: Tensor) -> Any:
        if isinstance(a, NUMBERS):
            if a == 0:
                steep = (grad * -math.inf).where(~(b >= 0).data, 0)
                return steep.where((b == b).data, math.nan)
            return grad * y * (math.log(a) if a > 0 else math.nan)
        flat = (a == 0).data & (b >= 0).data
        return (grad * y * a.where(~flat, 1).log()).where(~flat, 0)


class Where(Op):
    """``a`` where ``condition`` (a boolean array, not differentiated) holds, else ``b``."""

    broadcasts = True

    def __init__(self, condition: Array) -> None:
        self.condition = condition

    def forward(self, a: Array, b: Array) -> Array:
        return choose(self.condition, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        keep = self.condition
        return (
            grad.where(keep, 0) if self.needs[0] else None,
            grad.where(~keep, 0) if self.needs[1] else None,
        )


class Maximum(Op):
    """The larger of a and b; where they are equal, each gets half of the gradient.

    Where one of them is NaN, so is the result, and both get the gradient, as in PyTorch.
    """

    broadcasts = True

    def forward(self, a: Array, b: Array) -> Array:
        self.order = quietly(_order, a, b)
        return quietly(self.xp.maximum, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        half = (grad * 0.5).where(self.order == EQUAL, 0)  # a product would make NaN of ∞
        return grad.where(self.order % 2 == 0, half), grad.where(self.order < ABOVE, half)


class Minimum(Maximum):
    """The smaller of a and b; where they are equal, each gets half of the gradient."""

    def forward(self, a: Array, b: Array) -> Array:
        self.order = quietly(_order, a, b)
        return quietly(self.xp.minimum, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        above, below = super().backward(grad)
        return below, above


ABOVE, EQUAL = 2, 3


def _order(a: Array, b: Array) -> Array:
    """How a lies to b, one byte an element: 1 below, 2 above, 3 equal, 0 where one is NaN."""
    return (a <= b).astype(np.int8) + (a >= b) * np.int8(ABOVE)


class Clip(Op):
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
        self.inside = (y == x) | (x != x)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return grad.where(self.inside, 0)


class Cast(Op):
    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def forward(self, x: Array) -> Array:
        self.source = x.dtype
        return x.astype(self.dtype)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.astype(self.source)


class Compare(Op):
    """A comparison: booleans, nothing to differentiate."""

    differentiable = False
    broadcasts = True

    def __init__(self, name: str) -> None:
        self.name = name

    def forward(self, a: Array, b: Array) -> Array:
        return quietly(getattr(self.xp, self.name), a, b)


LONG = 1 << 63
ROUNDED = (Add, Sub, Mul, Div, Pow)  # what computes; the others only choose and compare


def _beside_scalar(x: Tensor, scalar: Any, op: Any, name: str) -> tuple[Tensor, Any]:
    """``x``, of integers, booleans or 16-bit floats, and a Python scalar as ``op`` takes them."""
    dtype = x.data.dtype
    if is_float(dtype):
        return x, np.float32(scalar) if op in ROUNDED else narrow_scalar(scalar, dtype)
    if isinstance(scalar, float) or op is Div:
        return as_float(x), scalar
    if op is Pow and scalar < 0:
        raise ValueError(
            f"[{name}] expected an exponent ≥ 0 for a tensor of dtype {dtype}, got {scalar}"
        )
    expect_fitting(scalar, dtype, name)
    return x, scalar


# --- the methods --------------------------------------------------------------------------------


class ElementwiseMixin(TensorBase):
    """Arithmetic, functions and comparisons as methods and operators."""

    __slots__ = ()

    def _operand(self, other: Any, kept: bool = False) -> Any:
        """``other`` ready to meet this tensor: a tensor, or a Python scalar, or NotImplemented.

        An array that is ``kept`` for a backward is copied: its owner may write into it before.
        """
        if isinstance(other, TensorBase):
            return other
        if isinstance(other, np.generic):
            other = other.item()
        if isinstance(other, bool | int | float):
            if type(other) is int and not -LONG <= other < LONG and is_float(self.data.dtype):
                return narrow_scalar(other, np.dtype(np.float64)).item()  # CuPy takes no longer int
            return other
        if isinstance(other, np.floating):  # longdouble, which no Python number can hold
            return float(other)
        if hasattr(other, "__array_interface__") or hasattr(other, "__cuda_array_interface__"):
            array = plain_array(other)
            if array.dtype.kind not in "biuf" and not is_float(array.dtype):
                raise TypeError(f"[Tensor] expected numbers or booleans, got dtype {array.dtype}")
            kept = kept and self.requires_grad and mode.recording
            return self._wrap(array.copy() if kept else array)
        return NotImplemented

    def _binary(self, op: Any, other: Any, swapped: bool = False, name: str = "") -> Any:
        if not isinstance(other, TensorBase):
            other = self._operand(other, kept=bool(getattr(op, "saves", ())))
            if other is NotImplemented:
                return NotImplemented
        mine: Any = self
        if isinstance(other, TensorBase):
            if op is Div:
                mine, other = as_float(self), as_float(other)
        elif self.data.dtype.kind != "f" or self.data.dtype.itemsize == 2:
            mine, other = _beside_scalar(mine, other, op, name or op.__name__)
        return op()(other, mine) if swapped else op()(mine, other)

    def _method(self, name: str, op: Any, other: Any) -> Tensor:
        result = self._binary(op, other, name=name)
        if result is NotImplemented:
            raise TypeError(
                f"[{name}] expected a tensor, an array or a number, got {type(other).__name__}"
            )
        return result  # type: ignore[no-any-return]

    def _compare(self, name: str, other: Any) -> Any:
        other = self._operand(other)
        if other is NotImplemented:
            return NotImplemented
        if not isinstance(other, TensorBase) and is_narrow(self.data.dtype):
            other = narrow_scalar(other, self.data.dtype)
        return Compare(name)(self, other)

    def __add__(self, other: Any) -> Tensor:
        return self._binary(Add, other)  # type: ignore[no-any-return]

    __radd__ = __add__

    def __mul__(self, other: Any) -> Tensor:
        return self._binary(Mul, other)  # type: ignore[no-any-return]

    __rmul__ = __mul__

    def __neg__(self) -> Tensor:
        return self * -1 if self.data.dtype.kind != "u" else 0 - self

    def __sub__(self, other: Any) -> Tensor:
        return self._binary(Sub, other)  # type: ignore[no-any-return]

    def __rsub__(self, other: Any) -> Tensor:
        return self._binary(Sub, other, swapped=True)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> Tensor:
        return self._binary(Div, other)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._binary(Div, other, swapped=True)  # type: ignore[no-any-return]

    def __pow__(self, other: Any) -> Tensor:
        return self._binary(Pow, other)  # type: ignore[no-any-return]

    def __rpow__(self, other: Any) -> Tensor:
        return self._binary(Pow, other, swapped=True)  # type: ignore[no-any-return]

    def pow(self, exponent: Any) -> Tensor:
        """self ** exponent, elementwise."""
        return self._method("pow", Pow, exponent)

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

        What is not chosen gets a gradient of 0, which a slope of ∞ in front turns into NaN, as in
        PyTorch: put a harmless value there first, ``x.where(x > 0, 1).sqrt().where(x > 0, 0)``.
        """
        mask = _mask(condition, self, other)
        return self._method("where", lambda: Where(mask).watch(condition), other)

    def maximum(self, other: Any) -> Tensor:
        """The larger of self and other; equal elements share the gradient."""
        return self._method("maximum", Maximum, other)

    def minimum(self, other: Any) -> Tensor:
        """The smaller of self and other; equal elements share the gradient."""
        return self._method("minimum", Minimum, other)

    def clip(self, low: float | None = None, high: float | None = None) -> Tensor:
        """Elements limited to [low, high]; None leaves that side open."""
        if low is None and high is None:
            raise ValueError("[clip] expected a lower or an upper limit, got neither")
        limits: list[Any] = [None if v is None else self._operand(v) for v in (low, high)]
        x: Any = as_float(self) if any(isinstance(v, float) for v in limits) else self
        return Clip(*_limits(limits[0], limits[1], x.data.dtype))(x)

    def astype(self, dtype: Any) -> Tensor:
        """A copy in another dtype (itself when it has it already); gradients are cast back.

        Integers and booleans have no gradient: what is cast to them leaves the graph.
        """
        wanted = resolve_dtype(dtype)
        if wanted == self.data.dtype:
            return self  # type: ignore[return-value]
        return Cast(wanted)(self if is_float(wanted) else self._wrap(self.data))


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


def resolve_dtype(dtype: Any) -> np.dtype[Any]:
    """A dtype from a name or type."""
    if isinstance(dtype, np.dtype):
        return dtype
    resolved: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return resolved


def _mask(condition: Any, x: TensorBase, other: Any = None) -> Array:
    """The condition as a boolean array on the device of ``x``.

    A copy of an array where a gradient will be wanted, of x or of the ``other`` side.
    """
    array = condition.data if isinstance(condition, TensorBase) else condition
    if isinstance(array, bool | list):
        array = array_module(x.data).asarray(array)
    if not isinstance(condition, TensorBase):
        wanted = x.requires_grad or (isinstance(other, TensorBase) and other.requires_grad)
        array = plain_array(array)
        array = array.copy() if wanted and mode.recording else array
    if array.dtype != bool:
        raise TypeError(f"[where] expected a boolean condition, got dtype {array.dtype}")
    if device_of(array) != device_of(x.data):
        raise ValueError(
            f"[where] expected the condition on {device_of(x.data)} like the values, got "
            f"{device_of(array)}; move it with .to(device)"
        )
    return array


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """``a`` where the boolean ``condition`` holds, else ``b``; all three broadcast.

    At least one of ``a`` and ``b`` is a tensor; the other may be a scalar.
    """
    if isinstance(a, TensorBase):
        return a.where(condition, b)  # type: ignore[attr-defined, no-any-return]
    if not isinstance(b, TensorBase):
        raise TypeError(
            f"[where] expected a tensor as a or b, got {type(a).__name__} and {type(b).__name__}"
        )
    mask = _mask(condition, b)
    chosen: Tensor = b._method("where", lambda: Where(~mask).watch(condition), a)  # type: ignore[attr-defined]
    return chosen
