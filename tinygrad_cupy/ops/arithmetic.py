"""Arithmetic, element by element.

Binary operations broadcast as NumPy's do. A Python or NumPy scalar takes the tensor's dtype; only
a float meeting an integer tensor turns it into float32. With float16 and bfloat16 tensors, sums,
products and powers by a scalar are computed in float32 and rounded once.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Elementwise, TensorBase
from ..autograd.autocast import in_wide
from ..autograd.mode import mode
from ..autograd.tensor_base import PACKAGE
from ..backend import Array, plain_array
from ..backend.dtypes import (
    expect_fitting,
    is_float,
    is_inexact,
    is_narrow,
    narrow_scalar,
    resolve_dtype,
    rounded_once,
    with_imaginary,
)
from .promotion import as_float, is_sparse, of_list, single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


NUMBERS = (bool, int, float, complex, np.float32)  # what an operation takes beside a tensor


class Add(Elementwise):
    broadcasts = True
    linear = ("a", "b")
    jointly = True

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.add, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad


class WeightedSum(Elementwise):
    """Σ weight x of tensors of one dtype, by numbers known on the host."""

    broadcasts = True
    linear = ("xs",)
    jointly = True
    constants = ("weights",)

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = tuple(weights)

    def forward(self, *xs: Array) -> Array:
        dtype = xs[0].dtype
        wide = [x.astype(np.float32) for x in xs] if is_narrow(dtype) else xs
        total = wide[0] * self.weights[0]
        for x, weight in zip(wide[1:], self.weights[1:], strict=True):
            total = total + x * weight
        return total.astype(dtype, copy=False)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(self.weights, self.needs, strict=True)
        return tuple([grad * weight if need else None for weight, need in pairs])


class Sub(Elementwise):
    broadcasts = True
    linear = ("a", "b")
    jointly = True

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.subtract, a, b)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        return grad, -grad if self.needs[1] else None


class Mul(Elementwise):
    broadcasts = True
    saves = ("a", "b")
    saved_for = (1, 0)
    linear = ("a", "b")

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.multiply, a, b)

    def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if grad.dtype.itemsize == 2 and self._stretched(grad.shape):
            grad = single(grad)  # rounded when it has been summed, not before
        return grad * b if self.needs[0] else None, grad * a if self.needs[1] else None

    def _stretched(self, shape: tuple[int, ...]) -> bool:
        return any(known is not None and known[0] != shape for known in self.inputs)


class Div(Elementwise):
    broadcasts = True
    saves = ("a", "b")
    saved_for = (1, None)

    def forward(self, a: Array, b: Array) -> Array:
        return rounded_once(self.xp.true_divide, a, b)

    def backward(self, grad: Tensor, a: Any, b: Any) -> tuple[Tensor, Tensor | None]:
        over_b = single(grad) / b
        return over_b, -(over_b * (a / single(b))) if self.needs[1] else None


class Pow(Elementwise):
    """a ** b. At a = 0 the derivative by b is 0 for b ≥ 0 (its limit), and by a is 0 for b = 0."""

    autocast = "wide"
    broadcasts = True
    by_number = True
    saves = ("a", "b", "y")
    saved_for = (None, None, 1)

    def forward(self, a: Array, b: Array) -> Array:
        if type(b) in (int, float, np.float32) and b in (1, 2):  # exact; CUDA's pow is not
            return a * a if b == 2 else a.copy()
        if type(b) is np.float32 or type(a) is np.float32:
            return rounded_once(self.xp.power, a, b)
        return a**b  # NumPy takes roots faster through the operator than by power()

    def backward(
        self, grad: Tensor, a: Any, b: Any, y: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        if is_narrow(grad.dtype):  # y too: it was rounded, and its products may be summed
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
                flat = (b >= 0).data  # outside of the product too: 0 · ∞ has no slope by grad
                slope = self.xp.where(flat, 1, -math.inf).astype(grad.dtype)
                steep = grad.where(~flat, 0) * slope
                return steep.where((b == b).data, math.nan)
            if isinstance(a, complex) or grad.dtype.kind == "c":
                return grad * y * cmath.log(a)
            return grad * y * (math.log(a) if a > 0 else math.nan)
        flat = (a == 0).data & (b >= 0).data
        base = a.where(~flat, 1)
        if grad.dtype.kind == "c":  # numbers below 0 have a logarithm then
            base = base.astype(grad.dtype)
        return (grad * y * base.log()).where(~flat, 0)


class Cast(Elementwise):
    linear = ("x",)

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def forward(self, x: Array) -> Array:
        self.source = x.dtype
        return x.astype(self.dtype)

    def backward(self, grad: Tensor) -> Tensor:
        return (grad if self.source.kind == "c" else grad.real).astype(self.source)


LONG = 1 << 63
ROUNDED = (Add, Sub, Mul, Div, Pow)  # what computes; the others only choose and compare


def _beside_scalar(x: Tensor, scalar: Any, op: Any, name: str) -> tuple[Tensor, Any]:
    """``x``, of integers, booleans or 16-bit floats, and a Python scalar as ``op`` takes them."""
    dtype = x._facts.dtype
    if dtype.kind == "c":
        return x, scalar
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


def _refuse_sparse(other: Any) -> Any:
    """NotImplemented, but for sparse matrices of others, which would drop the gradient."""
    if is_sparse(other) and type(other).__module__.partition(".")[0] != PACKAGE:
        raise TypeError(
            f"[Tensor] expected a tensor, an array or a number, got {type(other).__name__}: @ is "
            "the product with a sparse matrix; tg.sparse.csr_array(matrix) has multiply and toarray"
        )
    return NotImplemented


class ArithmeticMixin(TensorBase):
    """Arithmetic as operators and methods."""

    __slots__ = ()

    def _operand(self, other: Any, kept: bool = False) -> Any:
        """``other`` ready to meet this tensor: a tensor, or a Python scalar, or NotImplemented.

        An array that is ``kept`` for a backward is copied: its owner may write into it before.
        """
        if isinstance(other, TensorBase):
            return other
        if isinstance(other, np.generic):
            other = other.item()
        if isinstance(other, bool | int | float | complex):
            if type(other) is int and not -LONG <= other < LONG and is_inexact(self._facts.dtype):
                return narrow_scalar(other, np.dtype(np.float64)).item()  # CuPy takes no longer int
            return other
        if isinstance(other, np.floating):  # longdouble, which no Python number can hold
            return float(other)
        if hasattr(other, "__array_interface__") or hasattr(other, "__cuda_array_interface__"):
            array = plain_array(other)
            if array.dtype.kind not in "biufc" and not is_float(array.dtype):
                raise TypeError(f"[Tensor] expected numbers or booleans, got dtype {array.dtype}")
            kept = kept and self.requires_grad and mode.recording
            return self._wrap(array.copy() if kept else array)
        if isinstance(other, list | tuple):
            return of_list(other, self)
        return _refuse_sparse(other)

    def _binary(self, op: Any, other: Any, swapped: bool = False, name: str = "") -> Any:
        if not isinstance(other, TensorBase):
            other = self._operand(other, kept=bool(getattr(op, "saves", ())))
            if other is NotImplemented:
                return NotImplemented
        mine: Any = self
        if isinstance(other, TensorBase):
            if op is Div:
                mine, other = as_float(self), as_float(other)
        elif type(other) is complex:
            if self._facts.dtype.kind != "c":  # the rules see complex numbers alone
                kind = self._facts.dtype if is_float(self._facts.dtype) else self._float
                mine = mine.astype(with_imaginary(kind))
        elif self._facts.dtype.kind != "f" or self._facts.dtype.itemsize == 2:
            mine, other = _beside_scalar(mine, other, op, name or op.__name__)
        return op()(other, mine) if swapped else op()(mine, other)

    def _method(self, name: str, op: Any, other: Any) -> Tensor:
        result = self._binary(op, other, name=name)
        if result is NotImplemented:
            raise TypeError(
                f"[{name}] expected a tensor, an array or a number, got {type(other).__name__}"
            )
        return result  # type: ignore[no-any-return]

    def __add__(self, other: Any) -> Tensor:
        return self._binary(Add, other)  # type: ignore[no-any-return]

    __radd__ = __add__

    def __mul__(self, other: Any) -> Tensor:
        return self._binary(Mul, other)  # type: ignore[no-any-return]

    __rmul__ = __mul__

    def __neg__(self) -> Tensor:
        return self * -1 if self._facts.dtype.kind != "u" else 0 - self

    def __sub__(self, other: Any) -> Tensor:
        return self._binary(Sub, other)  # type: ignore[no-any-return]

    def __rsub__(self, other: Any) -> Tensor:
        return self._binary(Sub, other, swapped=True)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> Tensor:
        return self._binary(Div, other)  # type: ignore[no-any-return]

    @in_wide
    def __rtruediv__(self, other: Any) -> Tensor:
        return self._binary(Div, other, swapped=True)  # type: ignore[no-any-return]

    def __pow__(self, other: Any) -> Tensor:
        return self._binary(Pow, other)  # type: ignore[no-any-return]

    def __rpow__(self, other: Any) -> Tensor:
        return self._binary(Pow, other, swapped=True)  # type: ignore[no-any-return]

    def pow(self, exponent: Any) -> Tensor:
        """self ** exponent, elementwise."""
        return self._method("pow", Pow, exponent)

    def astype(self, dtype: Any) -> Tensor:
        """A copy in another dtype (itself when it has it already); gradients are cast back.

        Integers and booleans have no gradient: what is cast to them leaves the graph.
        """
        wanted = resolve_dtype(dtype)
        if wanted == self._facts.dtype:
            return self  # type: ignore[return-value]
        x: Any = self
        return Cast(wanted)(x if is_inexact(wanted) else x.detach())
