"""What makes functions that act element by element: a line for each.

    Tan = function("tan", "Tangent of radians.", lambda grad, y: grad * (y * y + 1))
    tan = Tan.of(x)

The name is NumPy's, and CuPy's: their function is the forward, unless a ``body`` is given. A rule
is the gradient by one input, in tensors. What its parameters are called is what is saved for it:
the inputs ``x``, or ``a`` and ``b``, and the output ``y``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..autograd import Elementwise, TensorBase
from ..backend import Array, device_of, full
from ..backend.dtypes import (
    expect_fitting,
    is_float,
    is_inexact,
    is_narrow,
    narrow_scalar,
    quietly,
    with_imaginary,
)
from .promotion import as_float, in_one_dtype, in_single

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

Rule = Any  # a function in Python
Body = Callable[..., Array]


def flat(grad: Tensor) -> Tensor:
    """The rule of what is constant but for its jumps."""
    return grad._zeros()


class _Made(Elementwise):
    """What the makers below make. Options that they take are told there."""

    name: ClassVar[str]
    body: ClassVar[Body | None] = None
    rules: ClassVar[tuple[Rule, ...]]
    reads: ClassVar[tuple[tuple[str, ...], ...]]  # what each rule reads of what is saved
    keeps: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    kinds: ClassVar[str] = ""


class Function(_Made):
    """A function of one tensor."""

    def forward(self, x: Array) -> Array:
        return self.body(x) if self.body else getattr(self.xp, self.name)(x)

    def backward(self, grad: Tensor, *saved: Any) -> Tensor:
        (rule,) = self.rules
        return rule(grad, *saved)  # type: ignore[no-any-return]

    @classmethod
    def of(cls, x: Any) -> Tensor:
        """The function of a tensor."""
        if cls.kinds:
            expect_kinds(cls.name, cls.kinds, x.dtype)
        x = x if cls.keeps else as_float(x)
        return cls()(x) if cls.exact else in_single(x, cls())


class Pair(_Made):
    """A function of two tensors, which broadcast."""

    broadcasts = True

    def forward(self, a: Array, b: Array) -> Array:
        return self.body(a, b) if self.body else getattr(self.xp, self.name)(a, b)

    def backward(self, grad: Tensor, *saved: Any) -> tuple[Tensor | None, ...]:
        values = dict(zip(self.saves, saved, strict=True))
        return tuple(
            [
                rule(grad, *[values[name] for name in names]) if wanted else None
                for rule, names, wanted in zip(self.rules, self.reads, self.needs, strict=True)
            ]
        )

    @classmethod
    def of(cls, a: Any, b: Any) -> Tensor:
        """The function of two tensors, or of a tensor and an array or a number, either way."""
        a, b = operands(a, b, cls.name)
        if isinstance(a, TensorBase) and isinstance(b, TensorBase):
            return cls._of_tensors(a, b)
        first = isinstance(a, TensorBase)
        x, number = (a, b) if first else (b, a)

        def compute(x: Tensor) -> Tensor:
            other = beside(x, number, cls.name)
            return cls._of_tensors(x, other) if first else cls._of_tensors(other, x)

        return compute(x) if cls.exact else in_single(x, compute)

    @classmethod
    def _of_tensors(cls, a: Any, b: Any) -> Tensor:
        a, b = in_one_dtype(a, b)
        a, b = (a, b) if cls.keeps else (as_float(a), as_float(b))
        dtype = a._facts.dtype
        if cls.kinds:
            expect_kinds(cls.name, cls.kinds, dtype)
        if cls.exact or not is_narrow(dtype):
            return cls()(a, b)
        return cls()(a.astype(np.float32), b.astype(np.float32)).astype(dtype)


class Choice(Pair):
    """A function whose results are elements of the one input or of the other."""

    saves = ("a", "b")
    keeps = exact = True

    def forward(self, a: Array, b: Array) -> Array:
        return quietly(super().forward, a, b)

    def backward(self, grad: Tensor, *saved: Any) -> tuple[Tensor | None, ...]:
        of_a, of_b = self.chosen = [rule(*saved) for rule in self.rules]
        half = (grad * 0.5).where(of_a & of_b, 0)  # a product would make NaN of ∞
        return tuple(
            [
                grad.where(mine & ~other, half) if wanted else None
                for mine, other, wanted in (
                    (of_a, of_b, self.needs[0]),
                    (of_b, of_a, self.needs[1]),
                )
            ]
        )


# --- makers -------------------------------------------------------------------------------------


def function(
    name: str, doc: str, rule: Rule, body: Body | None = None, **options: Any
) -> type[Function]:
    """The operation of one tensor that NumPy calls ``name``. Options:

    keeps:
        integers stay integers; else they become the class's default float.
    exact:
        the body rounds once in 16 bits, too, and so does the rule; else both go through float32.
    kinds:
        of dtypes that it takes, as in ``dtype.kind``; all of them where it says nothing.
    only_real:
        complex numbers raise, as where NumPy's function takes none; else the rule is that of a
        holomorphic function.
    """
    made: type[Function] = _made(Function, name, doc, (rule,), body, options)
    return made


def pair(
    name: str, doc: str, by_a: Rule, by_b: Rule, body: Body | None = None, **options: Any
) -> type[Pair]:
    """The operation of two tensors that NumPy calls ``name``; options as in `function`."""
    made: type[Pair] = _made(Pair, name, doc, (by_a, by_b), body, options)
    return made


WIDE: dict[str, Any] = {"autocast": "wide"}  # an option of what runs in float32 under `autocast`
real_function = functools.partial(function, only_real=True)  # of what is not NumPy's
real_pair = functools.partial(pair, only_real=True)


def choice(name: str, doc: str, of_a: Rule, of_b: Rule, body: Body | None = None) -> type[Choice]:
    """The operation that takes elements from a or from b.

    ``of_a(a, b)`` and ``of_b(a, b)`` say where; where both hold, they share the gradient equally.
    """
    told = {"rules": (of_a, of_b)}
    made: type[Choice] = _made(Choice, name, doc, (), body, told)
    return made


def question(name: str, doc: str, body: Body | None = None, kinds: str = "") -> type[Function]:
    """As `function`, without a gradient: the result is a boolean, an integer."""
    made: type[Function] = _made(Function, name, doc, None, body, {"kinds": kinds})
    return made


def relation(name: str, doc: str, body: Body | None = None, kinds: str = "") -> type[Pair]:
    """As `pair`, without a gradient: the result is a boolean, an integer."""
    made: type[Pair] = _made(Pair, name, doc, None, body, {"kinds": kinds})
    return made


def _made(
    base: Any,
    name: str,
    doc: str,
    rules: tuple[Rule, ...] | None,
    body: Body | None,
    options: dict[str, Any],
) -> Any:
    """A class that stands where its maker was called, as if it had been written there."""
    frame: Any = sys._getframe()
    while frame.f_globals["__name__"] == __name__:
        frame = frame.f_back
    title = "".join([part.capitalize() for part in name.split("_")])
    told = {
        "__doc__": doc,
        "__module__": frame.f_globals["__name__"],
        "name": name,
        "body": None if body is None else staticmethod(body),
        "only_real": _is_of_reals(name),
    }
    told |= {"differentiable": False, "keeps": True, "exact": True} if rules is None else {}
    return type(title, (base,), told | (_saved_by(rules) if rules else {}) | options)


def _is_of_reals(name: str) -> bool:
    """Whether NumPy's function of that name takes no complex numbers."""
    ufunc = getattr(np, name, None)
    return isinstance(ufunc, np.ufunc) and not any("D" in one for one in ufunc.types)


