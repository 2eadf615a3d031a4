"""What an elementwise function computes, found by calling it on symbols instead of arrays.

CuPy's ufuncs and its kernels for elements ask each argument for
``__cupy_override_elementwise_kernel__``. A `Symbol` answers with another symbol, and notes as a
`Step` what CuPy would have launched: its own expression, for these dtypes. So a function that is
written once, for NumPy and CuPy, is also what a generated kernel computes, with the same bits:
every step rounds to its dtype, as its own launch would have.

    program = trace(lambda x: cupy.tanh(x) * 0.5 + 1, [np.dtype("float32")])   # three steps

A function that asks for more than elements (a shape, a sum) raises `NotElementwise`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays import import_cupy

_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 2, "V": 2}  # of kinds, V being bfloat16
_WEAK = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}
_LARGEST = 1 << 63
_PLACE = re.compile(r"\b(i|_ind|_raw_\w+|return|continue)\b")  # of an element, or the end of a loop


class NotElementwise(TypeError):
    """A function cannot be traced: it does more than CuPy's kernels for elements."""


class Step(NamedTuple):
    """One expression of CuPy's: ``names`` of ``types`` from ``arguments``, to ``out``.

    An argument is a number: at least 0, of an input or a step (inputs come first); below, -1 - n
    of the n-th constant. ``aliases`` are what its code calls types.
    """

    code: str
    preamble: str
    aliases: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]
    types: tuple[Any, ...]
    arguments: tuple[int, ...]
    out: str
    out_type: Any


class Program(NamedTuple):
    """Steps from inputs of some dtypes to the values that are numbered ``results``."""

    inputs: tuple[Any, ...]
    steps: tuple[Step, ...]
    constants: tuple[Any, ...]  # values, each of the dtype of `constant_types`
    constant_types: tuple[Any, ...]
    results: tuple[int, ...]

    def dtype_of(self, number: int) -> Any:
        """The dtype of an input or of a step's value."""
        given = len(self.inputs)
        return self.inputs[number] if number < given else self.steps[number - given].out_type


def trace(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    also: Callable[[], Sequence[Any]] = tuple,
    kind: Any = None,
) -> Program:
    """What ``function`` computes of arguments, of which dtypes stand for arrays.

    What ``also`` gives afterwards are further results. ``kind`` is the class of the symbols, for
    a GPU (`Symbol`) if it is None. Raises `NotElementwise`, or whatever the function raises when
    it is handed a symbol.
    """
    kind = Symbol if kind is None else kind
    made = Making([x for x in arguments if isinstance(x, np.dtype)])
    numbers = iter(range(len(made.inputs)))
    given = [kind(made, next(numbers), x) if isinstance(x, np.dtype) else x for x in arguments]
    results = [function(*given), *also()]
    for found in results:
        if type(found) is not kind or found.made is not made:
            raise NotElementwise(f"it gives {type(found).__name__}")
    return made.program(tuple([found.number for found in results]))