def _saved_by(rules: tuple[Rule, ...]) -> dict[str, Any]:
    """What an operation with these rules saves, and for which of them."""
    codes = [rule.__code__ for rule in rules]
    reads = tuple([code.co_varnames[1 : code.co_argcount] for code in codes])
    saves = tuple(dict.fromkeys([name for names in reads for name in names]))
    readers = [[i for i, names in enumerate(reads) if name in names] for name in saves]
    saved_for = tuple([found[0] if len(found) == 1 else None for found in readers])
    return {"rules": rules, "reads": reads, "saves": saves, "saved_for": saved_for}


# --- operands -----------------------------------------------------------------------------------


def operands(a: Any, b: Any, name: str) -> tuple[Any, Any]:
    """Two tensors, or a tensor and a Python number, of those and arrays; one at least a tensor.

    Raises ``TypeError`` for what is none of these.
    """
    if isinstance(a, TensorBase):
        return a, _operand(a, b, name)
    return _operand(b, a, name), b


def _operand(x: Any, other: Any, name: str) -> Any:
    found = x._operand(other, kept=True)
    if found is NotImplemented:
        raise TypeError(
            f"[{name}] expected a tensor, an array or a number, got {type(other).__name__}"
        )
    return found


def beside(x: Tensor, number: Any, name: str) -> Tensor:
    """A Python number as a tensor without axes that does not widen ``x``.

    Its dtype is that of ``x``, unless this is of a lesser kind. Raises ``OverflowError`` where an
    integer does not fit.
    """
    dtype = x._facts.dtype
    if isinstance(number, complex) and dtype.kind != "c":
        dtype = with_imaginary(dtype if is_float(dtype) else x._float)
    elif isinstance(number, float) and not is_inexact(dtype):
        dtype = np.dtype(x._float)
    elif dtype.kind == "b" and not isinstance(number, bool):
        dtype = np.dtype(np.int64)
    expect_fitting(number, dtype, name)
    value = narrow_scalar(number, dtype) if is_float(dtype) else number
    return x._wrap(full((), value, dtype, device_of(x._facts)))


def expect_kinds(name: str, kinds: str, dtype: Any) -> None:
    """Raise ``TypeError`` for a dtype that the function ``name`` does not take."""
    if dtype.kind not in kinds:
        taken = "integers" if "b" not in kinds else "integers or booleans"
        raise TypeError(f"[{name}] expected {taken}, got dtype {dtype}")


# --- operators ----------------------------------------------------------------------------------


def infix(kind: type[Pair]) -> Callable[[Any, Any], Tensor]:
    """The method behind Python's sign for a function: ``x & y`` is ``x.__and__(y)``."""

    def method(self: Any, other: Any) -> Tensor:
        if self._operand(other) is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        return kind.of(self, other)

    return method


def reflected(kind: type[Pair]) -> Callable[[Any, Any], Tensor]:
    """As `infix`, for a tensor on the right."""

    def method(self: Any, other: Any) -> Tensor:
        if self._operand(other) is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        return kind.of(other, self)

    return method