class Making:
    """A program that is being traced."""

    def __init__(self, inputs: list[Any]) -> None:
        self.inputs = inputs
        self.steps: list[Step] = []
        self.constants: list[Any] = []
        self.constant_types: list[Any] = []

    def program(self, results: tuple[int, ...]) -> Program:
        return Program(
            tuple(self.inputs),
            tuple(self.steps),
            tuple(self.constants),
            tuple(self.constant_types),
            results,
        )

    def argument(self, value: Any, dtype: Any) -> int:
        """The number of a symbol, or of a constant, which is rounded to ``dtype`` here."""
        if type(value) is Symbol:
            if value.made is not self:
                raise NotElementwise("a symbol of another function")
            return value.number
        self.constants.append(np.asarray(value, dtype))
        self.constant_types.append(np.dtype(dtype))
        return -len(self.constants)

    def add(self, step: Step) -> Symbol:
        self.steps.append(step)
        return Symbol(self, len(self.inputs) + len(self.steps) - 1, step.out_type)

    def ufunc(self, ufunc: Any, arguments: Sequence[Any], dtype: Any) -> Symbol:
        ops = ufunc._ops
        unfit = ops.nout != 1 or ufunc._loop_prep or _has_macros(ufunc._preamble)
        if len(arguments) != ops.nin or unfit:
            raise NotElementwise(f"{ufunc.name} on {len(arguments)} arguments")
        if dtype is None:
            found = ops._guess_routine_from_in_types(*_types_of(arguments))
        else:
            found = (ufunc._out_ops or ops)._guess_routine_from_dtype(np.dtype(dtype))
        if found is None or not isinstance(found.routine, str):
            raise NotElementwise(f"{ufunc.name} has no expression for these dtypes")
        names = tuple([f"in{i}" for i in range(len(found.in_types))])
        numbers = [self.argument(*pair) for pair in zip(arguments, found.in_types, strict=True)]
        aliases = [(f"{name}_type", t) for name, t in zip(names, found.in_types, strict=True)]
        return self.add(
            Step(
                found.routine,
                ufunc._preamble,
                (*aliases, ("out0_type", found.out_types[0])),
                names,
                tuple(found.in_types),
                tuple(numbers),
                "out0",
                found.out_types[0],
            )
        )

    def kernel(self, kernel: Any, arguments: Sequence[Any]) -> Symbol:
        """One of CuPy's ElementwiseKernels."""
        params = (*kernel.in_params, *kernel.out_params)
        if (
            len(arguments) != kernel.nin
            or kernel.nout != 1
            or kernel.kwargs
            or _has_macros(kernel.preamble)
            or any(p.raw for p in params)
            or not isinstance(kernel.operation, str)
            or _PLACE.search(kernel.operation)
        ):
            raise NotElementwise(f"{kernel.name} does more than elements")
        dtypes = tuple([x.dtype if type(x) is Symbol else None for x in arguments])
        in_types, out_types, _ = kernel._decide_params_type(dtypes, ())
        pairs = zip(params, (*in_types, *out_types), strict=True)
        aliases = {p.ctype: np.dtype(dtype) for p, dtype in pairs if p.dtype is None}  # T, …
        names = tuple([p.name for p in kernel.in_params])
        numbers = [self.argument(*pair) for pair in zip(arguments, in_types, strict=True)]
        return self.add(
            Step(
                kernel.operation,
                kernel.preamble,
                tuple(aliases.items()),
                names,
                tuple(map(np.dtype, in_types)),
                tuple(numbers),
                kernel.out_params[0].name,
                np.dtype(out_types[0]),
            )
        )

    def cast(self, x: Symbol, dtype: Any) -> Symbol:
        """x as another dtype."""
        if x.dtype.kind == "c" and dtype.kind != "c":
            raise NotElementwise("complex numbers as real ones")
        return self.add(Step("out0 = in0", "", (), ("in0",), (dtype,), (x.number,), "out0", dtype))


def _has_macros(preamble: str) -> bool:
    """Whether a preamble leaves macros that others may meet; one that asks first (NAN) is fine."""
    return "#include" in preamble or ("#define" in preamble and "#ifndef" not in preamble)


def _types_of(arguments: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """What CuPy chooses an expression by: dtypes, and which are those of Python's numbers.

    As `_Ops.guess_routine` does it, where a number of a higher kind is not weak.
    """
    dtypes: list[Any] = []
    weak: list[Any] = []
    for x in arguments:
        kind = type(x)
        if kind is Symbol or isinstance(x, np.generic):
            dtypes.append(x.dtype)
            weak.append(False)
        elif kind in _WEAK and not (kind is int and not -_LARGEST <= x < _LARGEST):
            dtypes.append(np.dtype(_WEAK[kind]))
            weak.append(kind)
        else:
            raise NotElementwise(f"a number of type {kind.__name__}")
    rank = [_RANK[d.kind] for d in dtypes]
    of_numbers = max([r for r, w in zip(rank, weak, strict=True) if w], default=-1)
    of_arrays = max([r for r, w in zip(rank, weak, strict=True) if not w], default=-1)
    if of_numbers < 0 or of_arrays < of_numbers:
        return tuple(dtypes), (False,) * len(dtypes)
    return tuple(dtypes), tuple(weak)


class Symbol:
    """An array of which the dtype alone is known."""

    __slots__ = ("dtype", "made", "number")
    __cuda_array_interface__ = None  # it stands for an array on a GPU, and has none
    __array_ufunc__ = None  # NumPy's numbers leave the work to what is here

    def __init__(self, made: Making, number: int, dtype: Any) -> None:
        self.made, self.number, self.dtype = made, number, np.dtype(dtype)

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **options: Any) -> Any:
        given = {name: x for name, x in options.items() if x is not None}
        casting = given.pop("casting", "same_kind")
        dtype = given.pop("dtype", None)
        if given or casting not in ("same_kind", "unsafe"):
            raise NotElementwise(f"{kernel.name} with {', '.join(given)}")
        if hasattr(kernel, "_ops"):
            return self.made.ufunc(kernel, args, dtype)
        return self.made.kernel(kernel, args)

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        dtype = np.dtype(dtype)
        return self if dtype == self.dtype else self.made.cast(self, dtype)

    def copy(self) -> Symbol:
        raise NotElementwise("a copy, which lies in C order")

    def clip(self, low: Any = None, high: Any = None, out: Any = None) -> Any:
        if out is not None or self.dtype.kind != "f":
            raise NotElementwise("clip of integers, or with out")
        low = -math.inf if low is None else low
        high = math.inf if high is None else high
        return import_cupy()._core._routines_math.clip(self, low, high)

    def conj(self) -> Any:
        return import_cupy().conj(self) if self.dtype.kind == "c" else self

    def __pow__(self, other: Any) -> Any:
        cupy = import_cupy()
        fast: Any = {2: cupy.square}.get(other) if type(other) is int else None
        if type(other) is float:
            fast = {0.5: cupy.sqrt, 2.0: cupy.square, -1.0: cupy.reciprocal}.get(other)
        if fast is not None and self.dtype.kind in ("fc" if type(other) is float else "ifc"):
            return fast(self)  # as CuPy's arrays do
        return cupy.power(self, other)

    def __neg__(self) -> Any:
        return import_cupy().negative(self)

    def __abs__(self) -> Any:
        return import_cupy().absolute(self)

    def __invert__(self) -> Any:
        return import_cupy().invert(self)

    def __bool__(self) -> bool:
        raise NotElementwise("a decision by values")

    __hash__ = None  # type: ignore[assignment]


def _binary(name: str) -> tuple[Any, Any]:
    def forward(self: Any, other: Any) -> Any:
        return getattr(import_cupy(), name)(self, other)

    def reflected(self: Any, other: Any) -> Any:
        return getattr(import_cupy(), name)(other, self)

    return forward, reflected


for _name, _ufunc in (
    ("add", "add"),
    ("sub", "subtract"),
    ("mul", "multiply"),
    ("truediv", "true_divide"),
    ("floordiv", "floor_divide"),
    ("mod", "remainder"),
    ("and", "bitwise_and"),
    ("or", "bitwise_or"),
    ("xor", "bitwise_xor"),
):
    _forward, _reflected = _binary(_ufunc)
    setattr(Symbol, f"__{_name}__", _forward)
    setattr(Symbol, f"__r{_name}__", _reflected)
for _name, _ufunc in (
    ("lt", "less"),
    ("le", "less_equal"),
    ("gt", "greater"),
    ("ge", "greater_equal"),
    ("eq", "equal"),
    ("ne", "not_equal"),
):
    setattr(Symbol, f"__{_name}__", _binary(_ufunc)[0])
